using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Models.Modules;
using Chat.Tests.Architectures;
using Chat.Tests.Engine;

namespace Chat.Tests.Kernels;

/// <summary>The kernels under the rules of all runners, and against libtorch in float32.</summary>
public sealed class CpuRunnerTests : RunnerTests
{
    private protected override IRunner Create(EncoderDecoder model, int rows) => Packed(model, rows);

    [Theory]
    [InlineData("Golden/eva/models/m1", 6), InlineData("Golden/eva/models/m2", 6), InlineData("Shipped/chat-student", 3)]
    public void Greedy_replies_are_those_of_libtorch_in_float32_token_for_token(string path, int dialogues)
    {
        var folder = ModelFolder.Open(Path.Combine(AppContext.BaseDirectory, path));
        using var model = folder.LoadModel(dtype: TorchSharp.torch.ScalarType.Float32);
        using var torch = new TorchRunner(model, dialogues);
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        using var kernels = new CpuRunner(folder.Config, checkpoint, dialogues);
        var random = new Random(5);
        int[][] contexts = [.. Enumerable.Range(0, dialogues).Select(_ => Enumerable.Range(0, random.Next(2, 40)).Select(_ => random.Next(6, folder.Config.VocabularySize)).ToArray())];

        var (expected, expectedScores) = Greedy(torch, contexts, 30);
        var (actual, actualScores) = Greedy(kernels, contexts, 30);

        Assert.Equal(expected, actual);
        // Two float32 computations of scores that go up to some thirty.
        TinyModel.Close(expectedScores, actualScores, absolute: 1e-4, relative: 2e-5);
    }

    public static TheoryData<EncoderDecoderConfig> Switches => new(
        TinyModel.Config with { HeadWidth = 7, Heads = 5, Buckets = 8, FeedForward = 50 },
        TinyModel.Config with { Activation = Activation.GeluErf, AttentionScale = false },
        TinyModel.T5 with { Activation = Activation.Silu, MaxDistance = 20 },
        TinyModel.T5 with { Activation = Activation.Relu, Gated = false, Tied = true });

    [Theory, MemberData(nameof(Switches))]
    public void Every_switch_of_the_configuration_scores_as_libtorch_does(EncoderDecoderConfig config)
    {
        using var model = TinyModel.Build(config);
        using var torch = new TorchRunner(model, 3);
        using var kernels = Packed(model, 3);
        int[][] contexts = [TinyModel.Ids(24, 1), TinyModel.Ids(1, 2), TinyModel.Ids(17, 3)];

        TinyModel.Close(Greedy(torch, contexts, 15).Scores, Greedy(kernels, contexts, 15).Scores, absolute: 2e-4);
    }

    [Fact]
    public void A_rows_scores_are_the_same_bits_alone_and_in_company()
    {
        using var model = TinyModel.Build();
        using var alone = Packed(model, 1);
        using var company = Packed(model, 7);
        int[][] contexts = [.. Enumerable.Range(0, 7).Select(i => TinyModel.Ids(3 + 3 * i, i))];

        var together = Greedy(company, contexts, 12).Scores;
        for (var i = 0; i < contexts.Length; i++)
        {
            var one = Greedy(alone, [contexts[i]], 12).Scores;
            for (var step = 0; step < 12; step++)
                Assert.Equal(one.AsSpan(step * alone.VocabularySize, alone.VocabularySize), together.AsSpan((step * contexts.Length + i) * alone.VocabularySize, alone.VocabularySize));
        }
    }

