using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Models.Architectures;

/// <summary>One pass of new tokens over <see cref="KeyValueRows"/>: which rows, how many tokens each, and where their keys and values go. Lives as long as the pass.</summary>
public class RowStep
{
    private readonly KeyValueRows held;
    private readonly Tensor places;                 // where the new keys go, [Σ counts]
    private readonly Tensor? real;                  // which of the n·T new tokens are no pads; null when all are real

    internal RowStep(KeyValueRows held, int[] rows, int[] counts, int width)
    {
        this.held = held;
        (Rows, Counts, Starts) = (rows, counts, [.. rows.Select(held.Length)]);
        Length = Starts.Zip(counts, (start, count) => start + count).Max();

        List<long> to = [], from = [];
        for (var i = 0; i < rows.Length; i++)
            for (var t = 0; t < counts[i]; t++)
            {
                to.Add((long)rows[i] * held.MaxLength + Starts[i] + t);
                from.Add((long)i * width + t);
            }
        places = tensor(to.ToArray(), device: held.Device);
        real = to.Count == rows.Length * width ? null : tensor(from.ToArray(), device: held.Device);
    }

    /// <summary>The rows fed, how many tokens each gets, and how many it had.</summary>
    public int[] Rows { get; }
    public int[] Counts { get; }
    public int[] Starts { get; }

    /// <summary>S: tokens of the longest row, the new ones counted.</summary>
    public int Length { get; }

    /// <summary>The layer that now computes; the stack counts.</summary>
    internal int Layer { get; set; }

    /// <summary>Writes the new tokens' keys and values, [n H T D], and gives those of the whole rows, [n H S D].</summary>
    public (Tensor Keys, Tensor Values) Append(Tensor keys, Tensor values)
    {
        var (allKeys, allValues) = held.Layer(Layer);
        allKeys.index_copy_(0, places, Real(keys));
        allValues.index_copy_(0, places, Real(values));
        return (held.Read(allKeys, Rows, Length), held.Read(allValues, Rows, Length));
    }

    private Tensor Real(Tensor heads)
    {
        var flat = heads.MergeHeads().flatten(0, 1);        // [n·T I]
        return real is null ? flat : flat.index_select(0, real);
    }
}
