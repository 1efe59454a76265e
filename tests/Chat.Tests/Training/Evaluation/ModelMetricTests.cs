using Chat.Models.Architectures;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using CsCheck;
using static TorchSharp.torch;

namespace Chat.Tests.Training.Evaluation;

/// <summary>The toy of the distillation fixtures: three tokens, token 2 ends, at most three tokens; every text can be enumerated.</summary>
public class ModelMetricTests
{
    private const int V = 3, End = 2, Longest = 3;

    private static readonly double[] P = Logs(0.5, 0.3, 0.15, 0.05), Q = Logs(0.1, 0.2, 0.3, 0.4);

    private static double[] Logs(params double[] p) => [.. p.Select(x => Math.Log(x))];

    private static double[] Normalized(Func<int, double> logit)
    {
        var logits = Enumerable.Range(0, V).Select(logit).ToArray();
        var total = Math.Log(logits.Sum(Math.Exp));
        return [.. logits.Select(z => z - total)];
    }

    private static int Code(int[] prefix) => prefix.Aggregate(0, (code, token) => code * 4 + token + 1);
    private static double[] Teacher(int[] prefix) => Normalized(v => 2 * Math.Sin(1 + 3 * Code(prefix) + 1.7 * v));
    private static double[] Student(int[] prefix) => Normalized(v => 1.3 * Math.Cos(0.5 + 2 * Code(prefix) + 1.1 * v));

    private static IEnumerable<int[]> Texts(int[]? prefix = null) => prefix is { Length: > 0 } && (prefix[^1] == End || prefix.Length == Longest)
        ? [prefix]
        : Enumerable.Range(0, V).SelectMany(token => Texts([.. prefix ?? [], token]));

    /// <summary>Every text with its probability under the writer and a value at each of its states.</summary>
    private static Trajectory[] Enumerated(Func<int[], double[]> writer, Func<int[], double> value) =>
        [.. Texts().Select(text => new Trajectory(Math.Exp(text.Select((token, t) => writer(text[..t])[token]).Sum()), [.. text.Select((_, t) => value(text[..t]))]))];

    [Fact]
    public void Divergences_and_acceptance_of_the_fixtures_pair()
    {
        Assert.Equal(0.718414334482, ModelMetrics.Kl(P, Q), 1e-11);
        Assert.Equal(0.797683957975, ModelMetrics.Kl(Q, P), 1e-11);
        Assert.Equal(0.5, ModelMetrics.Acceptance(P, Q), 12);
    }

    [Fact]
    public void Reverse_kl_over_enumerated_texts_is_the_sequences_own()
    {
        var texts = Enumerated(Student, prefix => ModelMetrics.Kl(Student(prefix), Teacher(prefix)));

        Assert.Equal(15, texts.Length);
        Assert.Equal(1, texts.Sum(t => t.Weight), 12);
        Assert.Equal(0.853216770854, texts.Sum(t => t.Weight * t.Values.Sum()), 1e-11);
    }

    [Fact]
    public void Excess_error_is_the_sums_of_expectations_over_prefixes_that_go_on()
    {
        double Kl(int[] prefix) => ModelMetrics.Kl(Teacher(prefix), Student(prefix));
        var excess = ModelMetrics.ExcessError(Enumerated(Student, Kl), Enumerated(Teacher, Kl));

        double Piled(Func<int[], double[]> writer, int length)
        {
            var sum = 0.0;
            IEnumerable<(int[] Prefix, double Probability)> alive = [([], 1)];
            for (var l = 0; l < length; l++)
            {
                alive = [.. alive];
                sum += alive.Sum(a => a.Probability * Kl(a.Prefix)) / alive.Sum(a => a.Probability);
                alive = alive.SelectMany(a => Enumerable.Range(0, V).Where(token => token != End).Select(token => ((int[])[.. a.Prefix, token], a.Probability * Math.Exp(writer(a.Prefix)[token]))));
            }
            return sum;
        }
        Assert.Equal(Longest, excess.Length);
        for (var l = 1; l <= Longest; l++) Assert.Equal(100 * (Piled(Student, l) - Piled(Teacher, l)) / Piled(Teacher, l), excess[l - 1], 9);
    }

    [Fact]
    public void The_first_token_counts_and_ended_texts_do_not()
    {
        Trajectory[] own = [new(1, [2]), new(1, [2, 6])], teachers = [new(1, [1]), new(1, [1, 1, 5])];

        Assert.Equal([100, 300], ModelMetrics.ExcessError(own, teachers));       // R = 2, 8; the teacher's 1, 2
        Assert.Equal([0, 0], ModelMetrics.ExcessError([new(1, [0, 0])], [new(1, [0, 0])]));
    }

