using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;

namespace Chat.Training.Evaluation;

/// <summary>What a model wrote.</summary>
/// <param name="Ids">Its tokens, without an end token.</param>
/// <param name="Ended">Whether it came to an end by itself.</param>
public sealed record WrittenReply(string Text, IReadOnlyList<int> Ids, bool Ended);

/// <summary>Replies of a model through the engine that serves it, several at once; each is a function of the seed and its number.</summary>
public sealed class ReplyWriter(IChatModels models, string model, int seed)
{
    private const int AtOnce = 8;

    /// <summary>The whole distribution as the model has it: what expectations over a model's texts need.</summary>
    public static JsonObject WholeDistribution => new() { ["strategy"] = "sample", ["temperature"] = 1.0, ["topP"] = 1.0, ["topK"] = 0, ["repetitionPenalty"] = 1.0, ["noRepeatNgram"] = 0, ["equalLines"] = false };

    /// <param name="turns">Of each dialogue its turns, oldest first; the last one is answered.</param>
    /// <param name="decoding">Instead of the model's own way of decoding.</param>
    /// <param name="done">Told of each reply that is written; from any thread.</param>
    /// <exception cref="GenerationException">A reply that failed.</exception>
    public async Task<WrittenReply[]> AllAsync(IReadOnlyList<IReadOnlyList<string>> turns, JsonObject? decoding, Action? done, CancellationToken cancel)
    {
        var replies = new WrittenReply[turns.Count];
        await Parallel.ForEachAsync(Enumerable.Range(0, turns.Count), new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancel }, async (i, token) =>
        {
            replies[i] = await OneAsync(turns[i], decoding, i, token);
            done?.Invoke();
        });
        return replies;
    }

    private async Task<WrittenReply> OneAsync(IReadOnlyList<string> turns, JsonObject? decoding, int number, CancellationToken cancel)
    {
        var options = (JsonObject?)decoding?.DeepClone() ?? [];
        options["seed"] = seed + number;
        var request = new GenerationRequest
        {
            RequestId = $"evaluation-{number}",
            Model = model,
            Messages = [.. turns.Select((text, i) => new ChatMessage((turns.Count - i) % 2 == 1 ? ChatRole.User : ChatRole.Assistant, text))],
            Decoding = options,
            TopLogprobs = 0,
        };
        var (text, ids, ended) = (new StringBuilder(), new List<int>(), false);
        await foreach (var chunk in models.GenerateAsync(request, cancel))
        {
            text.Append(chunk.Text);
            ids.AddRange(chunk.Tokens.Select(t => t.Chosen.Id));
            ended |= chunk.End?.Reason == FinishReason.Stop;
        }
        return new WrittenReply(text.ToString(), ids, ended);
    }
}
