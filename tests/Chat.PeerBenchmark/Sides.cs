using System.Numerics.Tensors;
using Chat.Models.Engine;
using LLama.Native;

namespace Chat.PeerBenchmark;

/// <summary>One engine with a number of rows, as both are driven: greedy, the next token chosen from all scores.</summary>
internal interface ISide : IDisposable
{
    /// <summary>Makes the context every row's past, all rows in one batch.</summary>
    void Read(int[] context);

    /// <summary>Feeds each row the token chosen for it.</summary>
    void Decode();
}

/// <summary>Our runner, the way the engine calls it.</summary>
internal sealed class OurSide(IRunner runner, int batch) : ISide
{
    private readonly int[] rows = [.. Enumerable.Range(0, batch)], next = new int[batch];

    public void Read(int[] context) => Choose(runner.Prefill([.. rows.Select(row => new PrefillItem(row, context, default))]));

    public void Decode() => Choose(runner.Decode(rows, next));

    public void Dispose()
    {
        foreach (var row in rows) runner.Free(row);
    }

    private void Choose(ReadOnlySpan<float> scores)
    {
        var width = scores.Length / next.Length;
        for (var row = 0; row < next.Length; row++) next[row] = TensorPrimitives.IndexOfMax(scores.Slice(row * width, width));
    }
}

/// <summary>What of the peer can be set and makes it faster or slower on a processor.</summary>
internal sealed record PeerSettings(int Threads, bool FlashAttention, GGMLType Cache)
{
    /// <summary>Quantised values want flash attention.</summary>
    public static IEnumerable<PeerSettings> Candidates(int threads) =>
        from count in Enumerable.Range(1, threads).Reverse()
        from kind in new[] { (false, GGMLType.GGML_TYPE_F16), (true, GGMLType.GGML_TYPE_F16), (false, GGMLType.GGML_TYPE_F32), (true, GGMLType.GGML_TYPE_Q8_0) }
        select new PeerSettings(count, kind.Item1, kind.Item2);

    public override string ToString() => $"{Threads} thread{(Threads == 1 ? "" : "s")}, {(FlashAttention ? "" : "no ")}flash attention, cache {Cache.ToString()["GGML_TYPE_".Length..].ToLowerInvariant()}";
}

/// <summary>llama.cpp, driven through LLamaSharp's own handles: no sampler and no text, as on our side.</summary>
internal sealed class PeerSide : ISide
{
    private const int TokensAtOnce = 512;
    private readonly SafeLLamaContextHandle context;
    private readonly LLamaBatch fed = new();
    private readonly int[] next;
    private int position;

    /// <param name="room">Tokens a row may hold.</param>
    public PeerSide(SafeLlamaModelHandle model, PeerSettings settings, int batch, int room)
    {
        var wanted = LLamaContextParams.Default();
        wanted.n_ctx = (uint)(batch * room);
        wanted.n_seq_max = (uint)batch;
        wanted.n_batch = wanted.n_ubatch = TokensAtOnce;
        wanted.n_threads = wanted.n_threads_batch = settings.Threads;
        wanted.llama_flash_attn_type = settings.FlashAttention ? LLamaFlashAttentionType.LLAMA_FLASH_ATTENTION_TYPE_ENABLED : LLamaFlashAttentionType.LLAMA_FLASH_ATTENTION_TYPE_DISABLED;
        wanted.type_k = wanted.type_v = settings.Cache;
        wanted.no_perf = true;
        context = SafeLLamaContextHandle.Create(model, wanted);
        next = new int[batch];
    }

    public void Read(int[] tokens)
    {
        if (tokens.Length * next.Length > TokensAtOnce) throw new ArgumentException($"The rows' contexts together have more than {TokensAtOnce} tokens.");
        context.MemoryClear(data: false);
        fed.Clear();
        for (var row = 0; row < next.Length; row++)
            for (var t = 0; t < tokens.Length; t++) fed.Add((LLamaToken)tokens[t], (LLamaPos)t, (LLamaSeqId)row, logits: t == tokens.Length - 1);
        Feed();
        for (var row = 0; row < next.Length; row++) next[row] = Best((row + 1) * tokens.Length - 1);
        position = tokens.Length;
    }

    public void Decode()
    {
        fed.Clear();
        for (var row = 0; row < next.Length; row++) fed.Add((LLamaToken)next[row], (LLamaPos)position, (LLamaSeqId)row, logits: true);
        Feed();
        for (var row = 0; row < next.Length; row++) next[row] = Best(row);
        position++;
    }

    public void Dispose() => context.Dispose();

    private void Feed()
    {
        if (context.Decode(fed) is var result && result != DecodeResult.Ok) throw new InvalidOperationException($"The peer could not decode: {result}.");
    }

    private int Best(int output) => TensorPrimitives.IndexOfMax<float>(context.GetLogitsIth(output));
}
