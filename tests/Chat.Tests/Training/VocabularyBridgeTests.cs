using System.Text;
using Chat.Models.Architectures;
using Chat.Models.Engine;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public sealed class VocabularyBridgeTests : IDisposable
{
    private const int Words = 40;
    private static readonly TokenNames Ours = Names(Enumerable.Range(0, Words));
    /// <summary>Place i holds the student's id of the teacher's token i.</summary>
    private static readonly int[] Order = [.. Enumerable.Range(0, Words).OrderBy(id => id * 17 % Words).ThenBy(id => id)];
    private static readonly TokenNames Theirs = Names(Order);

    private readonly EncoderDecoder student = Model(2, Words, TokenizerFile.Start), teacher = Model(1, Words, TokenizerFile.Start);
    private readonly Batch batch = new([new([20, 21, 3], [30, 31, 2]), new([22, 23, 24, 3], [32, 2]), new([25, 3], [33, 34, 35, 36, 2])]);

    public void Dispose()
    {
        student.Dispose();
        teacher.Dispose();
    }

    public static TheoryData<string> Divergences { get; } = ["fkl", "rkl", "tvd", "jsd:0.3", "skl:0.1", "srkl:0.1", "preference:1"];

    [Theory, MemberData(nameof(Divergences))]
    public void With_the_same_vocabulary_a_bridge_changes_nothing(string divergence)
    {
        var plain = new ModelTeacher(new EncoderDecoderScorer(teacher));
        var (expected, found) = (Learnt(plain, divergence), Learnt(new TokenBridge().Judge(plain, Ours, Ours), divergence));
        Assert.Equal(expected.Loss, found.Loss);
        Assert.Equal(expected.Gradient, found.Gradient);
    }

    [Theory, MemberData(nameof(Divergences))]
    public void With_the_vocabulary_in_another_order_it_changes_nothing_either(string divergence)
    {
        using var stranger = Reordered();
        var mapped = new TokenBridge().Judge(new ModelTeacher(new EncoderDecoderScorer(stranger)), Theirs, Ours);

        var (expected, found) = (Learnt(new ModelTeacher(new EncoderDecoderScorer(teacher)), divergence), Learnt(mapped, divergence));
        Assert.Equal(expected.Loss, found.Loss, 1e-5);
        Assert.Equal(expected.Gradient, found.Gradient, (a, b) => Math.Abs(a - b) < 1e-5);
        // Without a bridge the same teacher says something else.
        Assert.NotEqual(expected.Loss, Learnt(new ModelTeacher(new EncoderDecoderScorer(stranger)), divergence).Loss, 1e-3);
    }

    [Fact]
    public void Labels_and_the_best_k_are_those_of_the_plain_path()
    {
        using var stranger = Reordered();
        var (plain, mapped) = (new ModelTeacher(new EncoderDecoderScorer(teacher), 0.7), new TokenBridge().Judge(new ModelTeacher(new EncoderDecoderScorer(stranger), 0.7), Theirs, Ours));
        using (var expected = plain.Score(batch))
        using (var found = mapped.Score(batch)) Assert.Equal(expected.Labels(), found.Labels(), (a, b) => Math.Abs(a - b) < 1e-5);
        var best = Learnt(new TopKTeacher(plain, 5, Words), "fkl").Loss;
        Assert.Equal(best, Learnt(new TopKTeacher(mapped, 5, Words), "fkl").Loss, 1e-5);
        Assert.Equal(best, Learnt(new TokenBridge().Judge(new TopKTeacher(new ModelTeacher(new EncoderDecoderScorer(stranger), 0.7), 5, Words), Theirs, Ours), "fkl").Loss, 1e-5);
    }

    [Fact]
    public void Of_a_larger_vocabulary_what_the_student_cannot_say_is_left_out()
    {
        using var larger = Model(1, Words + 6, TokenizerFile.Start);
        var theirs = Names(Enumerable.Range(0, Words + 6));
        using var rows = new TokenBridge().Judge(new ModelTeacher(new EncoderDecoderScorer(larger)), theirs, Ours).Score(batch);
        using var all = new ModelTeacher(new EncoderDecoderScorer(larger)).Score(batch);
        var (p, _) = rows.Align(0, batch.LabelCount, zeros(batch.LabelCount, Words));
        var (whole, _) = all.Align(0, batch.LabelCount, zeros(batch.LabelCount, Words + 6));
        float[] found = [.. p.data<float>()], full = [.. whole.data<float>()];
        var (labels, own) = (rows.Labels(), batch.RowLabels());
        for (var n = 0; n < batch.LabelCount; n++)
        {
            var row = full.AsSpan(n * (Words + 6), Words).ToArray();
            var mass = Math.Log(row.Sum(l => Math.Exp(l)));
            for (var v = 0; v < Words; v++) Assert.Equal(row[v] - mass, found[n * Words + v], 1e-5);
            Assert.Equal(row[own[n]] - mass, labels[n], 1e-5);
        }
        var refusal = Assert.Throws<ArgumentException>(() => new TokenBridge().Judge(new TopKTeacher(new ModelTeacher(new EncoderDecoderScorer(larger)), 5, Words + 6), theirs, Ours));
        Assert.Contains("leave topK out", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_teacher_writes_in_the_students_tokens()
    {
        using var plain = new TorchRunner(teacher, 4);
        using var stranger = Reordered();
        using var mapped = new TokenBridge().Writer(new TorchRunner(stranger, 4), Theirs, Ours);
        PrefillItem[] prompts = [new(0, new[] { 20, 21, 3 }, default), new(1, new[] { 25, 3 }, new[] { 33, 34 })];

        Assert.Equal(plain.Prefill(prompts).ToArray(), mapped.Prefill(prompts).ToArray(), (a, b) => Math.Abs(a - b) < 1e-5);
        Assert.Equal(plain.Decode([1, 0], [7, 8]).ToArray(), mapped.Decode([1, 0], [7, 8]).ToArray(), (a, b) => Math.Abs(a - b) < 1e-5);
    }

    [Fact]
    public void What_cannot_be_bridged_is_named()
    {
        var plain = new ModelTeacher(new EncoderDecoderScorer(teacher));
        Assert.Contains("token 39, 'word39', is none", Assert.Throws<ArgumentException>(() => new TokenBridge().Judge(plain, Names(Enumerable.Range(0, Words - 1)), Ours)).Message, StringComparison.Ordinal);
        Assert.Contains("both write 'word5'", Assert.Throws<ArgumentException>(() => new TokenBridge().Judge(plain, Ours, Names([.. Enumerable.Range(0, Words), 5]))).Message, StringComparison.Ordinal);
        // A text that reads like a special token is none.
        Assert.Throws<ArgumentException>(() => new TokenBridge().Judge(plain, Ours with { Special = new HashSet<int>() }, Ours));
        Assert.Equal(39, Ours.FirstDifference(Names(Enumerable.Range(0, Words - 1))));
        Assert.Null(Ours.FirstDifference(new([.. Ours.Names, []], Ours.Special)));                        // a padded head
        Assert.Equal(2, Ours.FirstDifference(Ours with { Special = new HashSet<int> { 0, 1, 3 } }));
    }

    private static TokenNames Names(IEnumerable<int> ids)
    {
        int[] order = [.. ids];
        return new([.. order.Select(id => Encoding.UTF8.GetBytes($"word{id}"))], Enumerable.Range(0, order.Length).Where(at => order[at] < 4).ToHashSet());
    }

    /// <summary>The teacher with its words in another order.</summary>
    private EncoderDecoder Reordered()
    {
        var model = Model(1, Words, Array.IndexOf(Order, TokenizerFile.Start));
        using var gradients = no_grad();
        var order = tensor(Array.ConvertAll(Order, id => (long)id));
        foreach (var (given, made) in teacher.named_parameters().Zip(model.named_parameters()))
            made.parameter.copy_(given.parameter.shape[0] == Words ? given.parameter.index_select(0, order) : given.parameter);
        return model;
    }

    private (double Loss, float[] Gradient) Learnt(ITeacher by, string divergence)
    {
        student.zero_grad();
        var rollouts = new RolloutBatch([.. batch.Samples.Select(s => new Rollout(s, Author.Data))]);
        using var rows = by.Score(batch);
        var loss = RowLoss.Backward(new EncoderDecoderScorer(student), rollouts, new DirectDelivery(Divergence.Parse(divergence)).Terms(rollouts.Rollouts, 0), rows, rollouts.Rows).Divergence;
        return (loss, [.. student.named_parameters().Where(p => p.parameter.grad is not null).SelectMany(p => p.parameter.grad!.flatten().data<float>().ToArray())]);
    }

    private static EncoderDecoder Model(ulong seed, int words, int start)
    {
        var model = new EncoderDecoder(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.2), words, 0) with { Start = start }, seed);
        model.eval();
        return model;
    }
}
