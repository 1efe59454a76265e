using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Models.Modules;

/// <summary>
/// Sums, and arithmetic with numbers, whose scalars live as long as the call. TorchSharp makes a native scalar of each number, and of the factor 1 in every sum of two
/// tensors, and hands over its bare pointer: when that is read nothing holds the managed object any more, and a collection on another thread at that
/// moment finalises it, so that libtorch computes with freed memory («Expected false to be true», or a wrong number). BannedSymbols.Scalars.txt forbids the
/// operators that do so; where a call takes a <see cref="Scalar"/>, hold one in a <c>using</c>.
/// </summary>
public static class Numbers
{
    private static readonly Scalar One = 1.ToScalar();

    public static Tensor Plus(this Tensor left, Tensor right) => left.add(right, One);

    public static Tensor Plus(this Tensor left, double right)
    {
        using var number = right.ToScalar();
        return left.add(number, One);
    }

    public static Tensor Times(this Tensor left, double right)
    {
        using var number = right.ToScalar();
        return left.mul(number);
    }

    public static Tensor Over(this Tensor left, double right)
    {
        using var number = right.ToScalar();
        return left.div(number);
    }

    /// <summary>No element is less.</summary>
    public static Tensor AtLeast(this Tensor x, double least)
    {
        using var number = least.ToScalar();
        return x.clamp_min(number);
    }
}
