using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

/// <summary>What holds for every objective, on a table whose replies can all be listed, and on a small encoder-decoder.</summary>
public sealed class ObjectiveTests : IDisposable
{
    private const int Words = 4, End = 3, Longest = 3;
    private static readonly PluginCatalog Plugins = new(typeof(IObjective).Assembly);

    private readonly TorchSharp.DisposeScope scope = NewDisposeScope();
    private readonly TabularModel teacher = Table(1), student = Table(2);

    public static TheoryData<string> All => [.. Plugins.OfKind("objective").Select(o => o.Name)];

    public void Dispose() => scope.Dispose();

    private static TabularModel Table(int seed)
    {
        var random = new Random(seed);
        return new TabularModel(Words, End, Longest, (_, _) => 4 * random.NextDouble() - 2).Filled();
    }

    private static DistillationObjective Preset(string name) => Plugins.Create<IObjective>(name).Default;

    [Fact]
    public void The_eleven_are_there() => Assert.Equal(["distillm", "distillm2", "dpkd", "gkd", "kd", "minillm", "opd", "seqkd", "sft", "skd", "tvd"], Plugins.OfKind("objective").Select(o => o.Name));

    [Theory, MemberData(nameof(All))]
    public void A_student_like_its_teacher_learns_nothing_but_the_data(string name)
    {
        // Likelihood pulls towards the data, not the teacher: it is left out.
        var rollouts = teacher.Replies().Select((y, i) => Scored(y, teacher, teacher, i % 2 == 0 ? Author.Teacher : Author.Student)).ToArray();
        var terms = Preset(name).Delivery.Terms(rollouts, 0.5).Select(t => t with { Likelihood = 0 }).ToArray();
        var loss = Backward(teacher, rollouts, terms, 1);

        Assert.Equal(Preset(name).Delivery is DirectDelivery { Measure: Preference } ? 0.5 * Math.Log(2) * rollouts.Sum(r => r.Length) : 0, loss.Total, 1e-10);
        Assert.All(teacher.TakeGradient(), g => Assert.Equal(0, g, 1e-12));
    }

    [Theory, MemberData(nameof(All))]
    public void Chunks_batches_and_pads_change_nothing(string name)
    {
        using var model = Tiny(1);
        using var other = Tiny(2);
        var (q, p) = (new EncoderDecoderScorer(model), new ModelTeacher(new EncoderDecoderScorer(other)));
        Rollout[] rollouts =
        [
            .. new (int Context, int Reply)[] { (3, 2), (9, 5), (4, 11), (6, 1) }.Select((size, i) => new Rollout(
                new([.. Enumerable.Range(20, size.Context), 3], [.. Enumerable.Range(25, size.Reply - 1), 2]), i % 2 == 0 ? Author.Teacher : Author.Student)
            {
                Old = [.. Enumerable.Range(0, size.Reply).Select(t => -2.0 - 0.1 * t)], Teacher = [.. Enumerable.Range(0, size.Reply).Select(t => -1.5 - 0.2 * ((t * 7) % 5))],
            }),
        ];
        var terms = Preset(name).Delivery.Terms(rollouts, 0.3);
        var tokens = rollouts.Sum(r => r.Length);

        double[] Gradient(params int[][] batches)
        {
            foreach (var weight in model.parameters()) weight.grad?.zero_();
            foreach (var members in batches)
            {
                var batch = new RolloutBatch([.. members.Select(i => rollouts[i])]);
                using var rows = p.Score(batch.Batch);
                RowLoss.Backward(q, batch, [.. members.Select(i => terms[i])], rows, tokens, chunkRows: batches.Length == 2 ? 3 : RowLoss.ChunkRows);
            }
            return [.. model.parameters().SelectMany(w => w.grad is { } g ? g.data<float>().ToArray() : new float[w.numel()]).Select(g => (double)g)];
        }
        var whole = Gradient([0, 1, 2, 3]);
        Assert.Contains(whole, g => Math.Abs(g) > 1e-4);
        Close(whole, Gradient([0, 2], [3, 1]), 2e-6);
        Close(whole, Gradient([0], [1], [2], [3]), 2e-6);                                    // no pads at all
        Assert.All(other.parameters(), w => Assert.Null(w.grad));
    }

