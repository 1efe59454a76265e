using System.Collections.Concurrent;
using Chat.Domain.Generation;
using Chat.Models.Decoding;

namespace Chat.Models.Engine;

/// <summary>A system prompt that a served model keeps read under a name.</summary>
/// <param name="IsConfigured">It stays for as long as the model is served.</param>
/// <param name="Kept">What is kept of it.</param>
public sealed record PinnedPrompt(string SystemPrompt, bool IsConfigured, Pin Kept)
{
    public string Name => Kept.Name;
}

/// <summary>
/// The pins of one served model. A beginning is read like any prompt, in parts and among whatever runs, and pinned in the step that reads its end. Thread-safe: only the
/// engine's thread changes what is pinned.
/// </summary>
internal sealed class ModelPins(ServedModel model, IDialogueReader reader, GenerationEngine engine, TimeProvider time)
{
    private readonly ConcurrentDictionary<string, PinnedPrompt> pins = [];

    public IReadOnlyList<PinnedPrompt> All => [.. pins.Values.OrderBy(pin => pin.Name, StringComparer.Ordinal)];

    /// <summary>Pins what prompts with this system message begin with. Nothing happens where it is pinned already.</summary>
    /// <exception cref="PinException">It cannot be kept, exceeds the budget, or its name is another prompt's.</exception>
    /// <exception cref="GenerationException">The queue is full, the model is gone, or does not take the system message.</exception>
    public async Task<PinnedPrompt> AddAsync(string name, string systemPrompt, bool isConfigured, CancellationToken cancellation)
    {
        if (Find(name, systemPrompt) is { } pinned) return pinned;
        var beginning = Beginning(name, systemPrompt);
        var search = new PinSearch(() => Find(name, systemPrompt) ?? (pins[name] = new(systemPrompt, isConfigured, engine.Runner!.Pin(name, beginning))));
        var sequence = new Sequence { CountsPrompt = false, Search = search, Width = 1, Context = beginning, Emitted = [], Text = new(model.Tokens, []), Arrived = time.GetTimestamp() };
        using var registration = cancellation.Register(() =>
        {
            sequence.Cancel(stopped: false);
            engine.Wake();
        });
        engine.Submit(sequence);
        await foreach (var _ in sequence.Output.ReadAllAsync(CancellationToken.None)) { }      // what is cancelled too late is pinned
        return search.Kept;
    }

    /// <returns>Whether there was one.</returns>
    /// <exception cref="PinException">It is configured.</exception>
    /// <exception cref="GenerationException">The model is gone.</exception>
    public Task<bool> RemoveAsync(string name) => engine.BetweenStepsAsync(runner =>
    {
        if (!pins.TryGetValue(name, out var pinned)) return false;
        if (pinned.IsConfigured) throw new PinException($"'{name}' is pinned by the configuration (Models:Pins).");
        runner.Unpin(name);
        return pins.TryRemove(name, out _);
    });

    private PinnedPrompt? Find(string name, string systemPrompt) => !pins.TryGetValue(name, out var pinned) ? null
        : pinned.SystemPrompt == systemPrompt ? pinned : throw new PinException($"'{name}' is pinned with another system prompt.");

    private int[] Beginning(string name, string systemPrompt)
    {
        var beginning = reader.Beginning(systemPrompt);
        // A system message that does not fit is left out of prompts, as templates may leave out all.
        if (systemPrompt.Length > 0 && beginning.AsSpan().SequenceEqual(reader.Beginning("." + systemPrompt)))
            throw new PinException($"'{name}' cannot be pinned: prompts of {model.Description.Id} do not hold this system prompt. It is too long, or the model's template has no place for it.");
        return beginning.Length > 0 ? beginning : throw new PinException($"'{name}' cannot be pinned: prompts of {model.Description.Id} have no beginning in common.");
    }
}

/// <summary>Keeps a beginning once it has been read, while its row still holds it. Says nothing.</summary>
internal sealed class PinSearch(Func<PinnedPrompt> keep) : ISearch
{
    private PinnedPrompt? kept;
    private PinException? refusal;

    /// <exception cref="PinException">Why it is not.</exception>
    public PinnedPrompt Kept => refusal is null ? kept! : throw new PinException(refusal.Message);

    public void Step(Span<float> scores, SearchStep step)
    {
        step.Clear();
        step.IsDone = true;
        try { kept = keep(); }
        catch (PinException error) { refusal = error; }
    }
}
