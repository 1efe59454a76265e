using Chat.Models.Kernels;

namespace Chat.Tests.Kernels;

public sealed unsafe class AttentionTests
{
    [Theory]
    [InlineData(64, 0, 1), InlineData(64, 0, 16), InlineData(64, 0, 40), InlineData(8, 0, 17), InlineData(7, 0, 33), InlineData(80, 0, 15), InlineData(128, 0, 50), InlineData(32, 0, 37), InlineData(104, 17, 40)]
    [InlineData(64, 3, 9), InlineData(64, 18, 40), InlineData(8, 32, 33), InlineData(7, 15, 17), InlineData(64, 16, 48)]
    public void Attention_over_pages_is_the_softmax_of_the_sums(int width, int from, int tokens)
    {
        const int layer = 1, head = 2;
        var random = new Random(width + tokens);
        using var store = new KeyValuePages(layers: 2, heads: 3, width, pages: 12);
        for (var i = 0; i < 5; i++) store.Take();                       // the list's pages are not the first ones
        var list = new PageList(store, tokens);
        list.Append(tokens);
        float[][] Draw() => [.. Enumerable.Range(0, tokens).Select(_ => Enumerable.Range(0, 3 * width).Select(_ => random.NextSingle() * 2 - 1).ToArray())];
        var (keys, values) = (Draw(), Draw());
        for (var t = 0; t < tokens; t++)
            fixed (float* k = keys[t], v = values[t]) store.Write(layer, list[t].Page, list[t].Slot, k, v);
        float[] query = [.. Enumerable.Range(0, width).Select(_ => random.NextSingle() * 2 - 1)], answer = new float[width];
        float[] bias = [.. Enumerable.Range(0, tokens + 16).Select(_ => random.NextSingle())], scores = new float[tokens + 16];

        fixed (float* q = query, a = answer, b = bias, s = scores) PagedAttention.Attend(store, layer, head, list.Pages, from, tokens, q, 0.3f, b, s, a);

        double[] weights = [.. keys.Select((key, t) => Math.Exp(0.3 * query.Zip(key[(head * width)..], (x, y) => (double)x * y).Sum() + bias[t])).Select((weight, t) => t < from ? 0 : weight)];
        for (var d = 0; d < width; d++) Assert.Equal(values.Select((value, t) => weights[t] * value[head * width + d]).Sum() / weights.Sum(), answer[d], 2e-6);
    }

    [Theory]
    [InlineData(32, 1), InlineData(32, 16), InlineData(64, 37), InlineData(96, 48), InlineData(24, 19), InlineData(8, 5)]
    public void Four_queries_together_have_the_bits_of_each_alone(int width, int tokens)
    {
        const int stride = 300, room = 4 * 64;
        var random = new Random(width + tokens);
        float[] Draw(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() * 4 - 2)];
        using var store = new KeyValuePages(layers: 1, heads: 2, width, pages: 4);
        var list = new PageList(store, tokens);
        list.Append(tokens);
        for (var t = 0; t < tokens; t++)
            fixed (float* k = Draw(2 * width), v = Draw(2 * width)) store.Write(0, list[t].Page, list[t].Slot, k, v);
        float[] queries = Draw(4 * stride), together = new float[4 * stride], alone = new float[4 * stride];

        fixed (float* q = queries, x = together, y = alone, s = new float[room])
        {
            PagedAttention.AttendTogether(store, 0, 1, list.Pages, tokens, q, stride, 0.4f, s, x, stride);
            for (var i = 0; i < 4; i++) PagedAttention.Attend(store, 0, 1, list.Pages, 0, tokens, q + i * stride, 0.4f, null, s, y + i * stride);
        }
        Assert.Equal(alone, together);
        Assert.Contains(alone, value => value != 0);
    }

    [Fact]
    public void A_shared_past_is_copied_only_where_one_of_its_users_writes()
    {
        using var store = new KeyValuePages(1, 1, 4, pages: 6);
        PageList one = new(store, 48), other = new(store, 48);
        one.Append(20);
        other.Become(one);
        Assert.Equal(4, store.FreePages);

        other.Append(1);

        Assert.Equal(one.Pages[0], other.Pages[0]);
        Assert.NotEqual(one.Pages[1], other.Pages[1]);
        Assert.Equal((20, 21, 3), (one.Tokens, other.Tokens, store.FreePages));
        one.Append(12);                                                 // alone on its last page now: no copy
        Assert.Equal(3, store.FreePages);
        one.Clear();
        other.Clear();
        Assert.Equal(6, store.FreePages);
    }

    [Fact]
    public void When_no_page_is_left_the_error_says_so()
    {
        using var store = new KeyValuePages(1, 1, 4, pages: 1);
        store.Take();
        Assert.Contains("All 1 pages", Assert.Throws<InvalidOperationException>(() => store.Take()).Message, StringComparison.Ordinal);
    }
}