    [Fact]
    public void Maximum_likelihood_of_the_teachers_replies_is_the_forward_divergence_on_its_states()
    {
        var rollouts = teacher.Replies().Select(y => Scored(y, student, teacher, Author.Teacher) with { Weight = Math.Exp(teacher.Logprobs(y).Sum()) }).ToArray();
        Backward(student, rollouts, new LikelihoodDelivery().Terms(rollouts, 0), 1);
        var likelihood = student.TakeGradient();
        Backward(student, rollouts, new DirectDelivery(new ForwardKl()).Terms(rollouts, 0), 1);

        Close(likelihood, student.TakeGradient(), 1e-12);
    }

    [Fact]
    public void On_policy_distillation_is_a_sample_of_the_reverse_divergence_on_own_states()
    {
        var rollouts = student.Replies().Select(y => Scored(y, student, teacher, Author.Student) with { Weight = Math.Exp(student.Logprobs(y).Sum()) }).ToArray();
        Backward(student, rollouts, Preset("opd").Delivery.Terms(rollouts, 0), 1);
        var sampled = student.TakeGradient();
        Backward(student, rollouts, new DirectDelivery(new ReverseKl()).Terms(rollouts, 0), 1);

        Close(sampled, student.TakeGradient(), 1e-12);
    }

    [Fact]
    public void A_constant_on_the_teachers_scores_changes_nothing()
    {
        var shifted = new TabularModel(Words, End, Longest, (prefix, v) => Shifted(prefix, v)).Filled();
        double Shifted(int[] prefix, int v) => teacher.Next(prefix)[v] + 17;
        var rollouts = student.Replies().Select(y => Scored(y, student, teacher, Author.Student)).ToArray();
        var terms = new PolicyDelivery().Terms(rollouts, 0);
        Backward(student, rollouts, terms, 1);
        var gradient = student.TakeGradient();
        var batch = new RolloutBatch(rollouts);
        using var rows = new ModelTeacher(shifted).Score(batch.Batch);
        RowLoss.Backward(student, batch, terms, rows, 1);

        Close(gradient, student.TakeGradient(), 1e-12);
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(5)]
    public void A_temperature_divides_both_sides_and_its_square_keeps_the_size(double temperature)
    {
        int[] reply = [End];
        var rollouts = new[] { Scored(reply, student, teacher, Author.Data) };
        var batch = new RolloutBatch(rollouts);
        using var rows = new ModelTeacher(teacher, temperature).Score(batch.Batch);
        var loss = RowLoss.Backward(student, batch, new DirectDelivery(new ForwardKl()).Terms(rollouts, 0), rows, 1, temperature).Divergence;

        double[] p = Softened(teacher), q = Softened(student);
        Assert.Equal(temperature * temperature * p.Zip(q, (a, b) => a * Math.Log(a / b)).Sum(), loss, 1e-12);

        double[] Softened(TabularModel model)
        {
            var weights = Array.ConvertAll(model.Next([]), l => Math.Exp(l / temperature));
            return Array.ConvertAll(weights, w => w / weights.Sum());
        }
    }

    [Fact]
    public void The_best_k_and_the_rest_bound_the_divergence_from_below_and_reach_it()
    {
        double last = 0;
        var rollouts = student.Replies().Select(y => Scored(y, student, teacher, Author.Data)).ToArray();
        var terms = new DirectDelivery(new ForwardKl()).Terms(rollouts, 0);
        var dense = Backward(student, rollouts, terms, 1).Divergence;
        var gradient = student.TakeGradient();
        for (var k = 1; k <= Words; k++)
        {
            var batch = new RolloutBatch(rollouts);
            using var rows = new TopKTeacher(new ModelTeacher(teacher), k, Words).Score(batch.Batch);
            var bound = RowLoss.Backward(student, batch, terms, rows, 1).Divergence;
            Assert.InRange(bound, last, dense + 1e-12);
            last = bound;
            if (k < Words) student.TakeGradient();
        }
        Assert.Equal(dense, last, 1e-12);
        Close(gradient, student.TakeGradient(), 1e-12);
    }

