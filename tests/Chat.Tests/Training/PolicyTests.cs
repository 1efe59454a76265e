using System.Text.Json.Nodes;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

/// <summary>MiniLLM's gradient where all replies can be listed (three tokens, at most three long): expectations are sums, and truth is a finite difference.</summary>
public sealed class PolicyTests : IDisposable
{
    private const int Words = 3, End = 2, Longest = 3;
    private static readonly JsonNode Fixtures = Golden.Read("distillation/fixtures.json");

    private readonly TorchSharp.DisposeScope scope = NewDisposeScope();
    private readonly TabularModel teacher = new TabularModel(Words, End, Longest, (prefix, v) => 2 * Math.Sin(1 + 3 * Code(prefix) + 1.7 * v)).Filled();
    private readonly TabularModel student = new TabularModel(Words, End, Longest, (prefix, v) => 1.3 * Math.Cos(0.5 + 2 * Code(prefix) + 1.1 * v)).Filled();

    public void Dispose() => scope.Dispose();

    private static int Code(int[] prefix) => prefix.Aggregate(0, (code, token) => code * 4 + token + 1);

    private double SequenceKl() => student.Replies().Sum(y =>
    {
        var q = student.Logprobs(y).Sum();
        return Math.Exp(q) * (q - teacher.Logprobs(y).Sum());
    });

    [Fact]
    public void Replies_are_listed_whole_and_the_chain_rule_holds()
    {
        Assert.Equal((int)Fixtures["nseq"]!, student.Replies().Count());
        Assert.Equal(1, student.Replies().Sum(y => Math.Exp(student.Logprobs(y).Sum())), 1e-12);
        Assert.Equal((double)Fixtures["KL_seq_q_p"]!, SequenceKl(), 1e-12);
        var (loss, _) = Expected(new DirectDelivery(new ReverseKl()), share: 0);
        Assert.Equal((double)Fixtures["KL_chain"]!, loss.Divergence, 1e-12);
    }

    [Fact]
    public void The_decomposed_gradient_is_exact()
    {
        var truth = student.Differences(SequenceKl);
        var (_, decomposed) = Expected(Exact, share: 0);
        var (_, sampled) = Expected(Exact with { SingleStep = false, CountCurrent = true }, share: 0);

        Close(truth, decomposed, 1e-8);
        Close(truth, sampled, 1e-8);                                                        // all of it by sampling
        Close(Numbers("grad_root"), decomposed[..Words], 1e-8);
        Close(Numbers("single_root"), Expected(Exact with { CountFuture = false }, share: 0).Gradient[..Words], 1e-8);
        Close(Numbers("long_root"), Expected(Exact with { SingleStep = false }, share: 0).Gradient[..Words], 1e-8);
    }

    [Theory]
    [InlineData(0.2), InlineData(0.5), InlineData(0.9)]
    public void Per_decision_weights_are_exact_under_any_mixture_and_step_weights_as_biased_as_known(double share)
    {
        var truth = student.Differences(SequenceKl);
        Close(truth, Expected(Exact with { Weights = ImportanceWeights.PerDecision }, share).Gradient, 1e-8);

        // The sheet's figures are of the sampled form.
        var known = Fixtures[FormattableString.Invariant($"alpha={share}")]!;
        var sampled = Exact with { SingleStep = false, CountCurrent = true };
        var step = Expected(sampled with { Weights = ImportanceWeights.Step }, share).Gradient;
        Assert.Equal((double)known["cos(stepIS,exact)"]!, Cosine(step, truth), 1e-8);
        Assert.Equal((double)known["|stepIS|/|exact|"]!, Math.Sqrt(Dot(step, step) / Dot(truth, truth)), 1e-8);
        Assert.Equal((double)known["cos(noIS,exact)"]!, Cosine(Expected(sampled with { Weights = ImportanceWeights.None }, share).Gradient, truth), 1e-8);
        var sequence = Expected(sampled with { Weights = ImportanceWeights.Sequence }, share).Gradient;
        Assert.Equal((double)known["max|seqIS-exact|"]!, truth.Zip(sequence, (a, b) => Math.Abs(a - b)).Max(), 1e-8);
    }

    [Fact]
    public void The_reference_code_counts_the_reward_twice()
    {
        var truth = student.Differences(SequenceKl);
        var twice = Expected(Exact with { CountCurrent = true }, share: 0).Gradient;
        Assert.Equal((double)Fixtures["double_count_cos"]!, Cosine(twice, truth), 1e-8);
        Assert.Equal((double)Fixtures["double_count_ratio"]!, Math.Sqrt(Dot(twice, twice) / Dot(truth, truth)), 1e-8);
        Assert.Equal((double)Fixtures["cos(single+longnorm,exact)"]!, Cosine(Expected(Exact with { LengthNormalise = true }, share: 0).Gradient, truth), 1e-8);
    }

    [Fact]
    public void A_student_like_its_teacher_learns_nothing()
    {
        foreach (var delivery in new[] { new PolicyDelivery(), PolicyDelivery.Reference, new PolicyDelivery { Weights = ImportanceWeights.PerDecision } })
        {
            var rollouts = teacher.Replies().Select(y => Reply(y, teacher, teacher)).ToArray();
            var terms = delivery.Terms(rollouts, 0);
            Assert.All(terms, t => Assert.All(t.Advantages, a => Assert.Equal(0, a)));              // whitened too: 0, not NaN
            Assert.All(terms, t => Assert.All(t.Importance, w => Assert.Equal(1, w, 1e-12)));
            Backward(teacher, rollouts, terms);
            Assert.All(teacher.TakeGradient(), g => Assert.Equal(0, g, 1e-12));
        }
    }

