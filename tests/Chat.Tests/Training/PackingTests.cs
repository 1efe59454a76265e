using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public class PackingTests
{
    private static readonly PluginCatalog Plugins = new(typeof(ITrainingMethod).Assembly);
    private static readonly Sample[] Few = [new([20, 21, 2, 3], [30, 31, 2]), new([22, 2, 3], [32, 33, 34, 35, 2]), new([23, 24, 25, 2, 3], [36, 2]), new([26, 2, 3], [37, 38, 2]), new([27, 28, 29, 20, 21, 22, 2, 3], [39, 2])];

    public static TheoryData<string> Methods => [.. Plugins.OfKind("method").Select(m => m.Name)];

    [Theory, MemberData(nameof(Methods))]
    public void A_packed_batch_has_the_loss_and_the_gradients_of_the_plain_one(string name)
    {
        var method = Plugins.Create<ITrainingMethod>(name);
        var (plain, plainGradients) = Learn(method, new Batch(Few));

        var (packed, gradients) = Learn(method, Batch.Packed([[Few[0], Few[1], Few[2]], [Few[3], Few[4]]]));

        Assert.Equal(plain, packed, 1e-5);
        Assert.Equal(plainGradients.Length, gradients.Length);
        Assert.True(plainGradients.Zip(gradients).All(g => Math.Abs(g.First - g.Second) < 1e-5), $"Gradients differ by {plainGradients.Zip(gradients).Max(g => Math.Abs(g.First - g.Second))}.");
        Assert.Contains(plainGradients, g => Math.Abs(g) > 1e-2);
    }

    [Theory, InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void What_stands_beside_a_sample_changes_no_bit_of_its_loss(ScalarType type)
    {
        using var model = Tiny(type);
        using var gradients = no_grad();
        float[] Losses(params Sample[] row) { using var all = Likelihood.TokenLosses(model, Batch.Packed([row, [Few[4]]])); return all.data<float>().ToArray(); }
        Sample other = new([33, 34, 35, 36], [28, 27, 26, 25, 2]);                     // as long as the second

        var (before, after) = (Losses(Few[0], Few[1], Few[2]), Losses(Few[0], other with { Context = [33, 34, 35] }, Few[2]));

        Assert.Equal(before[..3], after[..3]);
        Assert.NotEqual(before[3..8], after[3..8]);
        Assert.Equal(before[8..], after[8..]);
    }

    [Fact]
    public void Rows_are_filled_and_every_sample_is_there_once()
    {
        var random = new Random(1);
        Sample[] samples = [.. Enumerable.Range(0, 500).Select(i => new Sample([.. Enumerable.Repeat(20, random.Next(1, 30)), i, 3], [.. Enumerable.Repeat(30, random.Next(1, 20)), 2]))];

        var batches = MixtureStream.Pack(samples, new(40, 30), 600);

        Assert.Equal(samples.Order(ById), batches.SelectMany(b => b.Samples).Order(ById));
        Assert.All(batches, b => Assert.InRange(b.Rows * (b.ContextLength + b.ReplyLength), 1, 600));
        Assert.All(batches, b => Assert.True(b.ContextLength <= 40 && b.ReplyLength <= 30));
        double Real(IEnumerable<Batch> all) => all.Sum(b => (double)b.Tokens) / all.Sum(b => (double)b.Rows * (b.ContextLength + b.ReplyLength));
        Assert.True(Real(batches) > 0.85, $"Only {Real(batches):P1} of the places have a token.");
    }

    private static readonly IComparer<Sample> ById = Comparer<Sample>.Create((a, b) => a.Context[^2].CompareTo(b.Context[^2]));

    private static (double Loss, float[] Gradients) Learn(ITrainingMethod method, Batch batch)
    {
        using var model = Tiny(ScalarType.Float32);
        using var scope = NewDisposeScope();
        var loss = method.Loss(model, batch);
        loss.backward();
        return (loss.item<float>(), [.. model.named_parameters().SelectMany(p => p.parameter.grad!.data<float>().ToArray())]);
    }

    private static EncoderDecoder Tiny(ScalarType type) => new(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 2, 2, HeadWidth: 16, InitialDeviation: 0.2), 40, 0) with { Pad = TokenizerFile.Pad }, 1, dtype: type);
}
