using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Api.Identity;
using Chat.Api.Registry;
using Chat.Domain.Generation;
using Chat.Domain.Safety;
using Chat.Safety;

namespace Chat.Api.OpenAi;

/// <summary>
/// POST /v1/chat/completions, top to bottom: read, check, judge the input, generate, answer. Stores nothing; a caller who goes away
/// cancels its choices within one decode step. A refused input or output is an answer with finish_reason content_filter, not an error.
/// </summary>
internal sealed class ChatCompletions(IChatModels models, ModelRegistry registry, SafetyPolicy safety, TimeProvider time, OpenAiOptions options, ILogger<ChatCompletions> logger)
{
    private const string RefusedInput = "This message cannot be answered here.";

    public async Task AnswerAsync(HttpContext context)
    {
        var cancellation = context.RequestAborted;
        using var body = await JsonBody.ReadAsync(context.Request, options.MaxRequestBytes, cancellation);
        var request = CompletionRequest.Read(body.RootElement);
        try
        {
            var id = await registry.ResolveAsync(request.Model);
            var model = models.Models.FirstOrDefault(m => m.Id == id) ?? throw OpenAiException.UnknownModel(request.Model, models.Models.Select(m => m.Id));
            var generation = Prepare(request, model, context.User.Caller().Tenant);
            var head = new Head($"chatcmpl-{generation.RequestId}", time.GetUtcNow().ToUnixTimeSeconds(), model.Id, $"fp_{model.Hash[..Math.Min(12, model.Hash.Length)]}");

            var cleared = ClearInput(generation);
            var steps = cleared is null
                ? Refuse(request.Choices)
                : new CompletionChoices(models, safety, cleared).RunAsync(request.Choices, cancellation);
            var refusal = cleared is null ? RefusedInput : null;
            await (request.IsStreamed ? StreamAsync(context, head, request, steps, refusal) : SendAsync(context, head, request, steps, refusal));
        }
        catch (GenerationException failure)
        {
            throw OpenAiException.Of(failure, request.ParamOf);
        }
    }

    private GenerationRequest Prepare(CompletionRequest request, ModelDescription model, string tenant)
    {
        if (request.Decoding["maxTokens"] is JsonValue limit && limit.TryGetValue<long>(out var tokens) && tokens > model.MaxCompletionTokens)
            throw OpenAiException.Invalid(request.ParamOf("maxTokens"), $"Model '{model.Id}' writes at most {model.MaxCompletionTokens} tokens, {tokens} were asked for.", "context_length_exceeded");

        return new()
        {
            RequestId = Guid.NewGuid().ToString("N"),
            Tenant = tenant,
            Model = model.Id,
            Messages = request.Messages,
            Decoding = models.Check(model.Id, request.Decoding),
            TopLogprobs = request.TopLogprobs,
            CancelMeansAbort = true,
        };
    }

    /// <summary>The request with its messages masked, or null if one of them is refused.</summary>
    private GenerationRequest? ClearInput(GenerationRequest request)
    {
        var messages = new List<ChatMessage>();
        foreach (var message in request.Messages)
        {
            // The caller makes up the whole dialogue, so every message is judged, whoever is said to have said it.
            var verdict = safety.Check(message.Text, request.RequestId);
            if (verdict.Verdict == Verdict.Refuse) return null;
            messages.Add(message with { Text = verdict.Cleared.Text });
        }
        return request with { Messages = messages };
    }

    private static async IAsyncEnumerable<ChoiceStep> Refuse(int choices)
    {
        await Task.CompletedTask;
        for (var index = 0; index < choices; index++) yield return new(index, "", [], new("content_filter", 0, 0));
    }

