using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Tests.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Kernels;

/// <summary>Decoder-only families on the kernels, against one full pass of libtorch a token.</summary>
public sealed class CpuDecoderTests
{
    public static TheoryData<string> Families => TinyDecoder.Names;

    [Theory, MemberData(nameof(Families))]
    public void Every_family_scores_as_full_passes_do_through_prefill_decode_and_forks(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var runner = Packed(model, rows: 4);
        List<int>[] texts = [[.. TinyDecoder.Ids(9, 1)], [.. TinyDecoder.Ids(1, 2)], [.. TinyDecoder.Ids(17, 3)], []];
        Check([0, 2], runner.Prefill([new(0, texts[0].ToArray(), default), new(2, texts[2].GetRange(0, 12).ToArray(), texts[2].GetRange(12, 5).ToArray())]));
        Check([1], runner.Prefill([new(1, texts[1].ToArray(), default)]));

        for (var step = 0; step < 8; step++)
        {
            int[] rows = step % 2 == 0 ? [2, 0, 1] : [1, 2];
            foreach (var row in rows) texts[row].Add(TinyDecoder.Ids(1, 10 * step + row)[0]);
            Check(rows, runner.Decode(rows, [.. rows.Select(row => texts[row][^1])]));
            if (step != 4) continue;
            runner.Fork([(0, 3), (1, 0), (0, 1)]);
            (texts[3], texts[0], texts[1]) = ([.. texts[0]], [.. texts[1]], [.. texts[0]]);
        }
        texts[3].Add(7);
        Check([3], runner.Decode([3], [7]));

        void Check(int[] rows, ReadOnlySpan<float> scores)
        {
            for (var i = 0; i < rows.Length; i++) TinyModel.Close(Whole(model, texts[rows[i]]), scores.Slice(i * runner.VocabularySize, runner.VocabularySize), absolute: 2e-4);
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void Integer_weights_give_a_row_the_same_bits_in_any_batch(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var runner = Packed(model, rows: 3, WeightFormat.Int8);
        PrefillItem Item(int row) => new(row, TinyDecoder.Ids(3 + 5 * row, row), default);

        var together = runner.Prefill([Item(0), Item(1), Item(2)]).ToArray();
        var next = runner.Decode([0, 1, 2], [7, 8, 9]).ToArray();

        for (var row = 0; row < 3; row++)
        {
            Assert.Equal(together.AsSpan(row * runner.VocabularySize, runner.VocabularySize), runner.Prefill([Item(row)]));
            Assert.Equal(next.AsSpan(row * runner.VocabularySize, runner.VocabularySize), runner.Decode([row], [7 + row]));
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void A_draft_scores_bit_for_bit_as_its_tokens_one_by_one_and_leaves_no_trace_when_taken_back(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var runner = Packed(model, rows: 4, WeightFormat.Int8);
        PrefillItem Item(int row, params int[] emitted) => new(row, TinyDecoder.Ids(3 + 4 * row, row), emitted);
        runner.Prefill([Item(0), Item(1, 8), Item(2)]);

        var drafted = runner.Verify([2, 0, 1], [3, 1, 2], [7, 8, 9, 10, 11, 12]).ToArray();
        foreach (var (row, kept) in new[] { (2, 1), (0, 1), (1, 1) }) runner.Truncate(row, kept);
        var goesOn = runner.Decode([0, 1, 2], [20, 21, 22]).ToArray();

        (int Row, int[] Before, int[] Fed, int Kept)[] rows = [(2, [], [7, 8, 9], 1), (0, [], [10], 1), (1, [8], [11, 12], 0)];
        var at = 0;
        foreach (var (row, before, fed, kept) in rows)
        {
            runner.Prefill([Item(3, before) with { Context = TinyDecoder.Ids(3 + 4 * row, row) }]);
            foreach (var token in fed) Assert.Equal(runner.Decode([3], [token]), drafted.AsSpan(at++ * runner.VocabularySize, runner.VocabularySize));
            runner.Prefill([new(3, TinyDecoder.Ids(3 + 4 * row, row), (int[])[.. before, .. fed[..kept]])]);
            Assert.Equal(runner.Decode([3], [20 + row]), goesOn.AsSpan(row * runner.VocabularySize, runner.VocabularySize));
        }
        Assert.Throws<ArgumentOutOfRangeException>(() => runner.Truncate(0, 3));
    }

    [Fact]
    public void A_prompt_longer_than_a_pass_is_read_in_pieces()
    {
        using var model = TinyDecoder.Build("qwen3");
        using var runner = Packed(model, rows: 1, maxContext: 1_300);
        var text = TinyDecoder.Ids(1_250, 1);

        TinyModel.Close(Whole(model, text), runner.Prefill([new(0, text, default)]), absolute: 3e-4);
    }

    [Theory, MemberData(nameof(Families))]
    public void A_prompt_read_in_any_parts_is_the_prompt_read_at_once(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var whole = Packed(model, rows: 2);
        using var parts = Packed(model, rows: 2);
        int[] prompt = TinyDecoder.Ids(17, 1), other = TinyDecoder.Ids(9, 2);
        var expected = whole.Prefill([new(0, prompt, new[] { 7, 8 })]).ToArray();

        Assert.Equal(19, parts.Open(new(0, prompt, new[] { 7, 8 })));
        Assert.Equal(9, parts.Open(new(1, other, default)));
        Assert.Equal(0, parts.Read([new(0, 1)]).Length);
        Assert.Equal(parts.VocabularySize, parts.Read([new(0, 15), new(1, 9)]).Length);
        Assert.Throws<InvalidOperationException>(() => parts.Decode([0], [7]).Length);
        Assert.Throws<ArgumentException>(() => parts.Read([new(0, 4)]).Length);
        Assert.Equal(expected, parts.Read([new(0, 3)]));
        Assert.Throws<ArgumentException>(() => parts.Read([new(0, 1)]).Length);
    }

    [Theory, MemberData(nameof(Families))]
    public void A_prompt_that_begins_as_an_earlier_text_reads_only_what_follows_and_scores_the_same(string family)
    {
        using var model = TinyDecoder.Build(family == "gpt2" ? TinyDecoder.Families[family] with { MaxPositions = 120 } : TinyDecoder.Families[family]);
        using var used = Packed(model, rows: 3, maxContext: 100);
        int[] first = TinyDecoder.Ids(40, 1);
        used.Prefill([new(0, first, default)]);
        for (var i = 0; i < 9; i++) used.Decode([0], [10 + i]);                 // its third page is filled by the reply
        int[] whole = [.. first, .. Enumerable.Range(10, 9), 30, 31], branch = [.. first[..20], .. TinyDecoder.Ids(30, 5)];

        Assert.Equal(51 - 48, used.Open(new(1, whole, default)));
        Assert.Equal(50 - 16, used.Open(new(2, branch, default)));
        var scores = used.Read([new(1, 3), new(2, 34)]).ToArray();

        using var fresh = Packed(model, rows: 3, maxContext: 100);
        Assert.Equal(fresh.Prefill([new(1, whole, default), new(2, branch, default)]), scores);
        used.Free(0);
        used.Free(1);
        Assert.Equal(16, used.Open(new(0, whole.AsMemory(0, 48), default)));    // a whole page more would leave nothing to feed
    }

    [Fact]
    public void What_was_not_used_for_longest_is_evicted_first_and_rows_are_never_short_of_it()
    {
        using var model = TinyDecoder.Build("llama");
        using var runner = Packed(model, rows: 3, maxContext: 50, cacheBytes: 8 * KeyValuePages.BytesOf(3, 2, 6));
        Assert.Equal(8, runner.FreePages);
        int[] Prompt(int seed) => TinyDecoder.Ids(49, seed);                    // four pages, three of them whole
        void Use(int seed)
        {
            runner.Prefill([new(0, Prompt(seed), default)]);
            runner.Free(0);
        }
        Use(1);
        Use(2);
        Use(1);
        Use(3);

        Assert.Equal(8, runner.FreePages);
        Assert.Equal((1, 1), (runner.Open(new(0, Prompt(1), default)), runner.Open(new(1, Prompt(3), default))));
        runner.Free(0);
        runner.Free(1);
        Assert.InRange(runner.Open(new(2, Prompt(2), default)), 2, 49);           // the end of it at least is gone
    }

    [Fact]
    public void A_pinned_beginning_survives_whatever_evicts_all_else_and_its_prompts_score_as_if_they_had_been_read()
    {
        using var model = TinyDecoder.Build("llama");
        using var runner = Packed(model, rows: 3, maxContext: 50, cacheBytes: 8 * PageBytes, pinBytes: 3 * PageBytes);
        int[] common = TinyDecoder.Ids(40, 1), pinned = [.. common, .. TinyDecoder.Ids(8, 2)], other = [.. common, .. TinyDecoder.Ids(8, 3)];
        void Press()
        {
            for (var seed = 10; seed < 20; seed++) runner.Prefill([new(0, TinyDecoder.Ids(49, seed), default), new(1, TinyDecoder.Ids(49, 100 + seed), default)]);
            runner.Free(0);
            runner.Free(1);
        }

        Pin Read(string name, int[] beginning)
        {
            runner.Prefill([new(2, beginning, default)]);
            try { return runner.Pin(name, beginning); }
            finally { runner.Free(2); }
        }

        Assert.Equal("'common' cannot be pinned: it has not been read.", Assert.Throws<PinException>(() => runner.Pin("common", common)).Message);
        Assert.Equal(new("common", 32, 2 * PageBytes), Read("common", common));
        Assert.Equal((8, 0.0), (runner.FreePages, runner.Usage));                           // on an account of its own
        Press();

        Assert.Equal(16, runner.Open(new(0, pinned, default)));
        using var fresh = Packed(model, rows: 3, maxContext: 50);
        Assert.Equal(fresh.Prefill([new(0, pinned, default)]), runner.Read([new(0, 16)]));
        for (var token = 7; token < 12; token++) Assert.Equal(fresh.Decode([0], [token]), runner.Decode([0], [token]));

        var error = Assert.Throws<PinException>(() => Read("too much", TinyDecoder.Ids(50, 4)));
        Assert.Contains($"needs {3 * PageBytes} bytes for 48 tokens, and {PageBytes} of {3 * PageBytes} are left (Models:PinBytes)", error.Message, StringComparison.Ordinal);
        Assert.Equal(new("longer", 48, 3 * PageBytes), Read("longer", pinned));              // two of its pages are paid for
        Assert.Throws<PinException>(() => Read("other", other));
        Assert.Throws<PinException>(() => Read("common", pinned));
        Assert.Throws<PinException>(() => Read("short", common[..15]));

        runner.Free(0);
        runner.Unpin("longer");
        runner.Unpin("longer");
        Press();
        Assert.Equal(16, runner.Open(new(0, pinned, default)));
        runner.Free(0);
        runner.Unpin("common");
        Assert.Equal(16, runner.Open(new(0, pinned, default)));                             // not evicted yet
        runner.Free(0);
        Press();
        Assert.Equal(48, runner.Open(new(0, pinned, default)));
        Assert.Equal(new("other", 48, 3 * PageBytes), Read("other", other));
    }

    [Fact]
    public void A_row_that_goes_on_with_pages_no_longer_pinned_pays_for_them_itself()
    {
        using var model = TinyDecoder.Build("llama");
        using var runner = Packed(model, rows: 2, maxContext: 50, cacheBytes: 4 * PageBytes, pinBytes: 2 * PageBytes);
        runner.Prefill([new(0, TinyDecoder.Ids(32, 1), default)]);
        runner.Pin("common", TinyDecoder.Ids(32, 1));
        runner.Prefill([new(0, TinyDecoder.Ids(32, 1).Append(5).ToArray(), default), new(1, TinyDecoder.Ids(40, 3), default)]);
        Assert.Equal(0, runner.FreePages);

        runner.Unpin("common");

        Assert.Equal(-2, runner.FreePages);
        Assert.True(runner.Fits([]));
        Assert.False(runner.Fits([new(0, 16)]));
        runner.Free(1);
        Assert.True(runner.Fits([new(0, 16)]));
    }

    private const long PageBytes = 3 * 2 * (6 + 8) * KeyValuePages.PageTokens * sizeof(float);          // of Packed("llama")

    private static float[] Whole(Decoder model, IReadOnlyList<int> text)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        return model.Forward(TinyModel.Batch([[.. text]]).Ids)[0, -1].Floats();
    }

    private static CpuRunner Packed(Decoder model, int rows, WeightFormat format = WeightFormat.Exact, int maxContext = 18, long cacheBytes = long.MaxValue, long pinBytes = 0)
    {
        using var folder = new TemporaryFolder();
        DecoderWeights.Save(model, folder.At(Checkpoint.SingleFile));
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        return new(model.Config, checkpoint, rows, maxContext, maxReply: 14, format, cacheBytes: cacheBytes, pinBytes: pinBytes);
    }
}
