using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine.Speculation;

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
    private readonly EngineOptions options;
    private readonly TimeProvider time;
    private readonly Func<long> drawSeed;
    private readonly ConcurrentDictionary<string, double> usage = [];
    private readonly Lock change = new();
    private readonly SemaphoreSlim pairing = new(1);
    private volatile ImmutableList<Served> served = [];

    /// <param name="models">The default one first; none where they are loaded later.</param>
    /// <param name="configured">Options of <c>Decoding:Default</c>, between a request's and the model's.</param>
    /// <param name="drawSeed">Gives a seed to requests without one.</param>
    /// <exception cref="GenerationException">A default that no strategy accepts.</exception>
    /// <exception cref="CheckpointException">A model's draft has another vocabulary.</exception>
    public InProcessChatModels(IReadOnlyList<ServedModel> models, DecodingCatalog catalog, JsonObject? configured, EngineOptions options, TimeProvider time, Func<long> drawSeed)
    {
        this.catalog = catalog;
        this.configured = configured;
        this.options = options;
        this.time = time;
        this.drawSeed = drawSeed;
        foreach (var model in models) CheckDefaults(model);
        foreach (var model in models) CheckDrafts(model, models);
        served = [.. models.Select(Start)];
        Ready = StartAsync(served);
    }

    public IReadOnlyList<ModelDescription> Models => [.. served.Select(s => s.Model.Description)];

    /// <summary>Completes when every model can answer; fails with the first that cannot.</summary>
    public Task Ready { get; }

    /// <summary>Serves one more model.</summary>
    /// <returns>Completes when it can answer; fails with the reason why it cannot, and then it is not served.</returns>
    /// <exception cref="ArgumentException">A model of this id is served.</exception>
    /// <exception cref="GenerationException">A default that no strategy accepts.</exception>
    /// <exception cref="CheckpointException">It is the draft of one that is served, or such a one its draft, and their vocabularies differ.</exception>
    public async Task LoadAsync(ServedModel model)
    {
        RefuseTwice(model);
        CheckDefaults(model);
        CheckDrafts(model, [.. served.Select(s => s.Model), model]);
        var started = Start(model);
        try
        {
            await started.ReadyAsync();
            lock (change)
            {
                RefuseTwice(model);
                served = served.Add(started);
            }
            await PairAsync();
        }
        catch
        {
            lock (change) served = served.Remove(started);
            started.Engine.Dispose();
            throw;
        }
    }

    /// <summary>Serves a model no more: requests in it fail, and those of a model for which it guessed ahead go on without. Does nothing where it is not served.</summary>
    public async Task UnloadAsync(string id)
    {
        Served? gone;
        lock (change)
        {
            gone = served.Find(s => s.Model.Description.Id == id);
            if (gone is null) return;
            served = served.Remove(gone);
        }
        try { await PairAsync(); }
        finally
        {
            gone.Engine.Dispose();
            usage.TryRemove(id, out _);
        }
    }

    /// <summary>Beginnings of prompts that a served model keeps read; none of one that is not served.</summary>
    public IReadOnlyList<PinnedPrompt> Pins(string model) => served.Find(s => s.Model.Description.Id == model)?.Pins.All ?? [];

    /// <inheritdoc cref="ModelPins.AddAsync"/>
    public Task<PinnedPrompt> PinAsync(string model, string name, string systemPrompt, CancellationToken cancellation) => Find(model).Pins.AddAsync(name, systemPrompt, isConfigured: false, cancellation);

    /// <inheritdoc cref="ModelPins.RemoveAsync"/>
    public Task<bool> UnpinAsync(string model, string name) => Find(model).Pins.RemoveAsync(name);

    /// <summary>What is served under an id.</summary>
    /// <exception cref="GenerationException">Nothing is.</exception>
    public ServedModel ModelOf(string id) => Find(id).Model;

    /// <summary>Served models with what options can ask of them and what they are at.</summary>
    public IReadOnlyList<(ServedModel Model, DecodingLimits Limits, EngineLoad Load)> Offers =>
        [.. served.Select(s => (s.Model, s.Limits, s.Engine.Load with { CacheUsage = usage.GetValueOrDefault(s.Model.Description.Id), HasDraft = s.Draft is not null }))];

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

    /// <summary>What the model thinks of a reply that is given: one element a token of it. Shares the batch with everything else.</summary>
    /// <exception cref="GenerationException">As <see cref="GenerateAsync"/>.</exception>
    public async Task<IReadOnlyList<ScoredToken>> ScoreAsync(ScoreWish wish, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        var model = Find(wish.Model);
        wish.Check(model.Model);
        var search = new ScoreSearch(wish);
        await FollowAsync(model, search, wish.Context, cancellation);
        return search.Scored;
    }

    /// <summary>A reply drawn from the model's own law, its end token included where it ends by itself. Shares the batch with everything else.</summary>
    /// <exception cref="GenerationException">As <see cref="GenerateAsync"/>.</exception>
    public async Task<IReadOnlyList<DrawnToken>> DrawAsync(DrawWish wish, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        var model = Find(wish.Model);
        wish.Check(model.Model);
        var search = new DrawSearch(model.Model.Tokens, new(wish.Seed, 0), wish.MaxTokens, wish.Temperature);
        await FollowAsync(model, search, wish.Context, cancellation);
        return search.Drawn;
    }

    /// <summary>Runs a search of which no text comes.</summary>
    private async Task FollowAsync(Served model, ISearch search, IReadOnlyList<int> context, CancellationToken cancellation)
    {
        var sequence = new Sequence
        {
            CountsPrompt = false,     // no usage tells of it
            Search = search, Width = 1, Context = [.. context], Emitted = [], Text = new(model.Model.Tokens, []), Arrived = time.GetTimestamp(),
        };
        model.Engine.Submit(sequence);
        using var registration = cancellation.Register(() => GiveUp(model.Engine, sequence, stopped: false));
        await foreach (var _ in sequence.Output.ReadAllAsync(cancellation)) { }
    }

    public void Dispose()
    {
        foreach (var model in served) model.Engine.Dispose();
        pairing.Dispose();
    }

    private void CheckDefaults(ServedModel model)
    {
        catalog.CheckDefault(model.Description.DefaultDecoding, Limits(model));
        catalog.CheckDefault(configured, Limits(model));
    }

    private void RefuseTwice(ServedModel model)
    {
        if (served.Exists(s => s.Model.Description.Id == model.Description.Id)) throw new ArgumentException($"A model '{model.Description.Id}' is served already.", nameof(model));
    }

    private Served Start(ServedModel model)
    {
        var reader = model.Reader ?? new DialogueReader(model.Tokenizer, model.Description.MaxPromptTokens);
        var engine = new GenerationEngine(model.Description.Id, () => model.CreateRunner(options.Rows), options with { OnUsage = share => ShowUsage(model.Description.Id, share) }, time,
            () => new(new Dictionary<Decoding.Speculation, IDraftProposer> { [Decoding.Speculation.Ngram] = new NgramDraft(model.Tokens.Separator) }, () => new SpeculationPolicy(), time));
        return new(model, Limits(model), reader, engine, new(model, reader, engine, time));
    }

    private async Task StartAsync(IReadOnlyList<Served> all)
    {
        await Task.WhenAll(all.Select(s => s.ReadyAsync()));
        await PairAsync();
    }

    private static void CheckDrafts(ServedModel model, IReadOnlyList<ServedModel> among)
    {
        foreach (var other in among)
        {
            if (other.DraftOf == model.Description.Id) model.RequireDraft(other);
            if (model.DraftOf == other.Description.Id) other.RequireDraft(model);
        }
    }

    /// <summary>Gives each model the one whose card says that it is its draft, of several the smallest, and takes away one that is not served any more.</summary>
    private async Task PairAsync()
    {
        await pairing.WaitAsync();
        try
        {
            var all = served;
            foreach (var model in all)
            {
                var draft = all.Where(s => s.Model.DraftOf == model.Model.Description.Id).OrderBy(s => s.Model.Description.Parameters).ThenBy(s => s.Model.Description.Id, StringComparer.Ordinal).FirstOrDefault();
                if (model.Draft != draft) await model.UseDraftAsync(draft, options.Rows);
            }
        }
        finally
        {
            pairing.Release();
        }
    }

    // The process's share is the mean of its models'.
    private void ShowUsage(string model, double share)
    {
        usage[model] = share;
        ChatMeter.CacheUsage.Record(usage.Values.Sum() / Math.Max(1, served.Count));
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
            CountsPrompt = request.Index == 0 && request.Emitted.Count == 0,     // a reply that goes on was counted where it began
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
            Speculation = resolved.Strategy.IsPure ? resolved.Options.Speculation : Decoding.Speculation.None,
            SpeculationWidth = resolved.Options.SpeculationWidth,
            MaxTokens = resolved.Options.MaxTokens,
            Context = context,
            Emitted = [.. request.Emitted],
            Text = new(tokens, resolved.Options.Stop, request.Emitted),
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

    private Served Find(string model) => served.Find(s => s.Model.Description.Id == model)
        ?? throw new GenerationException(GenerationError.UnknownModel, $"No model '{(model.Length <= 60 ? model : model[..60] + "…")}'. Known: {string.Join(", ", Models.Select(m => m.Id))}.", "model");

    private ResolvedDecoding Resolve(Served model, JsonObject? decoding) =>
        catalog.Resolve(decoding, configured, model.Model.Description.DefaultDecoding, model.Limits, drawSeed);

    private DecodingLimits Limits(ServedModel model) =>
        new(model.Description.MaxCompletionTokens, options.Rows, model.Tokens.Count, model.Tokens.HasAntonyms, model.Tokens.WritesEveryByte);

    private sealed class Served(ServedModel model, DecodingLimits limits, IDialogueReader reader, GenerationEngine engine, ModelPins pins)
    {
        public ServedModel Model => model;
        public DecodingLimits Limits => limits;
        public IDialogueReader Reader => reader;
        public GenerationEngine Engine => engine;
        public ModelPins Pins => pins;

        /// <summary>Who guesses ahead for it.</summary>
        public Served? Draft { get; private set; }

        /// <summary>Completes when it can answer and its configured pins are read.</summary>
        public async Task ReadyAsync()
        {
            await engine.Ready;
            foreach (var (name, systemPrompt) in model.Pins) await pins.AddAsync(name, systemPrompt, isConfigured: true, CancellationToken.None);
        }

        /// <summary>Reads the draft's weights apart from the engine, whose replies go on meanwhile.</summary>
        public async Task UseDraftAsync(Served? draft, int rows)
        {
            var proposer = draft is null ? null : await Task.Run(() => new ModelDraft(draft.Model.CreateRunner(rows), model.Tokens.Separator));
            try
            {
                await engine.UseDraftAsync(proposer);
                Draft = draft;
            }
            catch (GenerationException) { proposer?.Dispose(); }                           // unloaded meanwhile
        }
    }
}
