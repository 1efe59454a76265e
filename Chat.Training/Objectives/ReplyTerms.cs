namespace Chat.Training.Objectives;

/// <summary>How a token's advantage A becomes a loss; ρ = q(y)/q_old(y) · w, w the token's importance weight.</summary>
public enum Surrogate
{
    /// <summary>−ρ A (REINFORCE with importance weights).</summary>
    Plain,

    /// <summary>−min(ρ, clip(ρ, 1 − ε, 1 + ε)) A: MiniLLM's paper, algorithm 1.</summary>
    Clipped,

    /// <summary>max(−ρ A, −clip(ρ, 1 − ε, 1 + ε) A): PPO's (arXiv:1707.06347), and MiniLLM's reference code.</summary>
    Pessimistic,
}

/// <summary>
/// What is asked of the student at the places of one reply. The update's loss is the sum over all its replies and places of what stands here, over one normaliser: so
/// batches may be cut anywhere and the loss stays.
/// </summary>
public sealed record ReplyTerms
{
    /// <summary>Measured against the teacher at each place, with that place's weight; <c>null</c> where no distribution is compared.</summary>
    public Divergence? Measure { get; init; }

    /// <summary>[T] weights of <see cref="Measure"/>.</summary>
    public double[] MeasureWeights { get; init; } = [];

    /// <summary>Instead of the measure's own parameter.</summary>
    public double? Parameter { get; init; }

    /// <summary>Weight of −log q(label) at each place.</summary>
    public double Likelihood { get; init; }

    /// <summary>[T] A_t of the policy gradient, constants; empty where there is none.</summary>
    public double[] Advantages { get; init; } = [];

    /// <summary>[T] w_t.</summary>
    public double[] Importance { get; init; } = [];

    /// <summary>How advantages become a loss, with ε where it is clipped.</summary>
    public Surrogate Surrogate { get; init; }
    public double Clip { get; init; } = 0.2;

    /// <summary>Weight of the whole reply.</summary>
    public double Weight { get; init; } = 1;
}

/// <summary>Parts of a loss, each already divided by the normaliser.</summary>
/// <param name="Divergence">Σ of the measured divergences.</param>
/// <param name="Likelihood">Σ of the likelihood terms.</param>
/// <param name="Policy">Σ of the surrogates: falls when advantages are used, and means nothing by itself.</param>
public readonly record struct LossParts(double Divergence, double Likelihood, double Policy)
{
    public double Total => Divergence + Likelihood + Policy;

    public static LossParts operator +(LossParts a, LossParts b) => new(a.Divergence + b.Divergence, a.Likelihood + b.Likelihood, a.Policy + b.Policy);
}
