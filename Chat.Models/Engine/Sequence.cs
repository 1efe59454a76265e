using System.Threading.Channels;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Chat.Models.Engine.Speculation;

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

    /// <summary>Whose the request is, and how it stands to others; see <see cref="Scheduler"/>.</summary>
    public string Tenant { get; init; } = "";
    public int Priority { get; init; }

    /// <summary>Who guesses ahead, for a search that is pure, how many chains at most, and the reply's longest.</summary>
    public Decoding.Speculation Speculation { get; init; }
    public int SpeculationWidth { get; init; } = 1;
    public int MaxTokens { get; init; } = int.MaxValue;

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

    /// <summary>Which request of the scheduler's it is.</summary>
    internal long Arrival { get; set; }

    /// <summary>The live hypotheses in the search's order. The first one has chosen nothing yet.</summary>
    internal List<Hypothesis> Live { get; set; } = [default];

    /// <summary>Copies of rows that its next hypotheses need, made at the end of the step.</summary>
    internal List<(int From, int To)> Forks { get; } = [];

    /// <summary>Hypotheses are being read into their rows, one after the other: the <see cref="Read"/>th now, of which <see cref="Due"/> tokens are left (0: it is not opened).</summary>
    internal bool IsReading { get; set; }
    internal int Read { get; set; }
    internal int Due { get; set; }

    /// <summary>Scores of the hypotheses read so far, [live V], where there are several.</summary>
    internal float[] Scores { get; set; } = [];

    /// <summary>Another request reads the same prompt; its row is copied afterwards.</summary>
    internal Sequence? Leader { get; set; }

    /// <summary>The request has had rows before; it had to give them to others.</summary>
    internal bool HasStarted { get; set; }
    internal bool WasSetBack { get; set; }

    /// <summary>What is guessed and how it goes; <c>null</c> until somebody guesses.</summary>
    internal ReplySpeculation? Ahead { get; set; }

    internal int Chosen { get; set; }
    internal bool HasSpoken { get; set; }
    internal long LastToken { get; set; }

    /// <summary>Thread-safe; takes effect within one step of the engine, which must be woken.</summary>
    public void Cancel(bool stopped)
    {
        WasStopped = stopped;
        isCancelled = true;
    }

    /// <summary>What the row of the hypothesis being read is to hold.</summary>
    internal PrefillItem Prompt()
    {
        var chosen = new Stack<int>();
        for (var path = Live[Read].Reply; path is not null; path = path.Before) chosen.Push(path.Token);
        return new(Live[Read].Row, Context, (int[])[.. Emitted, .. chosen]);
    }

    internal bool HasRoom(int chunks) => channel.Reader.Count < chunks;

    internal void Write(GenerationChunk chunk) => channel.Writer.TryWrite(chunk);

    internal void Complete(Exception? error = null) => channel.Writer.TryComplete(error);
}

/// <summary>A hypothesis: its row, which holds all but the last of the tokens chosen, and those.</summary>
internal readonly record struct Hypothesis(int Row, ReplyPath? Reply);

/// <summary>Tokens chosen, the last first; hypotheses share what they have in common.</summary>
internal sealed record ReplyPath(int Token, ReplyPath? Before);
