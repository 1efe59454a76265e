using Chat.Models.Architectures;
using Chat.Models.Engine;
using Chat.Tests.Architectures;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Engine;

/// <summary>Decoder-only models behind the runner, compared with one full pass a token.</summary>
public sealed class DecoderRunnerTests
{
    private const int MaxContext = 20, MaxReply = 10;

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama3")]
    [InlineData("mistral")]
    [InlineData("qwen3")]
    public void Random_traffic_scores_as_full_passes_do(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var runner = new TorchRunner(model, rows: 5, MaxContext, MaxReply);
        var random = new Random(3);
        var texts = new Dictionary<int, (int[] Context, List<int> Reply)>();
        for (var step = 0; step < 60; step++)
        {
            int[] free = [.. Enumerable.Range(0, runner.Rows).Except(texts.Keys)];
            if (free.Length > 0 && random.Next(3) == 0)
            {
                PrefillItem[] items = [.. free.Take(2).Select(row => new PrefillItem(row, TinyDecoder.Ids(random.Next(1, MaxContext + 1), random.Next()), TinyDecoder.Ids(random.Next(4), random.Next())))];
                foreach (var item in items) texts[item.Row] = (item.Context.ToArray(), [.. item.Emitted.ToArray()]);
                Check([.. items.Select(item => item.Row)], runner.Prefill(items).ToArray());
            }
            else if (texts.Count > 1 && random.Next(4) == 0)
            {
                int[] rows = [.. texts.Keys];
                var copies = rows.Zip(rows.Reverse()).ToArray();
                var before = texts.ToDictionary(pair => pair.Key, pair => (pair.Value.Context, Reply: pair.Value.Reply.ToList()));
                runner.Fork(copies);
                foreach (var (from, to) in copies) texts[to] = (before[from].Context, [.. before[from].Reply]);
            }
            else if (texts.Count > 0 && random.Next(3) == 0)
            {
                int[] rows = [.. texts.Keys.Where(row => texts[row].Reply.Count <= MaxReply - 3 && random.Next(3) > 0)];
                int[][] drafts = [.. rows.Select(_ => TinyDecoder.Ids(random.Next(1, 4), random.Next()))];
                var all = runner.Verify(rows, [.. drafts.Select(draft => draft.Length)], [.. drafts.SelectMany(draft => draft)]).ToArray();
                var at = 0;
                for (var i = 0; i < rows.Length; i++)
                {
                    var reply = texts[rows[i]].Reply;
                    foreach (var token in drafts[i])
                    {
                        reply.Add(token);
                        Check([rows[i]], all[(at * runner.VocabularySize)..(++at * runner.VocabularySize)]);
                    }
                    var wrong = random.Next(drafts[i].Length + 1);
                    reply.RemoveRange(reply.Count - wrong, wrong);
                    runner.Truncate(rows[i], reply.Count);
                }
            }
            else
            {
                int[] fed = [.. texts.Keys.Where(row => texts[row].Reply.Count < MaxReply && random.Next(3) > 0)];
                foreach (var row in fed) texts[row].Reply.Add(random.Next(6, 40));
                Check(fed, runner.Decode(fed, [.. fed.Select(row => texts[row].Reply[^1])]).ToArray());
            }
            foreach (var row in texts.Keys.Where(row => texts[row].Reply.Count >= MaxReply || random.Next(12) == 0).ToArray())
            {
                runner.Free(row);
                texts.Remove(row);
            }
        }

        void Check(int[] rows, float[] scores)
        {
            for (var i = 0; i < rows.Length; i++)
            {
                using var scope = NewDisposeScope();
                using var gradients = no_grad();
                var whole = model.Forward(TinyModel.Batch([[.. texts[rows[i]].Context, .. texts[rows[i]].Reply]]).Ids)[0, -1];
                TinyModel.Close(whole.Floats(), scores.AsSpan(i * runner.VocabularySize, runner.VocabularySize));
            }
        }
    }

