using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Tests.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Engine;

/// <summary>Scores of given replies against one full pass of the architecture, and models that come and go while others are served.</summary>
public sealed class ScoreTests : IDisposable
{
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private static readonly int[] Context = [7, 8, 9, 10, 11], Reply = [12, 13, 14, 15, 4];

    private readonly ModelFolder folder = ModelFolder.Open(Golden.At("eva/models/m1"));
    private readonly InProcessChatModels models = new([], Catalog, null, new() { Rows = 2 }, TimeProvider.System, () => 1);

    public void Dispose() => models.Dispose();

    [Fact]
    public async Task A_full_report_is_the_log_softmax_of_a_full_pass()
    {
        await models.LoadAsync(ServedModel.OnKernels(folder));

        var scored = await models.ScoreAsync(Wish with { Full = true }, CancellationToken.None);

        var expected = FullPass();
        Assert.Equal(Reply.Length, scored.Count);
        for (var i = 0; i < Reply.Length; i++)
        {
            TinyModel.Close(expected[i], scored[i].Logprobs, absolute: 2e-4, relative: 1e-4);
            Assert.Equal(scored[i].Logprobs[Reply[i]], scored[i].Logprob);
        }
    }

    [Fact]
    public async Task Top_and_tail_hold_all_the_probability_and_draws_follow_it()
    {
        await models.LoadAsync(ServedModel.OnKernels(folder));
        var full = await models.ScoreAsync(Wish with { Full = true }, CancellationToken.None);

        var top = await models.ScoreAsync(Wish with { Top = 3 }, CancellationToken.None);
        var drawn = await models.ScoreAsync(Wish with { Draws = 1000, Seed = 9 }, CancellationToken.None);
        var again = await models.ScoreAsync(Wish with { Draws = 1000, Seed = 9 }, CancellationToken.None);

        for (var i = 0; i < Reply.Length; i++)
        {
            Assert.Equal(full[i].Logprobs.Select((p, id) => (p, id)).OrderByDescending(p => p.p).ThenBy(p => p.id).Take(3).Select(p => p.id), top[i].Ids);
            Assert.Equal(1, top[i].Logprobs.Append(top[i].Tail!.Value).Sum(p => Math.Exp(p)), 5);
            Assert.Equal(drawn[i].Ids, again[i].Ids);
            // χ² of the draws against the law, ids with less than five expected draws put together; the bound is far above its mean.
            var (sum, cells, restSeen, restExpected) = (0.0, 0, 0, 0.0);
            for (var id = 0; id < full[i].Logprobs.Length; id++)
            {
                var (seen, expected) = (drawn[i].Ids.Count(d => d == id), 1000 * Math.Exp(full[i].Logprobs[id]));
                if (expected < 5) (restSeen, restExpected) = (restSeen + seen, restExpected + expected);
                else (sum, cells) = (sum + (seen - expected) * (seen - expected) / expected, cells + 1);
            }
            if (restExpected > 5) (sum, cells) = (sum + (restSeen - restExpected) * (restSeen - restExpected) / restExpected, cells + 1);
            Assert.InRange(sum, 0, cells + 4 * Math.Sqrt(2.0 * cells));
        }
    }

    [Fact]
    public async Task A_report_may_be_of_the_reply_alone_and_at_another_temperature()
    {
        await models.LoadAsync(ServedModel.OnKernels(folder));
        var full = await models.ScoreAsync(Wish with { Full = true }, CancellationToken.None);
        var alone = await models.ScoreAsync(Wish, CancellationToken.None);
        var warm = await models.ScoreAsync(Wish with { Full = true, Temperature = 2 }, CancellationToken.None);

        Assert.Equal(full.Select(place => place.Logprob), alone.Select(place => place.Logprob));
        Assert.All(alone, place => Assert.True(place is { Ids.Length: 0, Logprobs.Length: 0, Tail: null }));
        foreach (var (cold, place) in full.Zip(warm))
        {
            var total = Math.Log(cold.Logprobs.Sum(l => Math.Exp(l / 2)));
            Assert.Equal(cold.Logprobs.Select(l => (float)(l / 2 - total)), place.Logprobs, (a, b) => Math.Abs(a - b) < 1e-4);
        }
        foreach (var wrong in new[] { 0, -1, 101, double.NaN })
            Assert.Equal("temperature", (await Assert.ThrowsAsync<GenerationException>(() => models.ScoreAsync(Wish with { Temperature = wrong }, CancellationToken.None))).Parameter);
    }

    [Fact]
    public async Task A_scored_reply_changes_nothing_for_those_beside_it()
    {
        await models.LoadAsync(ServedModel.OnKernels(folder));
        var alone = await SayAsync();

        var scoring = Enumerable.Range(0, 20).Select(_ => models.ScoreAsync(Wish with { Top = 2 }, CancellationToken.None)).ToList();
        Assert.Equal(alone, await SayAsync());
        await Task.WhenAll(scoring);
    }

    [Fact]
    public async Task A_model_is_served_once_and_no_more_when_it_is_unloaded()
    {
        await models.LoadAsync(ServedModel.OnKernels(folder));
        await Assert.ThrowsAsync<ArgumentException>(() => models.LoadAsync(ServedModel.OnKernels(folder)));
        Assert.Equal("m1", Assert.Single(models.Models).Id);

        await models.UnloadAsync("m1");
        await models.UnloadAsync("m1");

        Assert.Empty(models.Models);
        Assert.Equal(GenerationError.UnknownModel, (await Assert.ThrowsAsync<GenerationException>(() => models.ScoreAsync(Wish, CancellationToken.None))).Error);
        await models.LoadAsync(ServedModel.OnKernels(folder));
        Assert.NotEqual("", await SayAsync());
    }

    [Fact]
    public async Task A_model_that_cannot_start_is_not_served()
    {
        var broken = ServedModel.OnKernels(folder) with { CreateRunner = _ => throw new InvalidOperationException("no weights") };

        Assert.Equal("no weights", (await Assert.ThrowsAsync<InvalidOperationException>(() => models.LoadAsync(broken))).Message);
        Assert.Empty(models.Models);
    }

    private static ScoreWish Wish => new() { Model = "m1", Context = Context, Reply = Reply };

    private float[][] FullPass()
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        using var model = folder.LoadModel();
        var (ids, mask) = TinyModel.Batch([Context]);
        var logits = model.Forward(ids, mask, TinyModel.Batch([[folder.Config.Start, .. Reply[..^1]]]).Ids);
        return [.. Enumerable.Range(0, Reply.Length).Select(i => nn.functional.log_softmax(logits[0, i], -1).Floats())];
    }

    private async Task<string> SayAsync()
    {
        var text = "";
        var request = new GenerationRequest { RequestId = "r", Model = "m1", Messages = [new(ChatRole.User, "你好吗")], Decoding = new() { ["seed"] = 3, ["minTokens"] = 20, ["maxTokens"] = 20 } };
        await foreach (var chunk in models.GenerateAsync(request, CancellationToken.None)) text += chunk.Text;
        return text;
    }
}
