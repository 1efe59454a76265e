using System.Text.Json.Nodes;
using Chat.Training.Objectives;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

public sealed class DivergenceTests
{
    private static readonly double[] P = [.5, .3, .15, .05], Q = [.1, .2, .3, .4];
    private static readonly JsonNode Fixtures = Golden.Read("distillation/fixtures.json")["pair p,q"]!;

    public static TheoryData<string, string> Known { get; } = new()
    {
        { "fkl", "fkl KL(p||q)" }, { "rkl", "rkl KL(q||p)" }, { "tvd", "tvd" }, { "jsd:0.1", "jsd(0.1)" }, { "jsd:0.5", "jsd(0.5)" }, { "jsd:0.9", "jsd(0.9)" },
        { "skl:0.1", "skl(0.1)=KL(p||.1p+.9q)" }, { "srkl:0.1", "srkl(0.1)=KL(q||.9p+.1q)" },
    };

    public static TheoryData<string> All { get; } = ["fkl", "rkl", "tvd", "jsd:0.1", "jsd:0.5", "jsd:0.9", "skl:0.1", "srkl:0.1"];

    [Theory, MemberData(nameof(Known))]
    public void Known_values(string name, string fixture) => Assert.Equal((double)Fixtures[fixture]!, Value(name, P, Q), 1e-12);

    [Fact]
    public void Jensen_Shannon_has_the_one_sided_limits()
    {
        Assert.Equal((double)Fixtures["jsd(1e-6)/1e-6"]!, Value("jsd:0.000001", P, Q) / 1e-6, 1e-9);
        Assert.Equal((double)Fixtures["jsd(1-1e-6)/1e-6"]!, Value("jsd:0.999999", P, Q) / 1e-6, 1e-9);
    }

    [Theory, MemberData(nameof(All))]
    public void Zero_exactly_where_both_agree_and_never_negative(string name)
    {
        Assert.Equal(0, Value(name, P, P), 1e-14);
        var random = new Random(3);
        for (var i = 0; i < 50; i++) Assert.True(Value(name, Random(random, 6), Random(random, 6)) > 1e-6);
    }

    [Theory, MemberData(nameof(All))]
    public void Finite_with_its_gradient_for_scores_of_eighty(string name)
    {
        using var scope = NewDisposeScope();
        var p = tensor(new float[,] { { 80, -80, 0 }, { 0, 0, 0 }, { -80, 80, 80 } }).log_softmax(-1);
        var scores = tensor(new float[,] { { -80, 80, 0 }, { 80, -80, -80 }, { -80, 80, -80 } }).requires_grad_();
        var loss = Divergence.Parse(name).Rows(p, scores.log_softmax(-1)).sum();
        loss.backward();

        Assert.True(float.IsFinite(loss.item<float>()));
        Assert.All(scores.grad!.data<float>().ToArray(), g => Assert.True(float.IsFinite(g)));
    }

    [Theory, MemberData(nameof(All))]
    public void Gradient_is_that_of_the_formula_and_sums_to_nothing(string name)
    {
        var random = new Random(5);
        double[] p = Random(random, 5), q = Random(random, 5);
        using var scope = NewDisposeScope();
        var scores = tensor(Array.ConvertAll(q, Math.Log)).unsqueeze(0).requires_grad_();
        Divergence.Parse(name).Rows(tensor(Array.ConvertAll(p, Math.Log)).unsqueeze(0), scores.log_softmax(-1)).sum().backward();
        var g = Slope(name, p, q);
        var mean = q.Zip(g, (a, b) => a * b).Sum();

        var gradient = scores.grad!.data<double>().ToArray();
        for (var v = 0; v < 5; v++) Assert.Equal(q[v] * (g[v] - mean), gradient[v], 1e-10);
        Assert.Equal(0, gradient.Sum(), 1e-12);
    }

    [Fact]
    public void Symmetries_limits_and_bounds()
    {
        var random = new Random(7);
        for (var i = 0; i < 20; i++)
        {
            double[] p = Random(random, 6), q = Random(random, 6);
            Assert.Equal(Value("jsd:0.3", p, q), Value("jsd:0.7", q, p), 1e-12);
            Assert.Equal(Value("srkl:0.1", p, q), Value("skl:0.1", q, p), 1e-12);
            Assert.True(Value("skl:0.1", p, q) <= -Math.Log(0.1));
            Assert.Equal(Value("fkl", p, q), Value("skl:0.00000001", p, q), 1e-6);
            Assert.Equal(Value("rkl", p, q), Value("srkl:0.00000001", p, q), 1e-6);
            Assert.Equal(1 - p.Zip(q, Math.Min).Sum(), Value("tvd", p, q), 1e-12);
        }
    }

    [Fact]
    public void A_preference_is_log_two_without_gradient_where_the_best_tokens_agree()
    {
        using var scope = NewDisposeScope();
        var scores = tensor(Array.ConvertAll(P, Math.Log)).unsqueeze(0).requires_grad_();
        var loss = new Preference(1).Rows(tensor(Array.ConvertAll(P, Math.Log)).unsqueeze(0), scores.log_softmax(-1));
        loss.sum().backward();
        Assert.Equal(Math.Log(2), loss.item<double>(), 1e-12);
        Assert.All(scores.grad!.data<double>().ToArray(), g => Assert.Equal(0, g, 1e-12));

        // p's best is 0, q's 3: margin = log(.1/.4) − log(.5/.05).
        var margin = Math.Log(.1 / .4) - Math.Log(.5 / .05);
        Assert.Equal(Math.Log(1 + Math.Exp(-2 * margin)), Value("preference:2", P, Q), 1e-12);
    }

    [Theory]
    [InlineData("kl"), InlineData("jsd:1"), InlineData("jsd:0"), InlineData("skl:x"), InlineData("fkl:0.3"), InlineData("")]
    public void Another_name_or_number_is_refused(string text) => Assert.Throws<FormatException>(() => Divergence.Parse(text));

    private static double Value(string name, double[] p, double[] q)
    {
        using var scope = NewDisposeScope();
        return Divergence.Parse(name).Rows(tensor(Array.ConvertAll(p, Math.Log)).unsqueeze(0), tensor(Array.ConvertAll(q, Math.Log)).unsqueeze(0)).item<double>();
    }

    /// <summary>∂D/∂q, written out.</summary>
    private static double[] Slope(string name, double[] p, double[] q)
    {
        var a = name.Contains(':', StringComparison.Ordinal) ? double.Parse(name.Split(':')[1], System.Globalization.CultureInfo.InvariantCulture) : 0;
        return [.. Enumerable.Range(0, p.Length).Select(v =>
        {
            switch (name.Split(':')[0])
            {
                case "fkl": return -p[v] / q[v];
                case "rkl": return Math.Log(q[v] / p[v]) + 1;
                case "tvd": return q[v] > p[v] ? 0.5 : -0.5;
                case "jsd":
                    var m = a * p[v] + (1 - a) * q[v];
                    return -a * (1 - a) * p[v] / m + (1 - a) * (Math.Log(q[v] / m) + 1 - (1 - a) * q[v] / m);
                case "skl": return -(1 - a) * p[v] / (a * p[v] + (1 - a) * q[v]);
                default:
                    var s = (1 - a) * p[v] + a * q[v];
                    return Math.Log(q[v] / s) + 1 - a * q[v] / s;
            }
        })];
    }

    private static double[] Random(Random random, int size)
    {
        var weights = Enumerable.Range(0, size).Select(_ => Math.Exp(3 * random.NextDouble())).ToArray();
        return [.. weights.Select(w => w / weights.Sum())];
    }
}
