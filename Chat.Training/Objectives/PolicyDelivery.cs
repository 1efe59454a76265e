namespace Chat.Training.Objectives;

/// <summary>Weights that make replies drawn from p̃ count as the student's own.</summary>
public enum ImportanceWeights
{
    None,

    /// <summary>w_t = q_old(y_t)/p̃(y_t), the step's own alone: what MiniLLM uses; biased, of low variance, at most 1/(1 − α).</summary>
    Step,

    /// <summary>Π_{i≤t} q_old/p̃. The paper's full form; not unbiased for the long term either, whose rewards lie after t.</summary>
    Sequence,

    /// <summary>Π_{i≤t'} on each reward r_t', Π_{i&lt;t} on each divergence: exact, of high variance.</summary>
    PerDecision,
}

/// <summary>
/// Policy gradient of the reverse divergence of whole replies (MiniLLM, arXiv:2306.08543, ICLR 2024): ∇KL(q‖p) = E_q Σ_t ∇KL(q(·|s_t)‖p(·|s_t)) − E_q Σ_t R_{t+1} ∇log q(y_t|s_t),
/// R_{t+1} = Σ_{t'&gt;t} r_t'. The defaults are the paper's; <see cref="Reference"/> is its published code. On-policy distillation (Thinking Machines, 2025) is the current
/// token's reward alone.
/// </summary>
public sealed record PolicyDelivery : IDelivery
{
    /// <summary>Measure KL(q‖p) over the vocabulary at each place (the single step), rather than to sample it.</summary>
    public bool SingleStep { get; init; } = true;

    /// <summary>The single step counts w_t-fold; the reference code does not do so.</summary>
    public bool WeightSingleStep { get; init; } = true;

    /// <summary>Advantages hold r_t too. Without the single step they must; with it the reward is counted twice, as the reference code does.</summary>
    public bool CountCurrent { get; init; }

    /// <summary>Advantages hold what comes after t. On-policy distillation leaves it out.</summary>
    public bool CountFuture { get; init; } = true;

    /// <summary>Divide by how many rewards were added: without it short replies win.</summary>
    public bool LengthNormalise { get; init; } = true;

    /// <summary>Share of the teacher in p̃ = αp + (1 − α)q, from which replies were drawn.</summary>
    public double TeacherShare { get; init; } = 0.2;

    public ImportanceWeights Weights { get; init; } = ImportanceWeights.Step;
    public Surrogate Surrogate { get; init; } = Surrogate.Clipped;
    public double Clip { get; init; } = 0.2;

    /// <summary>γ of Σ γ^(t'−t) r_t'.</summary>
    public double Discount { get; init; } = 1;

    /// <summary>r_t is divided by the first and held within ± the second.</summary>
    public double RewardScale { get; init; } = 1;
    public double RewardClip { get; init; } = double.PositiveInfinity;

    /// <summary>Advantages less their mean over their deviation, over all tokens of the update.</summary>
    public bool Whiten { get; init; }

    /// <summary>What LMOps' minillm/ does: the current reward counted beside the single step, discount 0.95, scaled, clipped and whitened rewards, PPO's pessimistic clip, single step without weights.</summary>
    public static PolicyDelivery Reference { get; } = new()
    {
        WeightSingleStep = false, CountCurrent = true, Surrogate = Surrogate.Pessimistic, Discount = 0.95, RewardScale = 0.5, RewardClip = 100, Whiten = true,
    };

    public SignalKind Needs => SingleStep ? SignalKind.Full : SignalKind.Sampled;
    public bool NeedsLogprobs => true;

    public ReplyTerms[] Terms(IReadOnlyList<Rollout> update, double progress)
    {
        var terms = update.Select(Reply).ToArray();
        if (Whiten) WhitenAll(terms);
        return terms;
    }

    private ReplyTerms Reply(Rollout reply)
    {
        var length = reply.Length;
        double[] rewards = new double[length], step = new double[length], product = new double[length + 1];
        product[0] = 1;
        for (var t = 0; t < length; t++)
        {
            rewards[t] = Math.Clamp(reply.Reward(t) / RewardScale, -RewardClip, RewardClip);
            step[t] = Math.Exp(reply.Old[t] - MixedLogprob(reply, t));
            product[t + 1] = product[t] * step[t];
        }

        var advantages = new double[length];
        double sum = 0;
        for (var t = length - 1; t >= 0; t--)
        {
            var reward = Weights == ImportanceWeights.PerDecision ? rewards[t] * product[t + 1] : rewards[t];
            var future = Discount * sum;                                                            // Σ_{t'>t} γ^(t'−t) r_t'
            var counted = (CountFuture ? length - 1 - t : 0) + (CountCurrent ? 1 : 0);
            advantages[t] = (CountFuture ? future : 0) + (CountCurrent ? reward : 0);
            if (LengthNormalise) advantages[t] /= Math.Max(1, counted);
            sum = reward + future;
        }

        return new()
        {
            Measure = SingleStep ? new ReverseKl() : null,
            MeasureWeights = !SingleStep ? [] : WeightSingleStep ? Weigh(step, product, before: true) : DirectDelivery.Filled(length, 1),
            Advantages = advantages,
            Importance = Weigh(step, product, before: false),
            Surrogate = Surrogate,
            Clip = Clip,
            Weight = reply.Weight,
        };
    }

    /// <summary>w of the divergence at a state, which the tokens <paramref name="before"/> it reached, or of the choice made there.</summary>
    private double[] Weigh(double[] step, double[] product, bool before) => Weights switch
    {
        ImportanceWeights.None => DirectDelivery.Filled(step.Length, 1),
        ImportanceWeights.Step => step,
        ImportanceWeights.Sequence => product[1..],
        _ => before ? product[..^1] : DirectDelivery.Filled(step.Length, 1),                        // the rewards hold them
    };

    /// <summary>log(αp + (1 − α)q_old) of a label.</summary>
    private double MixedLogprob(Rollout reply, int t)
    {
        double p = Math.Log(TeacherShare) + reply.Teacher[t], q = Math.Log(1 - TeacherShare) + reply.Old[t];
        var most = Math.Max(p, q);
        return most + Math.Log(Math.Exp(p - most) + Math.Exp(q - most));
    }

    /// <summary>Pads are not among them, which in the reference code shrink the deviation. Equal advantages become 0.</summary>
    private static void WhitenAll(ReplyTerms[] terms)
    {
        var all = terms.SelectMany(t => t.Advantages).ToArray();
        if (all.Length == 0) return;
        var mean = all.Average();
        var deviation = Math.Sqrt(all.Average(a => (a - mean) * (a - mean)) + 1e-8);
        foreach (var term in terms)
            for (var t = 0; t < term.Advantages.Length; t++) term.Advantages[t] = (term.Advantages[t] - mean) / deviation;
    }
}