    [Fact]
    public void The_rest_in_one_column_is_the_convention()
    {
        var known = (double)Golden.Read("distillation/fixtures.json")["pair p,q"]!["top2 tail bucket fkl"]!;
        var p = new TabularModel(4, 3, 1, (_, v) => Math.Log(new[] { .5, .3, .15, .05 }[v])).Filled();
        var q = new TabularModel(4, 3, 1, (_, v) => Math.Log(new[] { .1, .2, .3, .4 }[v])).Filled();
        var batch = new RolloutBatch([new(new([0], [1]), Author.Data)]);
        using var rows = new TopKTeacher(new ModelTeacher(p), 2, 4).Score(batch.Batch);

        Assert.Equal(known, RowLoss.Backward(q, batch, new DirectDelivery(new ForwardKl()).Terms(batch.Rollouts, 0), rows, 1).Divergence, 1e-12);
    }

    [Theory]
    [InlineData("minillm"), InlineData("gkd"), InlineData("tvd"), InlineData("distillm2"), InlineData("dpkd")]
    public void An_objective_refuses_less_than_it_needs_of_its_teacher(string name) =>
        Assert.Throws<ArgumentException>(() => Preset(name).Check(SignalKind.TopK));

    [Theory]
    [InlineData("kd"), InlineData("skd"), InlineData("distillm")]
    public void Forward_divergences_make_do_with_the_best_k(string name) => Preset(name).Check(SignalKind.TopK);

    [Fact]
    public void A_policy_gradient_does_not_learn_from_data() =>
        Assert.Throws<ArgumentException>(() => (Preset("minillm") with { Replies = new() { Sources = [ReplySource.Mixed], Share = 0.5 } }).Check(SignalKind.Full));

    [Theory]
    [InlineData("kd", "{\"divergence\":\"kl\"}", "none of fkl")]
    [InlineData("kd", "{\"singleStep\":false}", "policy gradient's")]
    [InlineData("minillm", "{\"textWeight\":0,\"divergence\":\"fkl\"}", "no meaning")]
    [InlineData("minillm", "{}", "name its corpora")]
    [InlineData("gkd", "{\"share\":1.5}", "share 1.5")]
    [InlineData("minillm", "{\"textWeight\":0,\"teacherShare\":1}", "teacherShare 1")]
    [InlineData("sft", "{\"clip\":0.1}", "no meaning")]
    public void A_recipe_that_makes_no_sense_is_refused(string name, string distil, string reason)
    {
        var recipe = System.Text.Json.JsonSerializer.Deserialize<DistilRecipe>(JsonNode.Parse(distil), RecipeFile.Json)!;

        Assert.Contains(reason, Assert.Throws<RecipeException>(() => recipe.Apply(name, Preset(name))).Message, StringComparison.Ordinal);
    }

    private LossParts Backward(TabularModel model, Rollout[] rollouts, ReplyTerms[] terms, double normaliser)
    {
        var batch = new RolloutBatch(rollouts);
        using var rows = new ModelTeacher(teacher).Score(batch.Batch);
        return RowLoss.Backward(model, batch, terms, rows, normaliser);
    }

    private static Rollout Scored(int[] reply, TabularModel student, TabularModel teacher, Author author) =>
        new(new([0], reply), author) { Old = student.Logprobs(reply), Teacher = teacher.Logprobs(reply) };

    private static EncoderDecoder Tiny(ulong seed) => new(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.2), 40, 0), seed);

    private static void Close(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], tolerance);
    }
}
