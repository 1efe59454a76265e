using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Chat.Domain.Generation;
using Chat.Safety;

namespace Chat.Api.OpenAi;

/// <summary>A step of one choice: cleared text with its tokens and, on the last step, how the choice ended.</summary>
internal sealed record ChoiceStep(int Index, string Text, IReadOnlyList<TokenEntry> Tokens, ChoiceEnd? End = null);

internal sealed record ChoiceEnd(string FinishReason, int PromptTokens, int CompletionTokens);

/// <summary>Generates the choices of one request side by side, each through a safety gate of its own.</summary>
internal sealed class CompletionChoices(IChatModels models, SafetyPolicy safety, GenerationRequest request)
{
    /// <summary>Steps of all choices as they come. Ends with the last choice's end, or throws what the first failing choice threw.</summary>
    public async IAsyncEnumerable<ChoiceStep> RunAsync(int count, [EnumeratorCancellation] CancellationToken cancellation)
    {
        if (count == 1)
        {
            await foreach (var step in RunOneAsync(0, cancellation)) yield return step;
            yield break;
        }

        // A full channel pauses the choices, so a slow reader costs no memory.
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var steps = Channel.CreateBounded<ChoiceStep>(count);
        var work = Task.WhenAll(Enumerable.Range(0, count).Select(index => PumpAsync(index, steps.Writer, stop.Token)));
        _ = work.ContinueWith(done => steps.Writer.TryComplete(done.Exception?.InnerException), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        try
        {
            await foreach (var step in steps.Reader.ReadAllAsync(cancellation)) yield return step;
            await work;
        }
        finally
        {
            await stop.CancelAsync();
            await work.ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    private async Task PumpAsync(int index, ChannelWriter<ChoiceStep> steps, CancellationToken cancellation)
    {
        try
        {
            await foreach (var step in RunOneAsync(index, cancellation)) await steps.WriteAsync(step, cancellation);
        }
        catch (Exception e)
        {
            steps.TryComplete(e);
            throw;
        }
    }

    private async IAsyncEnumerable<ChoiceStep> RunOneAsync(int index, [EnumeratorCancellation] CancellationToken cancellation)
    {
        var gate = safety.OpenGate($"{request.RequestId}#{index}");
        var logprobs = request.TopLogprobs is null ? null : new LogprobWriter(safety);
        int fed = 0, emitted = 0;
        var choice = request with { RequestId = $"{request.RequestId}-{index}", Index = index };
        await foreach (var chunk in models.GenerateAsync(choice, cancellation))
        {
            fed = chunk.PromptTokens ?? fed;
            emitted += chunk.Tokens.Count;
            logprobs?.Add(chunk.Tokens);

            var pushed = gate.Push(chunk.Text);
            IReadOnlyList<ClearedSpan> spans = pushed.Spans;
            var refusal = pushed.Refusal;
            if (chunk.End is not null && refusal is null)
            {
                var rest = gate.Complete();
                spans = [.. spans, .. rest.Spans];
                refusal = rest.Refusal;
            }

            var end = (refusal, chunk.End) switch
            {
                (not null, { } ended) => new("content_filter", ended.PromptTokens, ended.CompletionTokens),
                (not null, null) => new("content_filter", fed, emitted),
                (null, { } ended) => new ChoiceEnd(ended.Reason == FinishReason.Length ? "length" : "stop", ended.PromptTokens, ended.CompletionTokens),
                _ => null,
            };
            var text = string.Concat(spans.Select(s => s.Text));
            var tokens = logprobs?.Take(spans, isLast: end is not null) ?? [];
            if (text.Length > 0 || tokens.Count > 0 || end is not null) yield return new(index, text, tokens, end);
            if (end is not null) yield break;
        }
        throw new GenerationException(GenerationError.Unavailable, "The model's stream broke off.");
    }
}
