using System.Threading.Channels;
using Chat.Domain.Generation;
using Chat.Models.Decoding;

namespace Chat.Models.Engine;

/// <summary>
/// One request on its way through the engine. The engine's thread owns everything but <see cref="Output"/>'s reading end, <see cref="Cancel"/>
/// and <see cref="IsPaused"/>.
/// </summary>
public sealed class Sequence
{
    // Bounded by HasRoom: the engine asks before it decodes, and never waits. (A channel for a single reader could not be counted.)
    private readonly Channel<GenerationChunk> channel = Channel.CreateUnbounded<GenerationChunk>(new() { SingleWriter = true });
    private volatile bool isCancelled, isPaused;

    public required ISearch Search { get; init; }

    /// <summary>Rows to reserve.</summary>
    public required int Width { get; init; }

    /// <summary>What the model reads, and what it has already said.</summary>
    public required int[] Context { get; init; }
    public required int[] Emitted { get; init; }

    public required TextAssembler Text { get; init; }

    /// <summary>When the request came, by the engine's clock.</summary>
    public required long Arrived { get; init; }

    /// <summary>Several choices of one request read one prompt, and usage names it once.</summary>
    public bool CountsPrompt { get; init; } = true;

    public ChannelReader<GenerationChunk> Output => channel.Reader;

    public bool IsCancelled => isCancelled;

    /// <summary>The output is full; whoever reads wakes the engine.</summary>
    public bool IsPaused { get => isPaused; internal set => isPaused = value; }

    /// <summary>The request was given up on purpose (a stop), not by a caller who went away (an abort).</summary>
    public bool WasStopped { get; private set; }

    internal int[] Rows { get; set; } = [];

    /// <summary>Row and next token of each live hypothesis, in the search's order.</summary>
    internal List<(int Row, int Token)> Live { get; } = [];

    internal int Chosen { get; set; }
    internal bool HasSpoken { get; set; }
    internal long LastToken { get; set; }

    /// <summary>Thread-safe; takes effect within one step of the engine, which must be woken.</summary>
    public void Cancel(bool stopped)
    {
        WasStopped = stopped;
        isCancelled = true;
    }

    internal bool HasRoom(int chunks) => channel.Reader.Count < chunks;

    internal void Write(GenerationChunk chunk) => channel.Writer.TryWrite(chunk);

    internal void Complete(Exception? error = null) => channel.Writer.TryComplete(error);
}