    private static async Task SendAsync(HttpContext context, Head head, CompletionRequest request, IAsyncEnumerable<ChoiceStep> steps, string? refusal)
    {
        var texts = Enumerable.Range(0, request.Choices).Select(_ => new StringBuilder()).ToArray();
        var tokens = Enumerable.Range(0, request.Choices).Select(_ => new List<TokenEntry>()).ToArray();
        var ends = new ChoiceEnd[request.Choices];
        await foreach (var step in steps)
        {
            texts[step.Index].Append(step.Text);
            tokens[step.Index].AddRange(step.Tokens);
            if (step.End is { } end) ends[step.Index] = end;
        }

        var choices = ends.Select((end, index) => new Choice(
            index,
            new(refusal is null ? texts[index].ToString() : null, refusal),
            request.TopLogprobs is null ? null : new(tokens[index]),
            end.FinishReason)).ToList();
        var completion = new Completion(head.Id, head.Created, head.Model, head.Fingerprint, choices, UsageOf(ends));
        await context.Response.WriteAsJsonAsync(completion, OpenAiJson.Options, "application/json", context.RequestAborted);
    }

    private async Task StreamAsync(HttpContext context, Head head, CompletionRequest request, IAsyncEnumerable<ChoiceStep> steps, string? refusal)
    {
        var ends = new List<ChoiceEnd>();
        try
        {
            await foreach (var step in steps)
            {
                // The first step is awaited before the answer begins, so that what fails before it still is a status code.
                if (!context.Response.HasStarted) await BeginAsync();
                if (step.Text.Length > 0 || step.Tokens.Count > 0)
                    await WriteAsync(Chunk(step.Index, new() { Content = step.Text }, request.TopLogprobs is null ? null : new(step.Tokens)));
                if (step.End is not { } end) continue;
                ends.Add(end);
                await WriteAsync(Chunk(step.Index, new(), null, end.FinishReason));
            }
            if (request.IncludeUsage)
                await WriteAsync(Chunk() with { Usage = JsonSerializer.SerializeToElement(UsageOf(ends), OpenAiJson.Options) });
            await WriteEventAsync("[DONE]"u8.ToArray());
        }
        catch (GenerationException failure) when (context.Response.HasStarted)
        {
            logger.LogWarning(failure, "Completion {Id} failed after it had begun: {Error}", head.Id, failure.Error);
            await WriteEventAsync(JsonSerializer.SerializeToUtf8Bytes(OpenAiException.Of(failure, request.ParamOf).Content, OpenAiJson.Options));
        }

        async Task BeginAsync()
        {
            context.Response.ContentType = "text/event-stream; charset=utf-8";
            context.Response.Headers.CacheControl = "no-store";
            context.Response.Headers["X-Accel-Buffering"] = "no";
            for (var index = 0; index < request.Choices; index++)
                await WriteAsync(Chunk(index, refusal is null ? new() { Role = "assistant", Content = "" } : new() { Role = "assistant", Refusal = refusal }));
        }

        CompletionChunk Chunk(int? index = null, Delta? delta = null, Logprobs? logprobs = null, string? finish = null) =>
            new(head.Id, head.Created, head.Model, head.Fingerprint, index is null ? [] : [new(index.Value, delta!, logprobs, finish)])
            {
                Usage = request.IncludeUsage ? Null : null,
            };

        Task WriteAsync(CompletionChunk chunk) => WriteEventAsync(JsonSerializer.SerializeToUtf8Bytes(chunk, OpenAiJson.Options));

        async Task WriteEventAsync(byte[] data)
        {
            await context.Response.Body.WriteAsync((byte[])[.. "data: "u8, .. data, .. "\n\n"u8], context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }
    }

    // The prompt is read once, whatever the number of choices.
    private static CompletionUsage UsageOf(IReadOnlyCollection<ChoiceEnd> ends) => new(ends.Max(e => e.PromptTokens), ends.Sum(e => e.CompletionTokens));

    private static readonly JsonElement Null = JsonDocument.Parse("null").RootElement;

    private sealed record Head(string Id, long Created, string Model, string Fingerprint);
}
