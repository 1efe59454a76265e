using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;

namespace Chat.IntegrationTests;

/// <summary>
/// A model whose words a test sets. Its tokens cut characters in the middle, its alternatives are settable, and a test can hold it between
/// two tokens. Without a script it says words that depend on seed and index.
/// </summary>
public sealed class FakeChatModels : IChatModels
{
    private static readonly string[] Words = ["walk", "the", "old", "road", "to", "Weldyn", "and", "rest", "你好", "世界", "国王", "在", "路上", "🐉"];
    private static readonly string[] Options = ["strategy", "temperature", "topP", "topK", "minP", "seed", "minTokens", "maxTokens", "stop", "frequencyPenalty", "presencePenalty", "logitBias", "repetitionPenalty"];
    private static readonly string[] Usual = ["aye", "nay", "龙"];
    private static readonly string[] Strategies = ["greedy", "sample"];

    private readonly ConcurrentDictionary<string, ConcurrentQueue<string>> replies = new();
    private readonly ConcurrentDictionary<string, Hold> holds = new();
    private int running;
    private long drawn;

    public ConcurrentQueue<GenerationRequest> Requests { get; private set; } = [];

    /// <summary>What is said to a request of which <see cref="Say"/> knows nothing; null = words by seed.</summary>
    public Func<GenerationRequest, string>? Script { get; set; }

    /// <summary>Awaited before each token, with the token's number.</summary>
    public Func<GenerationRequest, int, CancellationToken, Task>? BeforeToken { get; set; }

    /// <summary>Reported beside each token when alternatives are asked for.</summary>
    public string[] Alternatives { get; set; } = Usual;

    public int Running => Volatile.Read(ref running);

    /// <summary>The replies to a message, one after the other; the last one again and again.</summary>
    public void Say(string to, params IEnumerable<string> words) => replies[to] = new(words);

    /// <summary>Keeps the reply to a message from getting past a token until it is let go, or fails.</summary>
    public Hold HoldAt(string to, int token) => holds[to] = new(token);

    /// <summary>As new, for the next test of a class that shares a server.</summary>
    public void Forget() => (Script, BeforeToken, Alternatives, Requests) = (null, null, Usual, []);

    public IReadOnlyList<ModelDescription> Models { get; set; } =
    [
        new() { Id = "fake", Hash = "f00dfeedf00dfeed", CreatedAt = DateTimeOffset.UnixEpoch.AddYears(55), Parameters = 7, MaxPromptTokens = 512, MaxCompletionTokens = 256 },
        new() { Id = "fake-small", Hash = "cafecafecafecafe", CreatedAt = DateTimeOffset.UnixEpoch.AddYears(55), Parameters = 3, MaxPromptTokens = 64, MaxCompletionTokens = 32 },
    ];

    public JsonObject Check(string model, JsonObject? decoding)
    {
        if (Models.All(m => m.Id != model)) throw new GenerationException(GenerationError.UnknownModel, $"No model '{model}'. Known: {string.Join(", ", Models.Select(m => m.Id))}.", "model");
        var resolved = (JsonObject?)decoding?.DeepClone() ?? [];
        foreach (var (name, value) in resolved)
        {
            if (!Options.Contains(name)) throw Invalid(name, $"No option '{name}'. Known: {string.Join(", ", Options)}.");
            switch (name)
            {
                case "strategy" when value?.GetValueKind() != System.Text.Json.JsonValueKind.String || !Strategies.Contains(value.GetValue<string>()):
                    throw Invalid(name, $"No decoding strategy '{value}'. Known: {string.Join(", ", Strategies)}.");
                case "temperature" when NumberOf(name, value) is < 0 or > 2: throw Invalid(name, $"temperature is {value}, not from 0 to 2.");
                case "topP" or "minP" when NumberOf(name, value) is <= 0 or > 1: throw Invalid(name, $"{name} is {value}, not in (0, 1].");
                case "topK" or "minTokens" when NumberOf(name, value) is var n && (n < 0 || n % 1 != 0): throw Invalid(name, $"{name} is {value}, not a whole number from 0.");
                case "maxTokens" when NumberOf(name, value) is var n && (n < 1 || n % 1 != 0): throw Invalid(name, $"maxTokens is {value}, not a whole number from 1.");
                case "seed" when NumberOf(name, value) % 1 != 0: throw Invalid(name, $"seed is {value}, not a whole number.");
                case "repetitionPenalty" when NumberOf(name, value) <= 0: throw Invalid(name, $"repetitionPenalty is {value}, not above 0.");
                case "stop" when value is not JsonArray || value.AsArray().Any(s => s?.GetValueKind() != System.Text.Json.JsonValueKind.String): throw Invalid(name, "stop is no list of strings.");
            }
        }
        resolved["strategy"] ??= "sample";
        resolved["seed"] ??= Interlocked.Increment(ref drawn);
        return resolved;
    }

