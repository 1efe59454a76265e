using Chat.Models.Architectures;
using static TorchSharp.torch;

namespace Chat.Models.Engine;

/// <summary>An encoder-decoder: the encoder reads the context, the reply is fed from the start token on.</summary>
internal sealed class TorchEncoderDecoder : TorchModel
{
    private readonly EncoderDecoder model;
    private readonly DecoderCache cache;

    public TorchEncoderDecoder(EncoderDecoder model, int rows, int? maxContext, int? maxReply)
    {
        this.model = model;
        model.eval();
        // The start token stands before the reply's first.
        cache = new DecoderCache(model.Config, rows, maxContext ?? model.Config.MaxContext, (maxReply ?? model.Config.MaxReply) + 1, model.WeightDevice, model.WeightType);
    }

    public override int VocabularySize => model.Config.VocabularySize;
    public override int Rows => cache.Rows;
    public override int MaxContext => cache.MaxContext;
    public override int MaxReply => cache.MaxReply - 1;
    public override bool ReadsInParts => false;
    public override Device Device => model.WeightDevice;

    public override Tensor Read(ReadOnlySpan<PrefillItem> items, int[] rows, int[] from, int[] counts)
    {
        var contextLengths = new int[items.Length];
        var replyLengths = new int[items.Length];
        for (var i = 0; i < items.Length; i++) (contextLengths[i], replyLengths[i]) = (items[i].Context.Length, items[i].Emitted.Length + 1);
        var contexts = Batch(items, contextLengths, model.Config.Pad, static (item, target) => item.Context.Span.CopyTo(target));
        var replies = Batch(items, replyLengths, model.Config.Pad, (item, target) =>
        {
            target[0] = model.Config.Start;
            item.Emitted.Span.CopyTo(target[1..]);
        });
        model.Begin(cache, rows, contexts, contextLengths);
        var logits = model.Step(cache, rows, replies, replyLengths);                                            // [n T V]
        var last = tensor([.. replyLengths.Select((length, i) => (long)i * logits.shape[1] + length - 1)], device: logits.device);
        return logits.flatten(0, 1).index_select(0, last);
    }

    public override Tensor Feed(ReadOnlySpan<int> rows, Tensor ids, ReadOnlySpan<int> counts) => model.Step(cache, rows, ids, counts);

    public override void Truncate(int row, int length)
    {
        if (!cache.IsUsed(row)) throw new InvalidOperationException($"Row {row} holds no context.");
        CheckLength(row, length, cache.Length(row) - 1);
        cache.Truncate(row, length + 1);
    }

    public override void Fork(ReadOnlySpan<(int From, int To)> copies) => cache.Fork(copies);

    public override void Free(int row) => cache.Free(row);

    public override void Dispose() => cache.Dispose();
}
