using Chat.Models.Architectures;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Architectures;

/// <summary>Cached decoding against the slow reference: the whole reply at once, every time.</summary>
public sealed class DecoderCacheTests : IDisposable
{
    private readonly DisposeScope scope = NewDisposeScope();
    private readonly IDisposable gradients = no_grad();
    private readonly EncoderDecoder model = TinyModel.Build();
    private static readonly int[][] Contexts = [TinyModel.Ids(9, 1), TinyModel.Ids(4, 2), TinyModel.Ids(14, 3)];
    private static readonly int[][] Replies = [TinyModel.Ids(8, 4), TinyModel.Ids(8, 5), TinyModel.Ids(8, 6)];

    public void Dispose()
    {
        gradients.Dispose();
        scope.Dispose();
        model.Dispose();
    }

    [Fact]
    public void One_token_at_a_time_is_the_whole_reply_at_once()
    {
        using var cache = Begun([0, 1, 2]);
        for (var t = 0; t < 8; t++)
        {
            var logits = Step(cache, [0, 1, 2], [.. Replies.Select(reply => new[] { reply[t] })]);
            for (var row = 0; row < 3; row++) TinyModel.Close(Whole(row, t + 1)[t], logits[row, 0]);
        }
    }

    [Fact]
    public void Rows_at_different_positions_and_several_tokens_at_once_agree_too()
    {
        using var cache = Begun([2, 0, 1]);                                     // rows need not be in order
        Step(cache, [0, 1], [Replies[0][..3], Replies[1][..1]]);                // ragged: 3 and 1
        Assert.Equal([3, 1, 0], [cache.Length(0), cache.Length(1), cache.Length(2)]);
        var logits = Step(cache, [2, 0, 1], [Replies[2][..4], Replies[0][3..5], Replies[1][1..4]]);
        Check(Whole(2, 4), logits[0], 0, 4);
        Check(Whole(0, 5), logits[1], 3, 2);
        Check(Whole(1, 4), logits[2], 1, 3);

        static void Check(Tensor whole, Tensor steps, int from, int count) => TinyModel.Close(whole.narrow(0, from, count), steps.narrow(0, 0, count));
    }

    [Fact]
    public void Forks_happen_as_if_at_once()
    {
        using var cache = Begun([0, 1, 2]);
        Step(cache, [0, 1, 2], [Replies[0][..2], Replies[1][..5], Replies[2][..3]]);
        cache.Fork([(0, 1), (1, 2), (2, 0), (1, 3)]);                           // a ring, and a free row
        Assert.Equal([3, 2, 5, 5], Enumerable.Range(0, 4).Select(cache.Length));
        var logits = Step(cache, [0, 1, 2, 3], [[Replies[2][3]], [Replies[0][2]], [Replies[1][5]], [Replies[1][5]]]);
        TinyModel.Close(Whole(2, 4)[3], logits[0, 0]);
        TinyModel.Close(Whole(0, 3)[2], logits[1, 0]);
        TinyModel.Close(Whole(1, 6)[5], logits[2, 0]);
        TinyModel.Close(Whole(1, 6)[5], logits[3, 0]);
    }

    [Fact]
    public void A_freed_row_reads_another_context_and_its_fork_lives_on()
    {
        using var cache = Begun([0]);
        Step(cache, [0], [Replies[0][..2]]);
        cache.Fork([(0, 1)]);
        cache.Free(0);
        cache.Free(0);
        Assert.False(cache.IsUsed(0));
        Begin(cache, [0], [Contexts[2]]);
        var logits = Step(cache, [0, 1], [[Replies[2][0]], [Replies[0][2]]]);
        TinyModel.Close(Whole(2, 1)[0], logits[0, 0]);
        TinyModel.Close(Whole(0, 3)[2], logits[1, 0]);
    }

    [Fact]
    public void A_free_or_full_row_cannot_be_fed()
    {
        using var cache = new DecoderCache(model.Config, rows: 2, maxContext: 16, maxReply: 4);
        Assert.Throws<InvalidOperationException>(() => cache.Next([0], [1], 1));
        Assert.Throws<InvalidOperationException>(() => cache.Fork([(0, 1)]));
        Begin(cache, [0], [Contexts[0]]);
        Step(cache, [0], [Replies[0][..3]]);
        Assert.Throws<InvalidOperationException>(() => cache.Next([0], [2], 2));
        TinyModel.Close(Whole(0, 4)[3], Step(cache, [0], [[Replies[0][3]]])[0, 0]);
    }

    private DecoderCache Begun(int[] rows)
    {
        var cache = new DecoderCache(model.Config, rows: 4, maxContext: 16, maxReply: 12);
        Begin(cache, rows, [.. rows.Select(row => Contexts[row])]);
        return cache;
    }

    private void Begin(DecoderCache cache, int[] rows, int[][] contexts) => model.Begin(cache, rows, TinyModel.Batch(contexts).Ids, [.. contexts.Select(row => row.Length)]);

    private Tensor Step(DecoderCache cache, int[] rows, int[][] tokens) => model.Step(cache, rows, TinyModel.Batch(tokens).Ids, [.. tokens.Select(row => row.Length)]);

    /// <summary>[length V]: the reference for dialogue <paramref name="row"/>.</summary>
    private Tensor Whole(int row, int length)
    {
        var (ids, mask) = TinyModel.Batch([Contexts[row]]);
        return model.Forward(ids, mask, TinyModel.Batch([Replies[row][..length]]).Ids)[0];
    }
}
