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
    public RolloutBatch(IReadOnlyList<Rollout> rollouts)
    {
        Rollouts = rollouts;
        Batch = new([.. rollouts.Select(r => r.Sample)]);
    }

    public IReadOnlyList<Rollout> Rollouts { get; }
    public Batch Batch { get; }

    /// <summary>N, places of all replies.</summary>
    public int Rows => Batch.LabelCount;
}
