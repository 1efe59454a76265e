using Chat.Models.Architectures;
using static TorchSharp.torch;

namespace Chat.Models.Engine;

/// <summary>A decoder-only model: context and reply are one text. Long prompts are read in pieces, so that no pass holds scores of all against all.</summary>
internal sealed class TorchDecoder : TorchModel
{
    private const int Piece = 128;
    private readonly Decoder model;
    private readonly KeyValueRows cache;
    private readonly int[] contexts;                    // tokens of each row's context; 0 when the row is free

    public TorchDecoder(Decoder model, int rows, int? maxContext, int? maxReply)
    {
        this.model = model;
        model.eval();
        (MaxContext, MaxReply) = (maxContext ?? model.Config.MaxContext, maxReply ?? model.Config.MaxReply);
        model.Config.CheckRoom(MaxContext + MaxReply);
        cache = model.Cache(rows, MaxContext + MaxReply);
        contexts = new int[rows];
    }

    public override int VocabularySize => model.Config.VocabularySize;
    public override int Rows => cache.Rows;
    public override int MaxContext { get; }
    public override int MaxReply { get; }
    public override bool ReadsInParts => true;
    public override Device Device => model.WeightDevice;

    public override Tensor? Read(ReadOnlySpan<PrefillItem> items, int[] rows, int[] from, int[] counts)
    {
        for (var i = 0; i < items.Length; i++)
        {
            if (from[i] > 0) continue;
            cache.Clear(rows[i]);
            contexts[rows[i]] = items[i].Context.Length;
        }
        var at = 0;
        var ids = Batch(items, counts, pad: 0, (item, target) =>
        {
            int[] text = [.. item.Context.Span, .. item.Emitted.Span];
            text.AsSpan(from[at++], target.Length).CopyTo(target);
        });
        var last = new Tensor[items.Length];                                                                    // [C] each
        for (var start = 0; start < counts.Max(); start += Piece) Advance(rows, ids, counts, start, last);
        var ended = new List<Tensor>();
        for (var i = 0; i < items.Length; i++)
            if (from[i] + counts[i] == items[i].Context.Length + items[i].Emitted.Length) ended.Add(last[i]);
        return ended.Count > 0 ? model.Score(stack(ended)) : null;
    }

    private void Advance(int[] rows, Tensor ids, int[] lengths, int from, Tensor[] last)
    {
        using var scope = NewDisposeScope();
        int[] going = [.. Enumerable.Range(0, rows.Length).Where(i => lengths[i] > from)], counts = [.. going.Select(i => Math.Min(Piece, lengths[i] - from))];
        var piece = ids.narrow(1, from, counts.Max()).index_select(0, tensor([.. going.Select(i => (long)i)], device: Device));
        var hidden = model.Advance(cache, going.Select(i => rows[i]).ToArray(), piece, counts);                // [n T C]
        for (var i = 0; i < going.Length; i++)
            if (from + counts[i] == lengths[going[i]]) last[going[i]] = hidden[i, counts[i] - 1].MoveToOuterDisposeScope();
    }

    public override Tensor Feed(ReadOnlySpan<int> rows, Tensor ids, ReadOnlySpan<int> counts)
    {
        for (var i = 0; i < rows.Length; i++)
        {
            CheckUsed(rows[i]);
            if (cache.Length(rows[i]) - contexts[rows[i]] + counts[i] > MaxReply) throw new InvalidOperationException($"Row {rows[i]} holds {cache.Length(rows[i]) - contexts[rows[i]]} of at most {MaxReply} tokens of a reply: {counts[i]} more do not fit.");
        }
        return model.Step(cache, rows, ids, counts);
    }

    public override void Truncate(int row, int length)
    {
        CheckUsed(row);
        CheckLength(row, length, cache.Length(row) - contexts[row]);
        cache.Truncate(row, contexts[row] + length);
    }

    public override void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        foreach (var (from, _) in copies)
            if (contexts[from] == 0) throw new InvalidOperationException($"Row {from} holds no context to copy.");
        var before = contexts.ToArray();
        foreach (var (from, to) in copies) contexts[to] = before[from];
        cache.Fork(copies);
    }

    public override void Free(int row)
    {
        contexts[row] = 0;
        cache.Clear(row);
    }

    public override void Dispose() => cache.Dispose();

    private void CheckUsed(int row)
    {
        if (contexts[row] == 0) throw new InvalidOperationException($"Row {row} holds no context.");
    }
}
