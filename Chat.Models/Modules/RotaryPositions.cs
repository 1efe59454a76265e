using static TorchSharp.torch;

namespace Chat.Models.Modules;

/// <summary>Cosines and sines of the positions of one pass, [n 1 T D/2] each, and the turning of heads by them. Angles are computed in double.</summary>
public sealed class RotaryPositions
{
    private readonly Tensor cosines, sines;

    /// <param name="frequencies">Of each pair, [D/2].</param>
    /// <param name="starts">Position of each row's first token.</param>
    /// <param name="targets">T, tokens a row.</param>
    /// <param name="factor">What cosines and sines are multiplied by.</param>
    public RotaryPositions(ReadOnlySpan<double> frequencies, ReadOnlySpan<int> starts, int targets, double factor, Device device)
    {
        var (cos, sin) = (new float[starts.Length * targets * frequencies.Length], new float[starts.Length * targets * frequencies.Length]);
        var at = 0;
        foreach (var start in starts)
            for (var position = start; position < start + targets; position++)
                foreach (var frequency in frequencies)
                {
                    var (sine, cosine) = Math.SinCos(position * frequency);
                    (cos[at], sin[at++]) = ((float)(factor * cosine), (float)(factor * sine));
                }
        ReadOnlySpan<long> shape = [starts.Length, 1, targets, frequencies.Length];
        (cosines, sines) = (tensor(cos, shape, device: device), tensor(sin, shape, device: device));
    }

    /// <summary>Turns each pair (x[i], x[i + D/2]) by its position's angle, in float32 whatever the type.</summary>
    /// <param name="x">[n H T D]</param>
    public Tensor Turn(Tensor x)
    {
        using var scope = NewDisposeScope();
        var halves = x.to_type(ScalarType.Float32).chunk(2, -1);
        Tensor left = halves[0], right = halves[1];
        return cat([left * cosines - right * sines, (right * cosines).Plus(left * sines)], -1).to_type(x.dtype).MoveToOuterDisposeScope();
    }
}
