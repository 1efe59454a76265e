using System.Numerics.Tensors;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using static Chat.Models.Engine.WishCheck;

namespace Chat.Models.Engine;

/// <summary>A reply to be scored, and what to report of the distribution at each of its places: that of the model itself, without rules.</summary>
public sealed record ScoreWish
{
    /// <summary>Log-probabilities that a full report may hold in all: 64 MiB of them.</summary>
    public const int LargestReport = 16 << 20;

    public const int MostIds = 1024;

    public required string Model { get; init; }

    /// <summary>What the model reads.</summary>
    public required IReadOnlyList<int> Context { get; init; }

    /// <summary>The reply; the end token may stand last.</summary>
    public required IReadOnlyList<int> Reply { get; init; }

    /// <summary>Every id's log-probability. Without this, <see cref="Top"/> and <see cref="Draws"/>: the reply's tokens' alone.</summary>
    public bool Full { get; init; }

    /// <summary>The best so many ids and the rest in one.</summary>
    public int Top { get; init; }

    /// <summary>So many ids drawn from the distribution, with repetition, under <see cref="Seed"/>.</summary>
    public int Draws { get; init; }
    public long Seed { get; init; }

    /// <summary>Scores are divided by it.</summary>
    public double Temperature { get; init; } = 1;

    /// <exception cref="GenerationException">It does not fit the model.</exception>
    internal void Check(ServedModel model)
    {
        var (tokens, description) = (model.Tokens, model.Description);
        if (Context.Count == 0 || Reply.Count == 0) throw Invalid("context and reply must not be empty.", Context.Count == 0 ? "context" : "reply");
        Fits("context", Context, description.MaxPromptTokens, "reads");
        Fits("reply", Reply, description.MaxCompletionTokens, "writes");
        Known("context", Context, tokens.Count);
        Known("reply", Reply, tokens.Count);
        if (Top is < 0 or > MostIds) throw Invalid($"top must be from 0 to {MostIds}, not {Top}.", "top");
        if (Draws is < 0 or > MostIds) throw Invalid($"draws must be from 0 to {MostIds}, not {Draws}.", "draws");
        if (Temperature is not (> 0 and <= 100)) throw Invalid($"temperature must be above 0 and at most 100, not {Temperature}.", "temperature");
        if (Full && (long)Reply.Count * tokens.Count > LargestReport)
            throw TooLong($"A full report of {Reply.Count} places × {tokens.Count} ids is too large: at most {LargestReport / tokens.Count} places, or ask for top or sampled.", "full");
    }
}

/// <summary>One place of a scored reply; natural logarithms.</summary>
/// <param name="Logprob">Of the reply's own token.</param>
/// <param name="Ids">The ids reported: the best first, or the draws in ascending order; empty in a full report, whose places are the ids.</param>
/// <param name="Logprobs">Theirs.</param>
/// <param name="Tail">Log of the probability that a report of the best leaves out; −∞ where it leaves out nothing.</param>
public sealed record ScoredToken(float Logprob, int[] Ids, float[] Logprobs, float? Tail);

/// <summary>Follows a reply that is given and writes down what the model thought at each place. Nothing of it is certain, so no text comes of it.</summary>
internal sealed class ScoreSearch(ScoreWish wish) : ISearch
{
    private readonly RandomStream random = new(wish.Seed, 0);

    public List<ScoredToken> Scored { get; } = [];

    public void Step(Span<float> scores, SearchStep step)
    {
        step.Clear();
        if (wish.Temperature != 1) TensorPrimitives.Divide(scores, (float)wish.Temperature, scores);
        Scores.LogSoftmax(scores);
        var token = wish.Reply[Scored.Count];
        Scored.Add(wish switch
        {
            { Full: true } => new(scores[token], [], scores.ToArray(), null),
            { Draws: > 0 } => Drawn(scores, token),
            { Top: > 0 } => Best(scores, token),
            _ => new(scores[token], [], [], null),
        });
        if (Scored.Count == wish.Reply.Count) step.IsDone = true;
        else step.Next.Add(new(0, token));
    }

    private ScoredToken Best(ReadOnlySpan<float> logprobs, int token)
    {
        Span<int> best = stackalloc int[Math.Min(wish.Top, logprobs.Length)];
        var ids = best[..Scores.Best(logprobs, best)].ToArray();
        var listed = ids.ToHashSet();
        // Summed over what is left, not taken from 1: a small rest would drown in rounding.
        var rest = 0.0;
        for (var id = 0; id < logprobs.Length; id++)
            if (!listed.Contains(id)) rest += Math.Exp(logprobs[id]);
        return new(logprobs[token], ids, At(logprobs, ids), (float)Math.Log(rest));
    }

    private ScoredToken Drawn(ReadOnlySpan<float> logprobs, int token)
    {
        var draws = random.At(Scored.Count);
        var total = 0.0;
        foreach (var logprob in logprobs) total += Math.Exp(logprob);
        var points = new double[wish.Draws];
        foreach (ref var point in points.AsSpan()) point = draws.Next() * total;
        Array.Sort(points);

        var ids = new int[points.Length];
        var (sum, drawn, last) = (0.0, 0, 0);
        for (var id = 0; id < logprobs.Length && drawn < points.Length; id++)
        {
            if (float.IsNegativeInfinity(logprobs[id])) continue;
            (sum, last) = (sum + Math.Exp(logprobs[id]), id);
            while (drawn < points.Length && points[drawn] < sum) ids[drawn++] = id;
        }
        while (drawn < points.Length) ids[drawn++] = last;
        return new(logprobs[token], ids, At(logprobs, ids), null);
    }

    private static float[] At(ReadOnlySpan<float> logprobs, int[] ids)
    {
        var values = new float[ids.Length];
        for (var i = 0; i < ids.Length; i++) values[i] = logprobs[ids[i]];
        return values;
    }
}