    [Fact]
    public void Step_weights_are_one_without_the_teacher_and_bounded_with_it()
    {
        var rollouts = student.Replies().Select(y => Reply(y, student, teacher)).ToArray();
        Assert.All(new PolicyDelivery { TeacherShare = 0 }.Terms(rollouts, 0), t => Assert.All(t.Importance, w => Assert.Equal(1, w, 1e-12)));
        Assert.All(new PolicyDelivery { TeacherShare = 0.2 }.Terms(rollouts, 0), t => Assert.All(t.Importance, w => Assert.InRange(w, 0, 1.25)));
        foreach (var (rollout, term) in rollouts.Zip(new PolicyDelivery { TeacherShare = 1 }.Terms(rollouts, 0)))
            for (var t = 0; t < rollout.Length; t++) Assert.Equal(Math.Exp(-rollout.Reward(t)), term.Importance[t], 1e-9);
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(5), InlineData(40)]
    public void Equal_rewards_give_equal_advantages_whatever_the_length(int length)
    {
        var rollout = new Rollout(new([0], new int[length]), Author.Student) { Old = Filled(length, -2), Teacher = Filled(length, -1.25) };
        Assert.All(new PolicyDelivery { CountCurrent = true }.Terms([rollout], 0)[0].Advantages, a => Assert.Equal(0.75, a, 1e-12));
        var terms = new PolicyDelivery().Terms([rollout], 0)[0].Advantages;
        Assert.All(terms[..^1], a => Assert.Equal(0.75, a, 1e-12));
        Assert.Equal(0, terms[^1]);                                                         // nothing comes after the last
    }

    [Theory]
    [InlineData(Surrogate.Plain), InlineData(Surrogate.Clipped), InlineData(Surrogate.Pessimistic)]
    public void Surrogates_follow_their_formulas(Surrogate kind)
    {
        // One token; the student has moved from q_old so that ρ = q/q_old · w takes the given value.
        foreach (var (ratio, advantage) in new[] { (0.5, 1.0), (0.5, -1.0), (1.5, 1.0), (1.5, -1.0), (1.1, 2.0) })
        {
            int[] reply = [End];
            var old = student.Logprobs(reply)[0] - Math.Log(ratio / 0.9);
            var rollout = new Rollout(new([0], reply), Author.Both) { Old = [old], Teacher = [0] };
            var loss = Backward(student, [rollout], [new() { Advantages = [advantage], Importance = [0.9], Surrogate = kind, Clip = 0.2 }]);
            var gradient = student.TakeGradient()[End];
            var clipped = Math.Clamp(ratio, 0.8, 1.2);
            var (value, passes) = kind switch
            {
                Surrogate.Plain => (-ratio * advantage, true),
                Surrogate.Clipped => (-Math.Min(ratio, clipped) * advantage, ratio <= 1.2),
                _ => (Math.Max(-ratio * advantage, -clipped * advantage), ratio == clipped || -ratio * advantage > -clipped * advantage),
            };
            Assert.Equal(value, loss.Policy, 1e-9);
            var q = Math.Exp(student.Logprobs(reply)[0]);
            Assert.Equal(passes ? -ratio * advantage * (1 - q) : 0, gradient, 1e-9);
        }
    }

    private static PolicyDelivery Exact { get; } = new() { TeacherShare = 0, Weights = ImportanceWeights.None, LengthNormalise = false, Surrogate = Surrogate.Plain };

    /// <summary>The delivery's expected loss and gradient over replies drawn from share·p + (1 − share)·q.</summary>
    private (LossParts Loss, double[] Gradient) Expected(IDelivery delivery, double share)
    {
        var rollouts = student.Replies().Select(y =>
        {
            double[] p = teacher.Logprobs(y), q = student.Logprobs(y);
            var probability = 1.0;
            for (var t = 0; t < y.Length; t++) probability *= share * Math.Exp(p[t]) + (1 - share) * Math.Exp(q[t]);
            return Reply(y, student, teacher) with { Weight = probability };
        }).ToArray();
        if (delivery is PolicyDelivery policy) delivery = policy with { TeacherShare = share };
        return (Backward(student, rollouts, delivery.Terms(rollouts, 0)), student.TakeGradient());
    }

    private LossParts Backward(TabularModel model, Rollout[] rollouts, ReplyTerms[] terms)
    {
        var batch = new RolloutBatch(rollouts);
        using var rows = new ModelTeacher(teacher).Score(batch.Batch);
        return RowLoss.Backward(model, batch, terms, rows, normaliser: 1);
    }

    private static Rollout Reply(int[] reply, TabularModel student, TabularModel teacher) =>
        new(new([0], reply), Author.Student) { Old = student.Logprobs(reply), Teacher = teacher.Logprobs(reply) };

    private static double[] Numbers(string name) => [.. Fixtures[name]!.AsArray().Select(n => (double)n!)];

    private static double[] Filled(int length, double value) => [.. Enumerable.Repeat(value, length)];

    private static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();

    private static double Cosine(double[] a, double[] b) => Dot(a, b) / Math.Sqrt(Dot(a, a) * Dot(b, b));

    private static void Close(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], tolerance);
    }
}
