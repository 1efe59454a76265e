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

    [Fact]
    public void A_prompt_longer_than_a_pass_is_read_in_pieces()
    {
        using var model = TinyDecoder.Build("qwen3");
        using var runner = Packed(model, rows: 1, maxContext: 1_300);
        var text = TinyDecoder.Ids(1_250, 1);

        TinyModel.Close(Whole(model, text), runner.Prefill([new(0, text, default)]), absolute: 3e-4);
    }

    private static float[] Whole(Decoder model, IReadOnlyList<int> text)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        return model.Forward(TinyModel.Batch([[.. text]]).Ids)[0, -1].Floats();
    }

    private static CpuRunner Packed(Decoder model, int rows, WeightFormat format = WeightFormat.Exact, int maxContext = 18)
    {
        using var folder = new TemporaryFolder();
        DecoderWeights.Save(model, folder.At(Checkpoint.SingleFile));
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        return new(model.Config, checkpoint, rows, maxContext, maxReply: 14, format);
    }
}
