using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.Intrinsics;

namespace Chat.Models.Decoding;

/// <summary>
/// Temperature, the typical set, top-k, top-p, min-p and top-a on one row, in that order, each on what those before it left; the rest, best first (in the order of ids if
/// nothing cuts). A view of pooled arrays: dispose it before the next row is made. <see cref="EvaChain.Filter"/> is the slow, obvious form of top-k and top-p.
/// </summary>
internal ref struct Truncation
{
    // Below it the best token has all the probability anyway.
    private const float LeastTemperature = 1e-6f;
    private const int Rings = 256, RingsANat = 16;

    private readonly Span<float> row;
    private readonly float logTotal;
    private float logKept;
    private bool isSorted;
    private ulong[] keys;

    /// <param name="row">[V] scores after rules; in place, the best one is subtracted from all and the temperature divides them.</param>
    /// <param name="minKeep">Tokens kept whatever the cuts say.</param>
    public Truncation(Span<float> row, DecodingOptions options, int minKeep = 1)
    {
        this.row = row;
        var max = TensorPrimitives.Max<float>(row);
        if (!float.IsFinite(max)) throw new ScoreException(float.IsNaN(max) ? "The model gave a score that is not a number." : $"The model's best score is {max}.");

        TensorPrimitives.Subtract(row, max, row);                                          // before the division, which could overflow
        if (options.Temperature is not (0 or 1)) TensorPrimitives.Divide(row, Math.Max((float)options.Temperature, LeastTemperature), row);

        var weights = ArrayPool<float>.Shared.Rent(row.Length);                            // e^z, the best is 1
        keys = ArrayPool<ulong>.Shared.Rent(row.Length);
        TensorPrimitives.Exp(row, weights);
        var total = TensorPrimitives.Sum<float>(weights.AsSpan(0, row.Length));
        logTotal = MathF.Log(total);
        var (left, best) = options is TypicalOptions { TypicalP: < 1, Temperature: > 0 } typical ? KeepTypical(weights.AsSpan(0, row.Length), total, typical.TypicalP, minKeep) : (total, 1);
        Keep(weights.AsSpan(0, row.Length), left, options, minKeep);
        logKept = isSorted ? (float)Math.Log(Mass() * best / total) : 0;
        ArrayPool<float>.Shared.Return(weights);
    }

    /// <summary>Tokens left.</summary>
    public int Count { get; private set; }

    public readonly int Id(int rank) => (int)(uint)keys[rank];

    /// <summary>Probability · constant; the best has 1.</summary>
    public readonly float Weight(int rank) => BitConverter.UInt32BitsToSingle(~(uint)(keys[rank] >> 32));

    /// <summary>Sum of the weights left.</summary>
    public readonly double Mass()
    {
        var mass = 0.0;
        for (var rank = 0; rank < Count; rank++) mass += Weight(rank);
        return mass;
    }

    /// <summary>Log-probability before the tail was cut.</summary>
    public readonly float Logprob(int id) => row[id] - logTotal;

    /// <summary>Log-probability after the tail was cut, of a token that is left.</summary>
    public readonly float KeptLogprob(int id) => row[id] - logTotal - logKept;

    /// <summary>Log of the sum of e^row.</summary>
    public readonly float LogTotal => logTotal;

    /// <summary>The best of the tokens left, best first; as many as fit and are left.</summary>
    public readonly int Best(Span<int> ids)
    {
        if (!isSorted) return Scores.Best(row, ids);
        var count = Math.Min(Count, ids.Length);
        for (var rank = 0; rank < count; rank++) ids[rank] = Id(rank);
        return count;
    }

    public void Dispose()
    {
        if (keys.Length > 0) ArrayPool<ulong>.Shared.Return(keys);
        keys = [];
    }

    private void Keep(ReadOnlySpan<float> weights, float total, DecodingOptions options, int minKeep)
    {
        isSorted = options.Temperature == 0 || options.TopK > 0 || options.TopP < 1 || options.MinP > 0 || options.TopA > 0 || options is TypicalOptions { TypicalP: < 1 };
        if (options.Temperature == 0)
        {
            var best = Scores.ArgMax(weights);
            keys[Count++] = Key(weights[best], best);
        }
        else if (!isSorted) Collect(weights, 0);
        else
        {
            var k = options.TopK == 0 ? weights.Length : Math.Max(options.TopK, minKeep);
            if (k < weights.Length) CollectTop(weights, k);
            else if (options.TopP < 1) CollectNucleus(weights, total, options.TopP);
            else CollectSorted(weights, options.MinP > 0 ? (float)options.MinP : (float)(options.TopA / total * 0.999));
            if (Count < minKeep) CollectSorted(weights, 0);
            if (options.TopP < 1) Count = Nucleus(options.TopP * (k < weights.Length ? Mass() : total), minKeep);
            Cut(options.MinP, minKeep);
            // The best token's share is 1/mass: another's weight/mass is at least a/mass² where its weight is at least a/mass.
            if (options.TopA > 0) Cut(options.TopA / (k < weights.Length || options.TopP < 1 || options.MinP > 0 ? Mass() : total), minKeep);
        }
    }

    private void Cut(double least, int minKeep)
    {
        while (Count > minKeep && Weight(Count - 1) < least) Count--;
    }

    /// <summary>Zeroes the weights outside the typical set and makes the best one inside 1 again.</summary>
    /// <returns>The sum of the new weights, and what the best one inside was.</returns>
    private readonly (float Total, float Best) KeepTypical(Span<float> weights, float total, double p, int minKeep)
    {
        var entropy = 0.0;                                                                 // −Σ p log p
        for (var id = 0; id < weights.Length; id++)
            if (weights[id] > 0) entropy -= weights[id] / total * (double)(row[id] - logTotal);
        // Only a head of the nearest is sorted: of so many rings about the entropy those that hold the mass asked for, one more for rounding; all where that was not enough.
        Span<double> rings = stackalloc double[Rings];
        for (var id = 0; id < weights.Length; id++)
            if (weights[id] > 0) rings[Ring(Distance(id, entropy))] += weights[id];
        var (outermost, within) = (0, rings[0]);
        while (outermost < Rings - 1 && within < p * total) within += rings[++outermost];
        var (kept, mass, best) = (0, 0.0, 0f);
        for (var last = Math.Min(outermost + 1, Rings - 1); ; last = Rings - 1)
        {
            var count = 0;
            for (var id = 0; id < weights.Length; id++)
                if (weights[id] > 0 && Distance(id, entropy) is var distance && Ring(distance) <= last) keys[count++] = ((ulong)BitConverter.SingleToUInt32Bits(distance) << 32) | (uint)id;
            keys.AsSpan(0, count).Sort();                                                  // nearest first, equal ones by id
            for ((kept, mass, best) = (0, 0, 0); kept < count && (kept < minKeep || mass < p * total); kept++)
            {
                mass += weights[Id(kept)];
                best = Math.Max(best, weights[Id(kept)]);
            }
            if (last == Rings - 1 || (kept >= minKeep && mass >= p * total)) break;
        }
        // Marked by their sign, so that all others go to zero.
        for (var rank = 0; rank < kept; rank++) weights[Id(rank)] = -weights[Id(rank)];
        TensorPrimitives.Negate(weights, weights);
        TensorPrimitives.Max(weights, 0, weights);
        TensorPrimitives.Divide(weights, best, weights);
        return ((float)(mass / best), best);
    }

    /// <summary>The k likeliest tokens, and those as likely as the last of them.</summary>
    private void CollectTop(ReadOnlySpan<float> weights, int k)
    {
        var bound = 1 / 64f;
        for (Collect(weights, bound); Count < k && bound > 0; Collect(weights, bound)) bound /= 64;
        if (Count > 16 * k) Collect(weights, KthLargest(weights, k));                      // a flat row: a heap of k is faster than sorting most of it
        keys.AsSpan(0, Count).Sort();
        while (Count > k && Weight(Count - 1) < Weight(k - 1)) Count--;
    }

    /// <summary>The tokens that may be in the nucleus: those with a 64th of the best's weight where these hold p together, else ever more.</summary>
    private void CollectNucleus(ReadOnlySpan<float> weights, float total, double p)
    {
        // Tokens below (1 − p)/V hold less than 1 − p together, so the fewest tokens that reach p are all above.
        var least = (float)((1 - p) * total / weights.Length * 0.999);
        for (var bound = 1 / 64f; ; bound /= 64)
        {
            CollectSorted(weights, Math.Max(bound, least));
            if (bound <= least || Mass() >= p * total) return;
        }
    }

    private void CollectSorted(ReadOnlySpan<float> weights, float bound)
    {
        Collect(weights, bound);
        keys.AsSpan(0, Count).Sort();
    }

    private readonly float Distance(int id, double entropy) => (float)Math.Abs(logTotal - row[id] - entropy);

    private static int Ring(float distance) => Math.Min((int)(distance * RingsANat), Rings - 1);

    private void Collect(ReadOnlySpan<float> weights, float bound)
    {
        Count = 0;
        var id = 0;
        // Nearly all are below: a look at a whole vector passes them by.
        for (; id + Vector512<float>.Count <= weights.Length; id += Vector512<float>.Count)
        {
            var some = Vector512.Create(weights[id..]);
            for (var bits = (Vector512.GreaterThanOrEqual(some, Vector512.Create(bound)) & Vector512.GreaterThan(some, Vector512<float>.Zero)).ExtractMostSignificantBits(); bits != 0; bits &= bits - 1)
            {
                var hit = id + BitOperations.TrailingZeroCount(bits);
                keys[Count++] = Key(weights[hit], hit);
            }
        }
        for (; id < weights.Length; id++)
            if (weights[id] > 0 && weights[id] >= bound) keys[Count++] = Key(weights[id], id);
    }

    private readonly int Nucleus(double target, int minKeep)
    {
        var mass = 0.0;
        for (var rank = 0; rank < Count; rank++)
            if ((mass += Weight(rank)) >= target) return Math.Min(Count, Math.Max(rank + 1, minKeep));
        return Count;
    }

    // Sorting these upwards is best first, equal weights by id: weights are not negative, so their bits order like their values.
    private static ulong Key(float weight, int id) => ((ulong)~BitConverter.SingleToUInt32Bits(weight) << 32) | (uint)id;

    private static float KthLargest(ReadOnlySpan<float> weights, int k)
    {
        var heap = new PriorityQueue<float, float>(k);
        foreach (var w in weights)
        {
            if (heap.Count < k) heap.Enqueue(w, w);
            else if (w > heap.Peek()) heap.EnqueueDequeue(w, w);
        }
        return heap.Peek();
    }
}