    [Fact]
    public void Perplexity_of_a_uniform_guess_is_the_vocabulary() => Assert.Equal(7, ModelMetrics.Perplexity([Math.Log(7), Math.Log(7), Math.Log(7)]), 12);

    [Fact]
    public void Calibration_error_by_hand()
    {
        Assert.Equal(0.45, ModelMetrics.CalibrationError([(0.95, true), (0.95, false), (0.55, true), (0.55, true)]), 12);
        Assert.Equal(0, ModelMetrics.CalibrationError([(1, true), (1, true), (0, false)]), 12);
        Assert.Equal(0.1375, ModelMetrics.CalibrationError([(0.9, false), (0.3, true), (0.8, false), (0.6, true), (0.9, true), (0.2, false), (1, false), (0.4, true)], bins: 1), 12);
        Assert.Equal(0, ModelMetrics.CalibrationError([]));
    }

    [Fact]
    public void Divergences_are_never_negative_and_acceptance_keeps_Pinskers_bound()
    {
        var row = Gen.Double[-6, 6].Array[5].Select(z => { var total = Math.Log(z.Sum(Math.Exp)); return z.Select(x => x - total).ToArray(); });
        Gen.Select(row, row).Sample((p, q) =>
        {
            var acceptance = ModelMetrics.Acceptance(p, q);
            Assert.InRange(acceptance, 0, 1 + 1e-12);
            Assert.Equal(0, ModelMetrics.Kl(p, p), 12);
            Assert.True(acceptance >= 1 - Math.Sqrt(Math.Min(ModelMetrics.Kl(p, q), ModelMetrics.Kl(q, p)) / 2) - 1e-9);
            Assert.Equal(acceptance, ModelMetrics.Acceptance(q, p), 12);
        }, iter: 300, seed: "0000000000000");
    }

    [Fact]
    public void Two_models_compared_in_batches_are_what_the_arrays_say()
    {
        using var teacher = Tiny(1);
        using var student = Tiny(2);
        Sample[] texts = [new([20, 21, 2, 3], [30, 31, 2]), new([22, 2, 3], [32, 33, 34, 35, 2]), new([23, 24, 25, 2, 3], [36, 2]), new([26, 2, 3], [.. Enumerable.Repeat(30, 30)])];

        var states = StateComparison.Compare(teacher, student, texts);

        for (var i = 0; i < texts.Length; i++)
        {
            var (p, q) = (Rows(teacher, texts[i]), Rows(student, texts[i]));
            Assert.Equal(texts[i].Labels.Length, states[i].Length);
            for (var t = 0; t < p.Length; t++)
            {
                var label = texts[i].Labels[t];
                Assert.Equal(-p[t][label], states[i][t].TeacherLoss, 1e-4);
                Assert.Equal(-q[t][label], states[i][t].StudentLoss, 1e-4);
                Assert.Equal(ModelMetrics.Kl(p[t], q[t]), states[i][t].Forward, 1e-4);
                Assert.Equal(ModelMetrics.Kl(q[t], p[t]), states[i][t].Reverse, 1e-4);
                Assert.Equal(ModelMetrics.Acceptance(p[t], q[t]), states[i][t].Accepted, 1e-4);
                Assert.Equal(Math.Exp(q[t].Max()), states[i][t].Guess.Confidence, 1e-4);
                Assert.Equal(q[t][label] == q[t].Max(), states[i][t].Guess.Right);
            }
        }
        Assert.All(StateComparison.Compare(teacher, teacher, texts).SelectMany(s => s), s => Assert.True(s.Forward < 1e-6 && s.Reverse < 1e-6 && s.Accepted > 1 - 1e-5));
    }

    private static EncoderDecoder Tiny(ulong seed) =>
        new(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.3), 50, 0) with { Pad = TokenizerFile.Pad }, seed, dtype: ScalarType.Float32);

    /// <summary>One text alone, [T][V] log-probabilities in double precision.</summary>
    private static double[][] Rows(EncoderDecoder model, Sample text)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        model.eval();
        var batch = new Batch([text]);
        var logits = model.Forward(batch.Contexts(), batch.Mask(), batch.Replies()).to_type(ScalarType.Float64).data<double>().ToArray();
        return [.. logits.Chunk(50).Select(row => { var total = Math.Log(row.Sum(Math.Exp)); return row.Select(z => z - total).ToArray(); })];
    }
}