    [Theory]
    [InlineData(WeightFormat.Int8, 0.05), InlineData(WeightFormat.Int4, 0.3)]
    public void Integer_weights_score_nearly_as_exact_ones_do_and_the_same_in_any_batch(WeightFormat format, double most)
    {
        var folder = ModelFolder.Open(Path.Combine(AppContext.BaseDirectory, "Shipped/chat-student"));
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        using var exact = new CpuRunner(folder.Config, checkpoint, 3);
        using var coded = new CpuRunner(folder.Config, checkpoint, 3, format);
        var random = new Random(1);
        PrefillItem[] items = [.. Enumerable.Range(0, 3).Select(row => new PrefillItem(row, Ids(10 + row), Ids(8 * row)))];
        int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(6, folder.Config.VocabularySize))];

        var expected = exact.Prefill(items).ToArray();
        var scores = coded.Prefill(items).ToArray();

        var distance = Math.Sqrt(expected.Zip(scores, (a, b) => (double)(a - b) * (a - b)).Sum() / expected.Sum(a => (double)a * a));
        Assert.InRange(distance, 1e-5, most);
        Assert.Equal(scores.AsSpan(^coded.VocabularySize..), coded.Prefill([items[2]]));
    }

    [Fact]
    public void Prefill_in_pieces_is_prefill_at_once()
    {
        using var model = TinyModel.Build(TinyModel.Config with { MaxContext = 300, MaxReply = 300 });
        using var runner = Packed(model, 4);
        using var other = Packed(model, 4);                             // has nothing in its cache
        PrefillItem Item(int row) => new(row, TinyModel.Ids(250 + row, row), TinyModel.Ids(200 - row, row + 10));

        var together = runner.Prefill([Item(0), Item(1), Item(2), Item(3)]).ToArray();

        for (var row = 0; row < 4; row++)
            Assert.Equal(together.AsSpan(row * runner.VocabularySize, runner.VocabularySize), other.Prefill([Item(row)]));
    }

    [Fact]
    public void A_context_is_encoded_once_while_its_pages_last()
    {
        using var model = TinyModel.Build(TinyModel.Config with { MaxContext = 40, MaxReply = 40 });
        using var runner = Packed(model, 4);
        int[] context = TinyModel.Ids(40, 1), other = [.. context[..39], 9];
        var free = runner.FreePages;

        var scores = runner.Prefill([new(0, context, default), new(1, other, default), new(2, context, default)]).ToArray();
        Assert.Equal(free - 3 - 3 - 3, runner.FreePages);                // rows 0 and 2 share a context; each has a page of its reply
        Assert.Equal(scores.AsSpan(0, runner.VocabularySize), scores.AsSpan(2 * runner.VocabularySize, runner.VocabularySize));
        for (var row = 0; row < 4; row++) runner.Free(row);
        Assert.Equal(free, runner.FreePages);

        Assert.Equal(1, runner.Open(new(3, context, default)));
        Assert.Equal(free - 3, runner.FreePages);
        Assert.Equal(scores.AsSpan(0, runner.VocabularySize), runner.Read([new(3, 1)]));
        Assert.Equal(2, runner.Open(new(0, other, new[] { 7, 8 })));
        Assert.Equal(39 + 2, runner.Open(new(1, context.AsMemory(1), new[] { 7, 8 })));
    }

    [Fact]
    public void A_draft_scores_bit_for_bit_as_its_tokens_one_by_one_however_many_there_are()
    {
        using var model = TinyModel.Build(TinyModel.Config with { MaxReply = 40 });
        using var runner = Packed(model, 5);
        int[] rows = [3, 0, 2, 1], counts = [17, 1, 30, 5];
        int[][] drafts = [.. counts.Select((count, i) => TinyModel.Ids(count, 20 + i))];
        PrefillItem Item(int row) => new(row, TinyModel.Ids(3 + row, row), TinyModel.Ids(row, row + 10));
        runner.Prefill([Item(0), Item(1), Item(2), Item(3)]);

        var together = runner.Verify(rows, counts, [.. drafts.SelectMany(draft => draft)]).ToArray();

        var at = 0;
        for (var i = 0; i < rows.Length; i++)
        {
            runner.Prefill([Item(rows[i]) with { Row = 4 }]);
            foreach (var token in drafts[i]) Assert.Equal(runner.Decode([4], [token]), together.AsSpan(at++ * runner.VocabularySize, runner.VocabularySize));
        }
    }

    [Fact]
    public void What_is_taken_back_leaves_no_trace_in_its_row_or_in_a_copy_of_it_and_gives_pages_back()
    {
        using var model = TinyModel.Build(TinyModel.Config with { MaxContext = 40, MaxReply = 60 });
        using var runner = Packed(model, 3);
        int[] context = TinyModel.Ids(20, 1), reply = TinyModel.Ids(20, 2);
        runner.Prefill([new(0, context, reply)]);                           // with the start token 21 tokens: two pages
        var free = runner.FreePages;

        runner.Verify([0], [30], TinyModel.Ids(30, 3));
        Assert.Equal(free - 2, runner.FreePages);
        runner.Fork([(0, 1)]);
        runner.Truncate(0, 22);
        Assert.Equal(free - 2, runner.FreePages);                           // the copy still holds all four
        var short0 = runner.Decode([0], [9]).ToArray();
        Assert.Equal(free - 3, runner.FreePages);                           // the second page was shared, and is written
        var long1 = runner.Decode([1], [9]).ToArray();
        runner.Free(1);
        Assert.Equal(free, runner.FreePages);
        runner.Truncate(0, 3);
        Assert.Equal(free + 1, runner.FreePages);
        runner.Truncate(0, 3);
        var shorter0 = runner.Verify([0], [2], [9, 10]).ToArray();

        int[] drafted = TinyModel.Ids(30, 3);
        float[] Fresh(int[] emitted, int[] fed)
        {
            runner.Prefill([new(2, context, emitted)]);
            return runner.Verify([2], [fed.Length], fed).ToArray();
        }
        Assert.Equal(Fresh([.. reply, .. drafted[..2]], [9]), short0);
        Assert.Equal(Fresh([.. reply, .. drafted], [9]), long1);
        Assert.Equal(Fresh(reply[..3], [9, 10]), shorter0);
    }

    [Fact]
    public void Forks_share_pages_and_freed_rows_give_them_back()
    {
        using var model = TinyModel.Build(TinyModel.Config with { MaxContext = 40, MaxReply = 40 });
        using var runner = Packed(model, 4);
        var free = runner.FreePages;
        runner.Prefill([new(0, TinyModel.Ids(40, 1), TinyModel.Ids(20, 2))]);
        Assert.Equal(free - 3 - 2, runner.FreePages);

        runner.Fork([(0, 1), (0, 2), (0, 3)]);
        Assert.Equal(free - 3 - 2, runner.FreePages);
        runner.Decode([0, 1, 2, 3], [7, 8, 9, 10]);
        Assert.Equal(free - 3 - 2 - 3, runner.FreePages);               // all but the last writer copied the page they write into

        for (var row = 0; row < 4; row++) runner.Free(row);
        Assert.Equal(free, runner.FreePages);
    }

    [Theory]
    [InlineData(WeightFormat.Exact, 1), InlineData(WeightFormat.Int8, 1), InlineData(WeightFormat.Int4, 1), InlineData(WeightFormat.Int8, 2)]
    public void A_thousand_decode_steps_allocate_nothing(WeightFormat format, int threads)
    {
        using var model = TinyModel.Build(TinyModel.Config with { VocabularySize = 48, MaxReply = 40 });
        using var team = new Team(threads);
        using var runner = Packed(model, 4, format, team);
        int[] rows = [0, 1, 2], tokens = [7, 8, 9];
        (int, int)[] forks = [(0, 3), (1, 0), (0, 1)];
        PrefillItem[] items = [.. rows.Select(row => new PrefillItem(row, TinyModel.Ids(9 + row, row), default))];
        void Reply()
        {
            runner.Prefill(items);
            for (var step = 0; step < 35; step++)
            {
                runner.Decode(rows, tokens);
                runner.Fork(forks);
            }
            for (var row = 0; row < 4; row++) runner.Free(row);
        }
        long ThousandSteps()
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var reply = 0; reply < 30; reply++) Reply();
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        // What happens once (a static field, a table that grows) may fall into any one round; what happens each step falls into all.
        Assert.Contains(0, Enumerable.Range(0, 5).Select(_ => ThousandSteps()));
    }

    /// <summary>Greedy replies of a fixed length, and all scores on the way.</summary>
    private static (int[][] Replies, float[] Scores) Greedy(IRunner runner, int[][] contexts, int length)
    {
        int[] rows = [.. Enumerable.Range(0, contexts.Length)];
        var replies = contexts.Select(_ => new int[length]).ToArray();
        var all = new List<float>();
        for (var step = 0; step < length; step++)
        {
            var scores = step == 0 ? runner.Prefill([.. rows.Select(row => new PrefillItem(row, contexts[row], default))]) : runner.Decode(rows, [.. rows.Select(row => replies[row][step - 1])]);
            all.AddRange(scores);
            foreach (var row in rows) replies[row][step] = Scores.ArgMax(scores.Slice(row * runner.VocabularySize, runner.VocabularySize));
        }
        return (replies, [.. all]);
    }

    private static CpuRunner Packed(EncoderDecoder model, int rows, WeightFormat format = WeightFormat.Exact, Team? team = null)
    {
        using var folder = new TemporaryFolder();
        EvaWeights.Save(model, folder.At(Checkpoint.SingleFile));
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        return new(model.Config, checkpoint, rows, format, team);
    }
}
