using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Chat.Models.Kernels;

/// <summary>Attention of a query of one head, or of four, to tokens in pages. Knows no mask: whom a query may not see is not among its tokens.</summary>
public static unsafe class PagedAttention
{
    private const int Page = KeyValuePages.PageTokens;

    /// <summary>softmax(q·k · scale + bias) · v over the tokens <paramref name="from"/> to <paramref name="tokens"/> − 1 of <paramref name="pages"/>.</summary>
    /// <param name="query">[D]</param>
    /// <param name="bias">[tokens, padded to 16], or null for none.</param>
    /// <param name="scores">Room for tokens, padded to 16.</param>
    /// <param name="answer">[D]</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Attend(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int from, int tokens, float* query, float scale, float* bias, float* scores, float* answer)
    {
        var greatest = Score(store, layer, head, pages, from, tokens, query, scale, bias, scores);
        var sum = Exponentiate(scores, from, tokens, greatest);
        Mix(store, layer, head, pages, from, tokens, scores, 1 / sum, answer);
    }

    /// <summary>Queries that <see cref="AttendTogether"/> takes.</summary>
    public const int Together = 4;

    /// <summary>As <see cref="Attend"/>, for four queries of a head that see the same tokens, all from the first on. Keys and values are read once for the four; the answers have the same bits.</summary>
    /// <param name="queries">[4 D], each so many floats behind the one before.</param>
    /// <param name="scores">Room for four times the tokens, padded to 16.</param>
    /// <param name="answers">[4 D]</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AttendTogether(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int tokens, float* queries, long queryStride, float scale, float* scores, float* answers, long answerStride)
    {
        if (!Vector512.IsHardwareAccelerated || store.HeadWidth % 32 != 0)
        {
            for (var i = 0; i < Together; i++) Attend(store, layer, head, pages, 0, tokens, queries + i * queryStride, scale, null, scores, answers + i * answerStride);
            return;
        }
        var room = WeightMatrix.Padded(tokens, Page);
        var greatest = stackalloc float[Together];
        var factors = stackalloc float[Together];
        ScoreTogether(store, layer, head, pages, tokens, queries, queryStride, scale, scores, room, greatest);
        for (var i = 0; i < Together; i++) factors[i] = 1 / Exponentiate(scores + i * room, 0, tokens, greatest[i]);
        for (var d = 0; d < store.HeadWidth; d += 32) MixTogether(store, layer, head, pages, tokens, scores, room, factors, d, answers + d, answerStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ScoreTogether(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int tokens, float* queries, long queryStride, float scale, float* scores, int room, float* greatest)
    {
        Vector512<float> lowest = Vector512.Create(float.NegativeInfinity), greatest0 = lowest, greatest1 = lowest, greatest2 = lowest, greatest3 = lowest;
        var width = store.HeadWidth;
        for (var first = 0; first < tokens; first += Page)
        {
            var keys = store.Keys(layer, pages[first / Page], head);
            Vector512<float> even0 = Vector512<float>.Zero, even1 = even0, even2 = even0, even3 = even0, odd0 = even0, odd1 = even0, odd2 = even0, odd3 = even0;
            float* q0 = queries, q1 = q0 + queryStride, q2 = q1 + queryStride, q3 = q2 + queryStride;
            for (var d = 0; d < width; d += 2, keys += 2 * Page)
            {
                Vector512<float> even = Vector512.Load(keys), odd = Vector512.Load(keys + Page);
                even0 = Vector512.FusedMultiplyAdd(even, Vector512.Create(q0[d]), even0);
                odd0 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(q0[d + 1]), odd0);
                even1 = Vector512.FusedMultiplyAdd(even, Vector512.Create(q1[d]), even1);
                odd1 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(q1[d + 1]), odd1);
                even2 = Vector512.FusedMultiplyAdd(even, Vector512.Create(q2[d]), even2);
                odd2 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(q2[d + 1]), odd2);
                even3 = Vector512.FusedMultiplyAdd(even, Vector512.Create(q3[d]), even3);
                odd3 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(q3[d + 1]), odd3);
            }
            var seen = Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(tokens - first)).AsSingle();
            even0 = Vector512.ConditionalSelect(seen, (even0 + odd0) * scale, lowest);
            even1 = Vector512.ConditionalSelect(seen, (even1 + odd1) * scale, lowest);
            even2 = Vector512.ConditionalSelect(seen, (even2 + odd2) * scale, lowest);
            even3 = Vector512.ConditionalSelect(seen, (even3 + odd3) * scale, lowest);
            even0.Store(scores + first);
            even1.Store(scores + room + first);
            even2.Store(scores + 2 * room + first);
            even3.Store(scores + 3 * room + first);
            (greatest0, greatest1) = (Vector512.Max(greatest0, even0), Vector512.Max(greatest1, even1));
            (greatest2, greatest3) = (Vector512.Max(greatest2, even2), Vector512.Max(greatest3, even3));
        }
        (greatest[0], greatest[1]) = (VectorMath.Max(greatest0.GetLower(), greatest0.GetUpper()), VectorMath.Max(greatest1.GetLower(), greatest1.GetUpper()));
        (greatest[2], greatest[3]) = (VectorMath.Max(greatest2.GetLower(), greatest2.GetUpper()), VectorMath.Max(greatest3.GetLower(), greatest3.GetUpper()));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MixTogether(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int tokens, float* weights, int room, float* factors, int offset, float* answers, long answerStride)
    {
        Vector512<float> low0 = Vector512<float>.Zero, low1 = low0, low2 = low0, low3 = low0, high0 = low0, high1 = low0, high2 = low0, high3 = low0;
        var stride = store.ValueStride;
        for (var first = 0; first < tokens; first += Page)
        {
            var values = store.Values(layer, pages[first / Page], head) + offset;
            float* w0 = weights + first, w1 = w0 + room, w2 = w1 + room, w3 = w2 + room;
            var count = Math.Min(Page, tokens - first);
            for (var t = 0; t < count; t++, values += stride)
            {
                Vector512<float> low = Vector512.Load(values), high = Vector512.Load(values + 16);
                Vector512<float> a = Vector512.Create(w0[t]), b = Vector512.Create(w1[t]), c = Vector512.Create(w2[t]), d = Vector512.Create(w3[t]);
                low0 = Vector512.FusedMultiplyAdd(low, a, low0);
                high0 = Vector512.FusedMultiplyAdd(high, a, high0);
                low1 = Vector512.FusedMultiplyAdd(low, b, low1);
                high1 = Vector512.FusedMultiplyAdd(high, b, high1);
                low2 = Vector512.FusedMultiplyAdd(low, c, low2);
                high2 = Vector512.FusedMultiplyAdd(high, c, high2);
                low3 = Vector512.FusedMultiplyAdd(low, d, low3);
                high3 = Vector512.FusedMultiplyAdd(high, d, high3);
            }
        }
        (low0 * factors[0]).Store(answers);
        (high0 * factors[0]).Store(answers + 16);
        (low1 * factors[1]).Store(answers += answerStride);
        (high1 * factors[1]).Store(answers + 16);
        (low2 * factors[2]).Store(answers += answerStride);
        (high2 * factors[2]).Store(answers + 16);
        (low3 * factors[3]).Store(answers += answerStride);
        (high3 * factors[3]).Store(answers + 16);
    }

    /// <summary>Scores of all tokens; −∞ in the padding.</summary>
    /// <returns>The greatest.</returns>
    private static float Score(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int from, int tokens, float* query, float scale, float* bias, float* scores)
    {
        var width = store.HeadWidth;
        Vector256<float> greatestLow = Vector256.Create(float.NegativeInfinity), greatestHigh = greatestLow;
        for (var first = from / Page * Page; first < tokens; first += Page)
        {
            var keys = store.Keys(layer, pages[first / Page], head);
            Vector256<float> low0 = Vector256<float>.Zero, high0 = low0, low1 = low0, high1 = low0;
            var d = 0;
            for (; d + 2 <= width; d += 2, keys += 2 * Page)
            {
                Vector256<float> q0 = Vector256.Create(query[d]), q1 = Vector256.Create(query[d + 1]);
                low0 = Vector256.FusedMultiplyAdd(Vector256.Load(keys), q0, low0);
                high0 = Vector256.FusedMultiplyAdd(Vector256.Load(keys + 8), q0, high0);
                low1 = Vector256.FusedMultiplyAdd(Vector256.Load(keys + 16), q1, low1);
                high1 = Vector256.FusedMultiplyAdd(Vector256.Load(keys + 24), q1, high1);
            }
            if (d < width)
            {
                var q0 = Vector256.Create(query[d]);
                low0 = Vector256.FusedMultiplyAdd(Vector256.Load(keys), q0, low0);
                high0 = Vector256.FusedMultiplyAdd(Vector256.Load(keys + 8), q0, high0);
            }
            Vector256<float> low = (low0 + low1) * scale, high = (high0 + high1) * scale;
            if (bias is not null)
            {
                low += Vector256.Load(bias + first);
                high += Vector256.Load(bias + first + 8);
            }
            if (first < from || tokens - first < Page)
            {
                low = Seen(low, Vector256<int>.Indices, from - first, tokens - first);
                high = Seen(high, Vector256<int>.Indices + Vector256.Create(8), from - first, tokens - first);
            }
            low.Store(scores + first);
            high.Store(scores + first + 8);
            greatestLow = Vector256.Max(greatestLow, low);
            greatestHigh = Vector256.Max(greatestHigh, high);
        }
        return VectorMath.Max(greatestLow, greatestHigh);
    }

    private static Vector256<float> Seen(Vector256<float> scores, Vector256<int> places, int from, int to) => Vector256.ConditionalSelect(
        (Vector256.GreaterThanOrEqual(places, Vector256.Create(from)) & Vector256.LessThan(places, Vector256.Create(to))).AsSingle(), scores, Vector256.Create(float.NegativeInfinity));

    /// <summary>scores = e^(scores − greatest)</summary>
    /// <returns>Their sum.</returns>
    private static float Exponentiate(float* scores, int from, int tokens, float greatest)
    {
        // The padding's e^−∞ would come out as e^−87, which changes no sum: it is below half a unit in the last place of the greatest one's 1.
        Vector256<float> low = Vector256<float>.Zero, high = low, top = Vector256.Create(greatest);
        for (var first = from / Page * Page; first < tokens; first += Page)
        {
            Vector256<float> a = VectorMath.Exp(Vector256.Load(scores + first) - top), b = VectorMath.Exp(Vector256.Load(scores + first + 8) - top);
            a.Store(scores + first);
            b.Store(scores + first + 8);
            low += a;
            high += b;
        }
        return VectorMath.Sum(low, high);
    }

    private static void Mix(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int from, int tokens, float* weights, float factor, float* answer)
    {
        int width = store.HeadWidth, stride = store.ValueStride, d = 0;
        for (; d + 64 <= width; d += 64) Mix64(store, layer, head, pages, from, tokens, weights, factor, d, answer + d);
        for (; d + 32 <= width; d += 32) Mix32(store, layer, head, pages, from, tokens, weights, factor, d, answer + d);
        for (; d < width; d += 8)
        {
            var sum = Vector256<float>.Zero;
            for (var first = from / Page * Page; first < tokens; first += Page)
            {
                int skipped = Math.Max(0, from - first), count = Math.Min(Page, tokens - first);
                var values = store.Values(layer, pages[first / Page], head) + skipped * stride + d;
                for (var t = skipped; t < count; t++, values += stride) sum = Vector256.FusedMultiplyAdd(Vector256.Load(values), Vector256.Create(weights[first + t]), sum);
            }
            sum *= factor;
            if (d + 8 <= width) sum.Store(answer + d);
            else for (var i = 0; d + i < width; i++) answer[d + i] = sum[i];
        }
    }

    private static void Mix64(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int from, int tokens, float* weights, float factor, int offset, float* answer)
    {
        Vector256<float> s0 = Vector256<float>.Zero, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
        var stride = store.ValueStride;
        for (var first = from / Page * Page; first < tokens; first += Page)
        {
            int skipped = Math.Max(0, from - first), count = Math.Min(Page, tokens - first);
            var values = store.Values(layer, pages[first / Page], head) + skipped * stride + offset;
            for (var t = skipped; t < count; t++, values += stride)
            {
                var weight = Vector256.Create(weights[first + t]);
                s0 = Vector256.FusedMultiplyAdd(Vector256.Load(values), weight, s0);
                s1 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 8), weight, s1);
                s2 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 16), weight, s2);
                s3 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 24), weight, s3);
                s4 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 32), weight, s4);
                s5 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 40), weight, s5);
                s6 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 48), weight, s6);
                s7 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 56), weight, s7);
            }
        }
        (s0 * factor).Store(answer);
        (s1 * factor).Store(answer + 8);
        (s2 * factor).Store(answer + 16);
        (s3 * factor).Store(answer + 24);
        (s4 * factor).Store(answer + 32);
        (s5 * factor).Store(answer + 40);
        (s6 * factor).Store(answer + 48);
        (s7 * factor).Store(answer + 56);
    }

    private static void Mix32(KeyValuePages store, int layer, int head, ReadOnlySpan<int> pages, int from, int tokens, float* weights, float factor, int offset, float* answer)
    {
        Vector256<float> s0 = Vector256<float>.Zero, s1 = s0, s2 = s0, s3 = s0;
        var stride = store.ValueStride;
        for (var first = from / Page * Page; first < tokens; first += Page)
        {
            int skipped = Math.Max(0, from - first), count = Math.Min(Page, tokens - first);
            var values = store.Values(layer, pages[first / Page], head) + skipped * stride + offset;
            for (var t = skipped; t < count; t++, values += stride)
            {
                var weight = Vector256.Create(weights[first + t]);
                s0 = Vector256.FusedMultiplyAdd(Vector256.Load(values), weight, s0);
                s1 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 8), weight, s1);
                s2 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 16), weight, s2);
                s3 = Vector256.FusedMultiplyAdd(Vector256.Load(values + 24), weight, s3);
            }
        }
        (s0 * factor).Store(answer);
        (s1 * factor).Store(answer + 8);
        (s2 * factor).Store(answer + 16);
        (s3 * factor).Store(answer + 24);
    }
}
