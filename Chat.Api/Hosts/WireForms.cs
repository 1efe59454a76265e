using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Api.Hosts.Wire;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Google.Protobuf;
using Grpc.Core;
using EmittedToken = Chat.Domain.Generation.EmittedToken;
using FinishReason = Chat.Domain.Generation.FinishReason;

namespace Chat.Api.Hosts;

/// <summary>Between the domain's records and model_host.proto's messages. What comes in is checked for its form here, for its sense by the models.</summary>
internal static class WireForms
{
    /// <summary>Of one message, either way.</summary>
    public const int LargestMessage = 4 << 20;

    // A dialogue may be longer than a message. What is left out is older than any model's context and than any rule's memory.
    private const int LargestDialogue = 3 << 20;

    private const string Parameter = "chat-parameter", RetryAfter = "chat-retry-after-ms";

    public static GenerateRequest Write(GenerationRequest request, string modelHash)
    {
        var written = new GenerateRequest
        {
            RequestId = request.RequestId,
            Model = request.Model,
            ModelHash = modelHash,
            Decoding = request.Decoding?.ToJsonString() ?? "",
            Index = request.Index,
            CancelMeansAbort = request.CancelMeansAbort,
            Tenant = request.Tenant,
            Priority = request.Priority,
        };
        if (request.TopLogprobs is { } top) written.TopLogprobs = top;
        written.Emitted.AddRange(request.Emitted);
        written.Messages.AddRange(Newest(request.Messages).Select(m => new Message { Role = (Role)(int)m.Role, Text = m.Text }));
        return written;
    }

    /// <summary>The system's messages and as many of the newest others as fit one message.</summary>
    private static IEnumerable<ChatMessage> Newest(IReadOnlyList<ChatMessage> messages)
    {
        var room = (long)LargestDialogue;
        var first = messages.Count;
        while (first > 0 && (room -= System.Text.Encoding.UTF8.GetByteCount(messages[first - 1].Text)) >= 0) first--;
        return messages.Take(first).Where(m => m.Role == ChatRole.System).Concat(messages.Skip(first));
    }

    /// <exception cref="GenerationException">Something that no caller of ours would send.</exception>
    public static GenerationRequest Read(GenerateRequest request) => new()
    {
        RequestId = request.RequestId,
        Model = request.Model,
        Messages = [.. request.Messages.Select(m => Enum.IsDefined((ChatRole)(int)m.Role) ? new ChatMessage((ChatRole)(int)m.Role, m.Text) : throw Invalid($"messages: there is no role {(int)m.Role}.", "messages"))],
        Decoding = ReadObject(request.Decoding, "decoding"),
        Emitted = request.Emitted,
        Index = request.Index,
        TopLogprobs = request.HasTopLogprobs ? request.TopLogprobs : null,
        CancelMeansAbort = request.CancelMeansAbort,
        Tenant = request.Tenant,
        Priority = request.Priority,
    };

    public static GenerateChunk Write(GenerationChunk chunk)
    {
        var written = new GenerateChunk { Text = chunk.Text };
        foreach (var token in chunk.Tokens)
        {
            var emitted = new Wire.EmittedToken { Chosen = Write(token.Chosen) };
            emitted.Top.AddRange(token.Top.Select(Write));
            written.Tokens.Add(emitted);
        }
        if (chunk.PromptTokens is { } prompt) written.PromptTokens = prompt;
        if (chunk.End is not { } end) return written;
        written.End = new() { Reason = (Wire.FinishReason)(int)end.Reason, PromptTokens = end.PromptTokens, CompletionTokens = end.CompletionTokens };
        if (end.Speculation is { } use) written.End.Speculation = new() { Passes = use.Passes, Guessed = use.Guessed, Confirmed = use.Confirmed };
        return written;
    }

    public static GenerationChunk Read(GenerateChunk chunk) => new(
        chunk.Text,
        [.. chunk.Tokens.Select(t => new EmittedToken(Read(t.Chosen), [.. t.Top.Select(Read)]))],
        chunk.End is { } end ? new((FinishReason)(int)end.Reason, end.PromptTokens, end.CompletionTokens) { Speculation = end.Speculation is { } use ? new(use.Passes, use.Guessed, use.Confirmed) : null } : null)
    {
        PromptTokens = chunk.HasPromptTokens ? chunk.PromptTokens : null,
    };

    public static ScoreWish Read(ScoreRequest request) => new()
    {
        Model = request.Model,
        Context = request.Context,
        Reply = request.Reply,
        Full = request.Full,
        Top = request.Top,
        Draws = request.Sampled?.Draws ?? 0,
        Seed = request.Sampled?.Seed ?? 0,
        Temperature = request.Temperature == 0 ? 1 : request.Temperature,
    };

    public static DrawWish Read(DrawRequest request) => new()
    {
        Model = request.Model, Context = request.Context, MaxTokens = request.MaxTokens, Temperature = request.Temperature == 0 ? 1 : request.Temperature, Seed = request.Seed,
    };

    public static Wire.ScoredToken Write(Models.Engine.ScoredToken scored)
    {
        var written = new Wire.ScoredToken { Logprob = scored.Logprob };
        written.Ids.AddRange(scored.Ids);
        written.Logprobs.AddRange(scored.Logprobs);
        if (scored.Tail is { } tail) written.Tail = tail;
        return written;
    }