    [Fact]
    public void A_long_prompt_is_read_in_pieces_like_a_short_one()
    {
        using var model = TinyDecoder.Build("llama");
        using var runner = new TorchRunner(model, rows: 2, maxContext: 300, maxReply: 4);
        int[][] prompts = [TinyDecoder.Ids(256, 1), TinyDecoder.Ids(299, 2)];
        var scores = runner.Prefill([new(1, prompts[0], default), new(0, prompts[1], new[] { 7 })]).ToArray();
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        TinyModel.Close(model.Forward(TinyModel.Batch([prompts[0]]).Ids)[0, -1].Floats(), scores.AsSpan(0, 40));
        TinyModel.Close(model.Forward(TinyModel.Batch([[.. prompts[1], 7]]).Ids)[0, -1].Floats(), scores.AsSpan(40));
    }

    [Fact]
    public void The_whole_length_of_a_reply_can_be_decoded_and_no_more()
    {
        using var model = TinyDecoder.Build("qwen2");
        using var runner = new TorchRunner(model, rows: 2, MaxContext, MaxReply);
        Assert.Throws<InvalidOperationException>(() => runner.Decode([0], [7]).Length);
        Assert.Throws<InvalidOperationException>(() => runner.Fork([(0, 1)]));
        runner.Prefill([new(0, TinyDecoder.Ids(3, 1), default)]);
        for (var i = 0; i < MaxReply; i++) runner.Decode([0], [7]);
        Assert.Throws<InvalidOperationException>(() => runner.Decode([0], [7]).Length);
        runner.Free(0);
        Assert.Throws<InvalidOperationException>(() => runner.Decode([0], [7]).Length);
    }

    [Fact]
    public void Learned_positions_bound_what_can_be_asked_for()
    {
        using var model = TinyDecoder.Build("gpt2");
        Assert.Throws<ArgumentException>(() => new TorchRunner(model, rows: 1, maxContext: 30, maxReply: 3));
        using var runner = new TorchRunner(model, rows: 1);
        Assert.Equal((16, 16), (runner.MaxContext, runner.MaxReply));
    }

    [Fact]
    public void Steps_leave_no_tensor_behind()
    {
        using var model = TinyDecoder.Build("qwen3");
        using var runner = new TorchRunner(model, rows: 3, MaxContext, MaxReply);
        void Reply()
        {
            runner.Prefill([new(0, TinyDecoder.Ids(9, 1), default), new(1, TinyDecoder.Ids(5, 2), TinyDecoder.Ids(2, 3))]);
            for (var i = 0; i < 5; i++)
            {
                runner.Decode([0, 1], [7, 8]);
                runner.Fork([(0, 1), (1, 0), (0, 2)]);
            }
        }
        Reply();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 20; i++) Reply();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Several_ends_are_one_with_the_sum_of_their_probabilities()
    {
        using var model = TinyDecoder.Build("llama");
        using var plain = new TorchRunner(model, rows: 1, MaxContext, MaxReply);
        using IRunner joined = new OneEndRunner(new TorchRunner(model, rows: 1, MaxContext, MaxReply), [9, 4, 30]);
        int[] context = TinyDecoder.Ids(6, 1);
        float[] before = plain.Prefill([new(0, context, default)]).ToArray(), after = joined.Prefill([new(0, context, default)]).ToArray();
        double[] law = [.. before.Select(score => Math.Exp(score))], changed = [.. after.Select(score => Math.Exp(score))];
        Assert.Equal(law[9] + law[4] + law[30], changed[9], 1e-4 * changed[9]);
        Assert.Equal([0.0, 0.0], [changed[4], changed[30]]);
        Assert.Equal(law.Sum(), changed.Sum(), 1e-4 * law.Sum());
        Assert.Equal(before.Where((_, id) => id is not (9 or 4 or 30)), after.Where((_, id) => id is not (9 or 4 or 30)));
    }
}
