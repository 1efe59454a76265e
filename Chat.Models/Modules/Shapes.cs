using static TorchSharp.torch;

namespace Chat.Models.Modules;

/// <summary>
/// The letters of shapes in this code:
/// B batch · T target length · S source length · H heads · D head width · I inner width H·D · C model width · F feed-forward width · V vocabulary.
/// </summary>
public static class Shapes
{
    /// <summary>[B T (H D)] → [B H T D]</summary>
    public static Tensor SplitHeads(this Tensor x, long heads) => x.unflatten(2, heads, -1).transpose(1, 2);

    /// <summary>[B H T D] → [B T (H D)]</summary>
    public static Tensor MergeHeads(this Tensor x) => x.transpose(1, 2).flatten(2);

    /// <summary>A shape claim that is checked; <c>null</c> matches any size.</summary>
    /// <exception cref="ArgumentException">The shape differs; the message holds both.</exception>
    public static Tensor Is(this Tensor x, params ReadOnlySpan<long?> dims)
    {
        var shape = x.shape;
        var ok = shape.Length == dims.Length;
        for (var i = 0; ok && i < dims.Length; i++) ok = dims[i] is null || dims[i] == shape[i];
        return ok ? x : throw new ArgumentException($"Expected a tensor of shape [{string.Join(' ', dims.ToArray().Select(d => d is { } size ? $"{size}" : "·"))}], got [{string.Join(' ', shape)}].");
    }
}