    public static PinState Write(HeldPin pin) => new() { Name = pin.Name, PromptSha256 = pin.PromptSha256, Configured = pin.IsConfigured, Tokens = pin.Tokens, Bytes = pin.Bytes };

    public static HeldPin Read(PinState pin) => new(pin.Name, pin.PromptSha256, pin.Configured, pin.Tokens, pin.Bytes);

    public static Wire.ServedModel Write(HostOffer offer, int active)
    {
        var (model, limits, load, pins) = offer;
        var written = new Wire.ServedModel
        {
            Id = model.Id, Hash = model.Hash, CreatedAtMs = model.CreatedAt.ToUnixTimeMilliseconds(), Parameters = model.Parameters,
            MaxPromptTokens = model.MaxPromptTokens, MaxCompletionTokens = model.MaxCompletionTokens, DefaultDecoding = model.DefaultDecoding?.ToJsonString() ?? "",
            Rows = limits.Rows, VocabularySize = limits.VocabularySize, HasAntonyms = limits.HasAntonyms, HasDraft = load.HasDraft, Active = active,
            Load = new() { Running = load.Running, Waiting = load.Waiting, KvCacheUsage = load.CacheUsage, PrefixCacheQueries = load.PrefixQueries, PrefixCacheHits = load.PrefixHits },
        };
        if (model.Parent is { } parent) written.Parent = parent;
        if (model.Teacher is { } teacher) written.Teacher = teacher;
        if (model.Licence is { } licence) written.Licence = licence;
        written.Pins.AddRange(pins.Select(Write));
        return written;
    }

    public static HostOffer Read(Wire.ServedModel model) => new(
        new()
        {
            Id = model.Id, Hash = model.Hash, CreatedAt = DateTimeOffset.FromUnixTimeMilliseconds(model.CreatedAtMs), Parameters = model.Parameters,
            MaxPromptTokens = model.MaxPromptTokens, MaxCompletionTokens = model.MaxCompletionTokens,
            Parent = model.HasParent ? model.Parent : null, Teacher = model.HasTeacher ? model.Teacher : null, Licence = model.HasLicence ? model.Licence : null,
            DefaultDecoding = ReadObject(model.DefaultDecoding, "default_decoding"),
        },
        new(model.MaxCompletionTokens, model.Rows, model.VocabularySize, model.HasAntonyms),
        model.Load is { } load ? new(load.Running, load.Waiting, load.KvCacheUsage, load.PrefixCacheQueries, load.PrefixCacheHits, model.HasDraft) : default,     // an older host tells none
        [.. model.Pins.Select(Read)]);

    public static RpcException Write(GenerationException error)
    {
        var trailers = new Metadata();
        if (error.Parameter is { } parameter) trailers.Add(Parameter, parameter);
        if (error.RetryAfter is { } wait) trailers.Add(RetryAfter, ((long)wait.TotalMilliseconds).ToString(CultureInfo.InvariantCulture));
        var status = error.Error switch
        {
            GenerationError.UnknownModel => StatusCode.NotFound,
            GenerationError.InvalidOption => StatusCode.InvalidArgument,
            GenerationError.TooLong => StatusCode.OutOfRange,
            GenerationError.Busy => StatusCode.ResourceExhausted,
            _ => StatusCode.Unavailable,
        };
        return new(new Status(status, error.Message), trailers);
    }

    /// <summary>What a host said of a request. Anything that is not about the request itself is <see cref="GenerationError.Unavailable"/>.</summary>
    public static GenerationException Read(RpcException error, string host)
    {
        var said = error.Status.Detail;
        var parameter = error.Trailers.GetValue(Parameter);
        return error.StatusCode switch
        {
            StatusCode.InvalidArgument when parameter is not null => new(GenerationError.InvalidOption, said, parameter, error),
            StatusCode.OutOfRange => new(GenerationError.TooLong, said, parameter, error),
            StatusCode.ResourceExhausted when error.Trailers.GetValue(RetryAfter) is { } wait && long.TryParse(wait, CultureInfo.InvariantCulture, out var ms) =>
                new(GenerationError.Busy, said, parameter, error) { RetryAfter = TimeSpan.FromMilliseconds(ms) },
            _ => new(GenerationError.Unavailable, $"The model host {host} failed: {error.StatusCode}.", inner: error),
        };
    }

    private static JsonObject? ReadObject(string json, string parameter)
    {
        if (json.Length == 0) return null;
        try { return JsonNode.Parse(json) as JsonObject ?? throw Invalid($"{parameter} must be a JSON object.", parameter); }
        catch (JsonException e) { throw Invalid($"{parameter} is no JSON: {e.Message}", parameter); }
    }

    private static Token Write(TokenLogprob token) => new() { Id = token.Id, Bytes = UnsafeByteOperations.UnsafeWrap(token.Bytes), Logprob = token.Logprob };

    private static TokenLogprob Read(Token token) => new(token.Id, token.Bytes.Memory, token.Logprob);

    private static GenerationException Invalid(string message, string parameter) => new(GenerationError.InvalidOption, message, parameter);
}
