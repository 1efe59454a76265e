using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Models.Decoding;

namespace Chat.Models.Engine;

/// <summary>
/// Models in this process, each with an engine of its own. Leaving the stream early or cancelling its token frees the rows within one step;
/// the request says how that is counted.
/// </summary>
public sealed class InProcessChatModels : IChatModels, IDisposable
{
    private const int MostAlternatives = 100;

    private readonly DecodingCatalog catalog;
    private readonly JsonObject? configured;
    private readonly TimeProvider time;
    private readonly Func<long> drawSeed;
    private readonly ConcurrentDictionary<string, double> usage = [];
    private readonly Dictionary<string, Served> served;

    /// <param name="models">The default one first.</param>
    /// <param name="configured">Options of <c>Decoding:Default</c>, between a request's and the model's.</param>
    /// <param name="drawSeed">Gives a seed to requests without one.</param>
    /// <exception cref="GenerationException">A default that no strategy accepts.</exception>
    public InProcessChatModels(IReadOnlyList<ServedModel> models, DecodingCatalog catalog, JsonObject? configured, EngineOptions options, TimeProvider time, Func<long> drawSeed)
    {
        if (models.Count == 0) throw new ArgumentException("There is no model to serve.", nameof(models));
        this.catalog = catalog;
        this.configured = configured;
        this.time = time;
        this.drawSeed = drawSeed;
        Models = [.. models.Select(m => m.Description)];
        foreach (var model in models)
        {
            catalog.CheckDefault(model.Description.DefaultDecoding, Limits(model, options));
            catalog.CheckDefault(configured, Limits(model, options));
        }
        served = models.ToDictionary(m => m.Description.Id, m => new Served(m, Limits(m, options), m.Reader ?? new DialogueReader(m.Tokenizer, m.Description.MaxPromptTokens),
            new GenerationEngine(m.Description.Id, () => m.CreateRunner(options.Rows), options with { OnUsage = share => ShowUsage(m.Description.Id, share) }, time)));
    }

    public IReadOnlyList<ModelDescription> Models { get; }

    /// <summary>Completes when every model can answer; fails with the first that cannot.</summary>
    public Task Ready => Task.WhenAll(served.Values.Select(s => s.Engine.Ready));

    public JsonObject Check(string model, JsonObject? decoding)
    {
        var found = Find(model);
        return Resolve(found, decoding).Spelled();
    }

    public async IAsyncEnumerable<GenerationChunk> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        var model = Find(request.Model);
        var resolved = Resolve(model, request.Decoding);
        CheckRequest(model, request);
        var (context, dialogue) = model.Reader.Read(request.Messages);
        if (request.Emitted.Count >= resolved.Options.MaxTokens)
        {
            yield return new("", [], new(FinishReason.Length, context.Length, request.Emitted.Count)) { PromptTokens = context.Length };
            yield break;
        }

        var sequence = Start(model, resolved, request, context, dialogue);
        var engine = model.Engine;
        engine.Submit(sequence);
        // Declared after the submission: disposed of first, so that a late cancellation cannot follow a stop.
        using var registration = cancellation.Register(() => GiveUp(engine, sequence, stopped: !request.CancelMeansAbort));
        try
        {
            await foreach (var chunk in sequence.Output.ReadAllAsync(cancellation))
            {
                if (sequence.IsPaused)
                {
                    sequence.IsPaused = false;
                    engine.Wake();
                }
                yield return chunk;
            }
        }
        finally
        {
            if (!sequence.Output.Completion.IsCompleted) GiveUp(engine, sequence, stopped: !cancellation.IsCancellationRequested || !request.CancelMeansAbort);
        }
    }

    public void Dispose()
    {
        foreach (var model in served.Values) model.Engine.Dispose();
    }

    // All models have as many rows, so the process's share is the mean of theirs.
    private void ShowUsage(string model, double share)
    {
        usage[model] = share;
        ChatMeter.CacheUsage.Record(usage.Values.Sum() / Models.Count);
    }

    private static void GiveUp(GenerationEngine engine, Sequence sequence, bool stopped)
    {
        if (!sequence.IsCancelled) sequence.Cancel(stopped);
        engine.Wake();
    }

    private Sequence Start(Served model, ResolvedDecoding resolved, GenerationRequest request, int[] context, int[] dialogue)
    {
        var tokens = model.Model.Tokens;
        return new()
        {
            CountsPrompt = request.Index == 0,
            Tenant = request.Tenant,
            Priority = request.Priority,
            Search = resolved.Strategy.Start(resolved.Options, new()
            {
                Tokens = tokens,
                Dialogue = dialogue,
                Emitted = request.Emitted.ToArray(),
                Random = new(resolved.Options.Seed, request.Index),
                Choice = request.Index,
                TopLogprobs = request.TopLogprobs ?? 0,
                Rules = catalog.StartRules(resolved.Options, tokens, dialogue),
            }),
            Width = resolved.Strategy.Width(resolved.Options),
            Context = context,
            Emitted = [.. request.Emitted],
            Text = new(tokens, resolved.Options.Stop),
            Arrived = time.GetTimestamp(),
        };
    }

    private static void CheckRequest(Served model, GenerationRequest request)
    {
        if (request.TopLogprobs is < 0 or > MostAlternatives) throw Invalid($"topLogprobs must be from 0 to {MostAlternatives}, not {request.TopLogprobs}.", "topLogprobs");
        if (request.Index < 0) throw Invalid($"index must not be negative, it is {request.Index}.", "index");
        foreach (var id in request.Emitted)
            if ((uint)id >= (uint)model.Model.Tokens.Count || id == model.Model.Tokens.Separator) throw Invalid($"emitted: {id} is not a token of a reply.", "emitted");
    }

    private static GenerationException Invalid(string message, string parameter) => new(GenerationError.InvalidOption, message, parameter);

    private Served Find(string model) => served.TryGetValue(model, out var found) ? found
        : throw new GenerationException(GenerationError.UnknownModel, $"No model '{(model.Length <= 60 ? model : model[..60] + "…")}'. Known: {string.Join(", ", Models.Select(m => m.Id))}.", "model");

    private ResolvedDecoding Resolve(Served model, JsonObject? decoding) =>
        catalog.Resolve(decoding, configured, model.Model.Description.DefaultDecoding, model.Limits, drawSeed);

    private static DecodingLimits Limits(ServedModel model, EngineOptions options) =>
        new(model.Description.MaxCompletionTokens, options.Rows, model.Tokens.Count, model.Tokens.HasAntonyms);

    private sealed record Served(ServedModel Model, DecodingLimits Limits, IDialogueReader Reader, GenerationEngine Engine);
}
