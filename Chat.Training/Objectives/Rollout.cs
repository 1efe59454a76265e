using Chat.Training.Methods;

namespace Chat.Training.Objectives;

/// <summary>Who wrote a reply that is learnt from.</summary>
public enum Author
{
    /// <summary>The data.</summary>
    Data,

    /// <summary>The teacher.</summary>
    Teacher,

    /// <summary>The student that is being taught, at some earlier step.</summary>
    Student,

    /// <summary>Teacher and student together, token by token.</summary>
    Both,
}

/// <summary>
/// A reply to learn from, with its context. Its length is the labels' (the end token counted): what pads a batch never counts.
/// </summary>
public sealed record Rollout(Sample Sample, Author Author)
{
    /// <summary>log q_old of each label under the student as it was when the reply was written, in nats; empty where nobody asked.</summary>
    public double[] Old { get; init; } = [];

    /// <summary>log p of each label under the teacher, in nats; empty where nobody asked.</summary>
    public double[] Teacher { get; init; } = [];

    /// <summary>log-probability under which the sampler drew each label, by its own arithmetic; empty where none was drawn.</summary>
    public double[] Drawn { get; init; } = [];

    /// <summary>How much the reply counts among others.</summary>
    public double Weight { get; init; } = 1;

    public int Length => Sample.Labels.Length;

    /// <summary>r_t = log p − log q_old, what the teacher thinks of a token beyond what the student did.</summary>
    public double Reward(int t) => Teacher[t] - Old[t];
}

/// <summary>Replies padded to one length. Their places in row order are «rows»: reply after reply, no pads among them.</summary>
public sealed class RolloutBatch
{
    /// <param name="pack">Rows hold several replies and are at most so long; <c>null</c>: each reply has its own.</param>
    public RolloutBatch(IReadOnlyList<Rollout> rollouts, SampleLimits? pack = null)
    {
        IReadOnlyList<IReadOnlyList<Rollout>> rows = pack is { } longest ? FewestRows(rollouts, longest) : [.. rollouts.Select(r => (IReadOnlyList<Rollout>)[r])];
        Rollouts = [.. rows.SelectMany(r => r)];
        Batch = Batch.Packed([.. rows.Select(row => (IReadOnlyList<Sample>)[.. row.Select(r => r.Sample)])]);
    }

    /// <summary>Replies of like length, cut so that no batch's padded size passes the limit; a batch holds the same ones packed or not.</summary>
    public static List<RolloutBatch> Cut(IEnumerable<Rollout> rollouts, int batchTokens, SampleLimits? pack) => MixtureStream.Cut(rollouts, r => r.Sample, batchTokens).ConvertAll(batch => new RolloutBatch(batch, pack));

    /// <summary>In the batch's order.</summary>
    public IReadOnlyList<Rollout> Rollouts { get; }
    public Batch Batch { get; }

    /// <summary>N, places of all replies.</summary>
    public int Rows => Batch.LabelCount;

    /// <summary>The fewest rows that with their pads are no larger than one reply a row, which is what the batch was cut for: the longest reply first, each into the emptiest row.</summary>
    private static List<Rollout>[] FewestRows(IReadOnlyList<Rollout> rollouts, SampleLimits longest)
    {
        static int Size(Rollout reply) => reply.Sample.Context.Length + reply.Length;
        Rollout[] ordered = [.. rollouts.OrderByDescending(Size)];
        var most = ordered.Length * (ordered.Max(r => r.Sample.Context.Length) + ordered.Max(r => r.Length));
        int Least(int all, int one) => Math.Clamp((all + one - 1) / one, 1, ordered.Length);
        for (var count = Math.Max(Least(ordered.Sum(r => r.Sample.Context.Length), longest.MaxContext), Least(ordered.Sum(r => r.Length), longest.MaxReply)); ; count++)
        {
            List<Rollout>[] rows = [.. Enumerable.Range(0, count).Select(_ => new List<Rollout>())];
            var emptiest = new PriorityQueue<List<Rollout>, (int Size, int Row)>(rows.Select((row, at) => (row, (0, at))));
            foreach (var reply in ordered)
            {
                emptiest.TryDequeue(out var row, out var filled);
                row!.Add(reply);
                emptiest.Enqueue(row, (filled.Size + Size(reply), filled.Row));
            }
            var (context, length) = (rows.Max(row => row.Sum(r => r.Sample.Context.Length)), rows.Max(row => row.Sum(r => r.Length)));
            if (count == ordered.Length || (context <= longest.MaxContext && length <= longest.MaxReply && count * (context + length) <= most)) return rows;
        }
    }
}
