using Chat.Models.Architectures;
using Chat.Models.Engine;
using Chat.Tests.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Engine;

/// <summary>What every runner does, compared with one full pass a token.</summary>
public abstract class RunnerTests : IDisposable
{
    private readonly EncoderDecoder model = TinyModel.Build();
    private readonly IRunner runner;

    private protected RunnerTests() => runner = Create(model, rows: 6);

    public void Dispose()
    {
        runner.Dispose();
        model.Dispose();
    }

    private protected abstract IRunner Create(EncoderDecoder model, int rows);

    [Fact]
    public void Random_traffic_scores_as_full_passes_do()
    {
        var random = new Random(3);
        var rows = new Dictionary<int, (int[] Context, List<int> Reply)>();
        for (var step = 0; step < 120; step++)
        {
            var free = Enumerable.Range(0, runner.Rows).Except(rows.Keys).ToArray();
            switch (random.Next(6))
            {
                case 0 when free.Length > 0:
                    var items = free.Take(random.Next(1, free.Length + 1)).Select(row => (Row: row, Context: TinyModel.Ids(random.Next(1, 25), random.Next()), Emitted: TinyModel.Ids(random.Next(4), random.Next()))).ToArray();
                    var first = runner.Prefill([.. items.Select(item => new PrefillItem(item.Row, item.Context, item.Emitted))]).ToArray();
                    foreach (var item in items) rows[item.Row] = (item.Context, [.. item.Emitted]);
                    Check([.. items.Select(item => item.Row)], first);
                    break;
                case 1 when rows.Count > 0 && free.Length > 0:
                    var sources = rows.Keys.ToArray();
                    var copies = Enumerable.Range(0, runner.Rows).Where(_ => random.Next(2) == 0).Select(to => (From: sources[random.Next(sources.Length)], To: to)).ToArray();
                    var before = rows.ToDictionary(pair => pair.Key, pair => (pair.Value.Context, Reply: pair.Value.Reply.ToList()));
                    runner.Fork(copies);
                    foreach (var (from, to) in copies) rows[to] = (before[from].Context, [.. before[from].Reply]);
                    break;
                case 2 when rows.Count > 3:
                    var gone = rows.Keys.ElementAt(random.Next(rows.Count));
                    runner.Free(gone);
                    rows.Remove(gone);
                    break;
                case 3 when rows.Count > 0:
                    var drafted = rows.Where(pair => pair.Value.Reply.Count < runner.MaxReply - 4 && random.Next(3) > 0).Select(pair => (Row: pair.Key, Tokens: TinyModel.Ids(random.Next(1, 5), random.Next()))).OrderBy(_ => random.Next()).ToArray();
                    var all = runner.Verify([.. drafted.Select(draft => draft.Row)], [.. drafted.Select(draft => draft.Tokens.Length)], [.. drafted.SelectMany(draft => draft.Tokens)]).ToArray();
                    var at = 0;
                    foreach (var (row, tokens) in drafted)
                    {
                        foreach (var token in tokens)
                        {
                            rows[row].Reply.Add(token);
                            Check([row], all[(at * runner.VocabularySize)..(++at * runner.VocabularySize)]);
                        }
                        TakeBack(row, random.Next(tokens.Length + 1));
                    }
                    break;
                case 4 when rows.Count > 0:
                    var shortened = rows.Keys.ElementAt(random.Next(rows.Count));
                    TakeBack(shortened, random.Next(rows[shortened].Reply.Count + 1));
                    break;
                default:
                    var fed = rows.Where(pair => pair.Value.Reply.Count < runner.MaxReply - 1 && random.Next(3) > 0).Select(pair => pair.Key).OrderBy(_ => random.Next()).ToArray();
                    foreach (var row in fed) rows[row].Reply.Add(random.Next(6, 40));
                    Check(fed, runner.Decode(fed, [.. fed.Select(row => rows[row].Reply[^1])]).ToArray());
                    break;
            }
            foreach (var (row, (_, reply)) in rows.ToArray())
                if (reply.Count >= runner.MaxReply - 1)
                {
                    runner.Free(row);
                    rows.Remove(row);
                }
        }

        void TakeBack(int row, int count)
        {
            var reply = rows[row].Reply;
            reply.RemoveRange(reply.Count - count, count);
            runner.Truncate(row, reply.Count);
        }

        void Check(int[] called, float[] scores)
        {
            Assert.Equal(called.Length * runner.VocabularySize, scores.Length);
            for (var i = 0; i < called.Length; i++) TinyModel.Close(Whole(rows[called[i]].Context, rows[called[i]].Reply), scores.AsSpan(i * runner.VocabularySize, runner.VocabularySize));
        }
    }