    public async IAsyncEnumerable<GenerationChunk> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellation)
    {
        Requests.Enqueue(request);
        Interlocked.Increment(ref running);
        try
        {
            var text = Said(request) ?? Script?.Invoke(request) ?? ByWords(request);
            foreach (var stop in request.Decoding?["stop"]?.AsArray().Select(s => s!.GetValue<string>()) ?? [])
                if (text.IndexOf(stop, StringComparison.Ordinal) is >= 0 and var at) text = text[..at];

            var pieces = Pieces(Encoding.UTF8.GetBytes(text));
            var limit = request.Decoding?["maxTokens"]?.GetValue<int>() ?? 256;
            var decoder = Encoding.UTF8.GetDecoder();
            var characters = new char[64];
            for (var i = 0; i < Math.Min(limit, pieces.Count); i++)
            {
                cancellation.ThrowIfCancellationRequested();
                if (holds.TryGetValue(request.Messages[^1].Text, out var hold)) await hold.WaitAsync(i, cancellation);
                if (BeforeToken is { } wait) await wait(request, i, cancellation);
                var length = decoder.GetChars(pieces[i], characters, flush: false);
                yield return new(new string(characters, 0, length), [TokenOf(i, pieces[i], request.TopLogprobs ?? 0)]);
            }
            yield return new("", [], new(pieces.Count > limit ? FinishReason.Length : FinishReason.Stop, request.Messages.Sum(m => m.Text.Length), Math.Min(limit, pieces.Count)));
        }
        finally
        {
            Interlocked.Decrement(ref running);
        }
    }

    private EmittedToken TokenOf(int id, byte[] bytes, int alternatives) => new(
        new(id, bytes, -0.25f * (id % 7)),
        [.. Alternatives.Take(alternatives).Select((word, i) => new TokenLogprob(1000 + i, Encoding.UTF8.GetBytes(word), -1f - i))]);

    private string? Said(GenerationRequest request) =>
        !replies.TryGetValue(request.Messages[^1].Text, out var queue) ? null : queue.Count > 1 && queue.TryDequeue(out var next) ? next : queue.First();

    private static string ByWords(GenerationRequest request)
    {
        var random = new Random(unchecked((int)(request.Decoding!["seed"]!.GetValue<long>() * 31 + request.Index)));
        return string.Join(' ', Enumerable.Range(0, 12).Select(_ => Words[random.Next(Words.Length)]));
    }

    // 1 to 5 bytes a token, so that some cut a character.
    private static List<byte[]> Pieces(byte[] bytes)
    {
        var pieces = new List<byte[]>();
        for (var at = 0; at < bytes.Length;)
        {
            var length = Math.Min(1 + (at * 7 + pieces.Count) % 5, bytes.Length - at);
            pieces.Add(bytes[at..(at + length)]);
            at += length;
        }
        return pieces;
    }

    private static double NumberOf(string name, JsonNode? value) =>
        value?.GetValueKind() == System.Text.Json.JsonValueKind.Number && double.TryParse(value.ToJsonString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number)
            ? number : throw Invalid(name, $"{name} is {value?.ToJsonString() ?? "null"}, not a number.");

    private static GenerationException Invalid(string name, string message) => new(GenerationError.InvalidOption, message, name);
}
