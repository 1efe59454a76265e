using System.Globalization;
using Chat.Models.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Objectives;

/// <summary>What a teacher says about a place of a reply.</summary>
public enum SignalKind
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>The log-probability of the reply's own token.</summary>
    Sampled,

    /// <summary>The best k tokens' log-probabilities, and the rest's in one.</summary>
    TopK,

    /// <summary>Every token's log-probability.</summary>
    Full,
}

/// <summary>
/// How far a student's distribution q is from a teacher's p at one place of a reply, as a function of the student; the state itself is not differentiated. The gradient with
/// respect to the logits of q is q ⊙ (g − Σ q g), g = ∂D/∂q. In nats; 0 only where q = p, but for <see cref="Preference"/>. Stateless.
/// </summary>
/// <param name="Parameter">β of <see cref="JensenShannon"/>, a of the skewed ones, the temperature of <see cref="Preference"/>.</param>
public abstract record Divergence(double Parameter)
{
    /// <summary>Whether the divergence can be computed from such a signal: exactly from a full one; from the best k as that of the distributions whose other tokens are one (a lower bound, tight as k grows).</summary>
    public abstract bool Supports(SignalKind kind);

    /// <param name="p">[N V] log-probabilities of the teacher, constant; of the best k and the rest [N k+1].</param>
    /// <param name="q">The student's, of the same shape.</param>
    /// <param name="parameter">[N 1], or <c>null</c>: <see cref="Parameter"/> for all rows.</param>
    /// <returns>[N]</returns>
    public abstract Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null);

    /// <summary>Reads <c>fkl</c>, <c>rkl</c>, <c>tvd</c>, <c>preference</c>, <c>jsd:β</c>, <c>skl:a</c> or <c>srkl:a</c>.</summary>
    /// <exception cref="FormatException">It is none of them; the message names them.</exception>
    public static Divergence Parse(string text)
    {
        var (name, value) = text.IndexOf(':', StringComparison.Ordinal) is >= 0 and var at ? (text[..at], text[(at + 1)..]) : (text, null);
        double Number(double otherwise) => value is null ? otherwise : double.TryParse(value, CultureInfo.InvariantCulture, out var number) ? number : throw Unknown();
        double Share(double otherwise) => Number(otherwise) is > 0 and < 1 and var share ? share : throw new FormatException($"Divergence '{text}': the number must lie between 0 and 1, both excluded (use fkl or rkl for the limits).");
        FormatException Unknown() => new($"Divergence '{text}' is none of fkl, rkl, tvd, preference[:temperature], jsd[:β], skl[:a], srkl[:a].");
        return name switch
        {
            "fkl" when value is null => new ForwardKl(),
            "rkl" when value is null => new ReverseKl(),
            "tvd" when value is null => new TotalVariation(),
            "jsd" => new JensenShannon(Share(0.5)),
            "skl" => new SkewForwardKl(Share(0.1)),
            "srkl" => new SkewReverseKl(Share(0.1)),
            "preference" => new Preference(Number(1)),
            _ => throw Unknown(),
        };
    }

    /// <summary>Σ p (log p − log q), where p = 0 nothing.</summary>
    protected static Tensor Kl(Tensor p, Tensor q)
    {
        using var none = double.NegativeInfinity.ToScalar();
        // −∞ minus −∞ is no number, and 0 times it is none either: neither the value nor the gradient may see it.
        var difference = (p - q).masked_fill(p.eq(none), Zero);
        return (p.exp() * difference).sum(-1);
    }

    /// <summary>log(w·exp a + (1 − w)·exp b)</summary>
    protected static Tensor Mixed(Tensor a, Tensor b, Tensor w) => (a.Plus(w.log())).logaddexp(b.Plus((-w).Plus(1).log()));

    protected Tensor Share(Tensor like, Tensor? parameter) => parameter ?? tensor(Parameter, like.dtype, like.device).view(1, 1);

    protected static Scalar Zero { get; } = 0.0.ToScalar();
}

/// <summary>KL(p‖q) = Σ p log(p/q): covers all that the teacher may say. The reference code's «forward KL» is the cross-entropy Σ −p log q: the same gradient, never 0.</summary>
public sealed record ForwardKl() : Divergence(0)
{
    public override bool Supports(SignalKind kind) => kind is SignalKind.Full or SignalKind.TopK;

    public override Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null) => Kl(p, q);
}

/// <summary>KL(q‖p) = Σ q log(q/p): says only what the teacher would (MiniLLM, arXiv:2306.08543). The teacher's best k do not suffice: the student's mass lies elsewhere.</summary>
public sealed record ReverseKl() : Divergence(0)
{
    public override bool Supports(SignalKind kind) => kind is SignalKind.Full;

    public override Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null) => Kl(q, p);
}

/// <summary>β KL(p‖m) + (1−β) KL(q‖m), m = βp + (1−β)q (GKD, arXiv:2306.13649). Its size changes with β: JSD/β → KL(p‖q) as β → 0, JSD/(1−β) → KL(q‖p) as β → 1.</summary>
public sealed record JensenShannon(double Parameter) : Divergence(Parameter)
{
    public override bool Supports(SignalKind kind) => kind is SignalKind.Full;

    public override Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null)
    {
        var share = Share(q, parameter);
        var mixed = Mixed(p, q, share);
        return (share.squeeze(-1) * Kl(p, mixed)).Plus((-share).Plus(1).squeeze(-1) * Kl(q, mixed));
    }
}

/// <summary>KL(p‖ap + (1−a)q), at most −log a (DistiLLM, arXiv:2402.03898).</summary>
public sealed record SkewForwardKl(double Parameter) : Divergence(Parameter)
{
    public override bool Supports(SignalKind kind) => kind is SignalKind.Full or SignalKind.TopK;

    public override Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null) => Kl(p, Mixed(p, q, Share(q, parameter)));
}

/// <summary>KL(q‖(1−a)p + aq) (DistiLLM). The reference code of DistiLLM-2 does not differentiate the mixture; here it is.</summary>
public sealed record SkewReverseKl(double Parameter) : Divergence(Parameter)
{
    public override bool Supports(SignalKind kind) => kind is SignalKind.Full;

    public override Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null) => Kl(q, Mixed(q, p, Share(q, parameter)));
}

/// <summary>½ Σ |p − q| = 1 − Σ min(p, q): one minus the acceptance of q's guesses (speculative decoding, arXiv:2211.17192).</summary>
public sealed record TotalVariation() : Divergence(0)
{
    public override bool Supports(SignalKind kind) => kind is SignalKind.Full;

    public override Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null) => (p.exp() - q.exp()).abs().sum(-1).Times(0.5);
}

/// <summary>
/// −log σ(β [log q(w) − log q(l) − log p(w) + log p(l)]), w the teacher's best token, l the student's (DPKD, arXiv:2406.19774). No divergence: log 2 where both agree, and with no gradient there.
/// </summary>
public sealed record Preference(double Parameter) : Divergence(Parameter)
{
    public override bool Supports(SignalKind kind) => kind is SignalKind.Full;

    public override Tensor Rows(Tensor p, Tensor q, Tensor? parameter = null)
    {
        Tensor win = p.argmax(-1, keepdim: true), lose = q.argmax(-1, keepdim: true);
        var margin = q.gather(1, win) - q.gather(1, lose) - (p.gather(1, win) - p.gather(1, lose));      // [N 1]
        return -nn.functional.logsigmoid(margin * Share(q, parameter)).squeeze(-1);
    }
}