    [Fact]
    public void A_row_scores_the_same_alone_and_in_company()
    {
        int[] context = TinyModel.Ids(9, 1), reply = TinyModel.Ids(5, 2);
        var alone = Scores(0, []);
        var company = Scores(0, [(1, TinyModel.Ids(20, 3)), (2, TinyModel.Ids(2, 4))]);
        foreach (var (one, other) in alone.Zip(company)) TinyModel.Close(one, other);

        List<float[]> Scores(int row, (int Row, int[] Context)[] others)
        {
            var all = new List<float[]> { runner.Prefill([new(row, context, default), .. others.Select(other => new PrefillItem(other.Row, other.Context, default))])[..runner.VocabularySize].ToArray() };
            foreach (var token in reply) all.Add(runner.Decode([row, .. others.Select(other => other.Row)], [token, .. others.Select(_ => 9)])[..runner.VocabularySize].ToArray());
            for (var each = 0; each < runner.Rows; each++) runner.Free(each);
            return all;
        }
    }

    [Fact]
    public void Reading_emitted_tokens_is_the_same_as_having_decoded_them()
    {
        int[] context = TinyModel.Ids(9, 1), reply = TinyModel.Ids(5, 2);
        runner.Prefill([new(0, context, default)]);
        float[] decoded = [];
        foreach (var token in reply) decoded = runner.Decode([0], [token]).ToArray();
        TinyModel.Close(decoded, runner.Prefill([new(3, context, reply)]));
    }

    [Fact]
    public void The_whole_length_of_a_reply_can_be_decoded_and_no_more()
    {
        runner.Prefill([new(0, TinyModel.Ids(runner.MaxContext, 1), default)]);
        for (var i = 0; i < runner.MaxReply; i++) runner.Decode([0], [7]);
        Assert.Throws<InvalidOperationException>(() => runner.Decode([0], [7]).Length);
    }

    [Fact]
    public void What_cannot_be_run_is_refused_and_changes_nothing()
    {
        var context = TinyModel.Ids(4, 1);
        Assert.Throws<ArgumentException>(() => runner.Prefill([new(0, Array.Empty<int>(), default)]).Length);
        Assert.Throws<ArgumentException>(() => runner.Prefill([new(0, TinyModel.Ids(runner.MaxContext + 1, 1), default)]).Length);
        Assert.Throws<ArgumentException>(() => runner.Prefill([new(0, context, TinyModel.Ids(runner.MaxReply, 1))]).Length);
        Assert.Throws<ArgumentException>(() => runner.Prefill([new(0, new[] { runner.VocabularySize }, default)]).Length);
        Assert.Throws<ArgumentException>(() => runner.Prefill([new(0, new[] { -1 }, default)]).Length);
        Assert.Throws<ArgumentException>(() => runner.Prefill([new(0, context, default), new(0, context, default)]).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => runner.Prefill([new(runner.Rows, context, default)]).Length);
        Assert.Throws<InvalidOperationException>(() => runner.Decode([0], [7]).Length);
        runner.Prefill([new(0, context, default)]);
        Assert.Throws<ArgumentException>(() => runner.Decode([0], [runner.VocabularySize]).Length);
        Assert.Throws<ArgumentException>(() => runner.Decode([0, 0], [7, 7]).Length);
        Assert.Throws<ArgumentException>(() => runner.Decode([0], []).Length);
        Assert.Throws<ArgumentException>(() => runner.Verify([0], [2], [7]).Length);
        Assert.Throws<ArgumentException>(() => runner.Verify([0], [0], []).Length);
        Assert.Throws<ArgumentException>(() => runner.Verify([0, 0], [1, 1], [7, 7]).Length);
        Assert.Throws<ArgumentException>(() => runner.Verify([0], [2], [7, runner.VocabularySize]).Length);
        Assert.Throws<InvalidOperationException>(() => runner.Verify([0], [runner.MaxReply + 1], new int[runner.MaxReply + 1]).Length);
        Assert.Throws<InvalidOperationException>(() => runner.Verify([1], [1], [7]).Length);
        Assert.Throws<InvalidOperationException>(() => runner.Truncate(1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => runner.Truncate(0, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => runner.Truncate(0, -1));
        TinyModel.Close(Whole(context, [7]), runner.Decode([0], [7]));
    }

    /// <summary>Scores behind a reply from one full pass.</summary>
    private float[] Whole(int[] context, IReadOnlyList<int> reply)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        var (ids, mask) = TinyModel.Batch([context]);
        return model.Forward(ids, mask, TinyModel.Batch([[model.Config.Start, .. reply]]).Ids)[0, -1].Floats();
    }
}
