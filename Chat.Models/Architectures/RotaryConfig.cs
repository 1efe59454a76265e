namespace Chat.Models.Architectures;

/// <summary>
/// Rotary positions (Su et al., arXiv 2104.09864): pair i of a head at position p is turned by p · f(i). Halves are paired, element i with i + D/2, as Hugging Face
/// stores its weights. Free of tensors: the SIMD kernels read the same frequencies.
/// </summary>
public sealed record RotaryConfig(double Theta, RotaryScaling? Scaling = null)
{
    /// <summary>The frequency of each pair, [headWidth / 2], in double: at position 3,000 a float32 angle is already off by 1e-4.</summary>
    /// <param name="length">Tokens of the longest text of the pass; only <see cref="DynamicScaling"/> asks.</param>
    public double[] Frequencies(int headWidth, int length = 0) =>
        [.. Enumerable.Range(0, headWidth / 2).Select(pair => Scaling?.Frequency(Theta, pair, headWidth, length) ?? Plain(Theta, pair, headWidth))];

    /// <summary>What cosines and sines are multiplied by, and scores hence twice.</summary>
    public double AttentionFactor => Scaling?.AttentionFactor ?? 1;

    internal static double Plain(double theta, int pair, int headWidth) => Math.Pow(theta, -2.0 * pair / headWidth);
}

/// <summary>How frequencies are stretched for texts that are longer than those of pre-training. Each kind computes as Hugging Face's <c>modeling_rope_utils</c> does.</summary>
public abstract record RotaryScaling
{
    internal abstract double Frequency(double theta, int pair, int headWidth, int length);

    public virtual double AttentionFactor => 1;
}

/// <summary>All positions closer together (Chen et al., arXiv 2306.15595).</summary>
public sealed record LinearScaling(double Factor) : RotaryScaling
{
    internal override double Frequency(double theta, int pair, int headWidth, int length) => RotaryConfig.Plain(theta, pair, headWidth) / Factor;
}

/// <summary>
/// A larger base for each text beyond the positions the model was made for («NTK-aware», described in arXiv 2309.00071, section 3.1). Up to there nothing changes. Beyond, keys that were turned
/// by an earlier base do not fit later queries: the runners serve no more than <paramref name="Positions"/>.
/// </summary>
public sealed record DynamicScaling(double Factor, int Positions) : RotaryScaling
{
    internal override double Frequency(double theta, int pair, int headWidth, int length) =>
        RotaryConfig.Plain(theta * Math.Pow(Factor * Math.Max(length, Positions) / Positions - (Factor - 1), headWidth / (headWidth - 2.0)), pair, headWidth);
}

/// <summary>
/// YaRN (Peng et al., arXiv 2309.00071): pairs that turn often within the original length stay, those that turn seldom are divided, those between are blended; scores are sharpened.
/// </summary>
/// <param name="Often">Turns within the original length from which on a pair stays (<c>beta_fast</c>).</param>
/// <param name="Seldom">Turns up to which it is divided (<c>beta_slow</c>).</param>
/// <param name="WholePairs">The bounds between are whole pairs (<c>truncate</c>).</param>
public sealed record YarnScaling(double Factor, double OriginalPositions, double Often, double Seldom, bool WholePairs, double Sharpening) : RotaryScaling
{
    public override double AttentionFactor => Sharpening;

    /// <summary>The paper's equation 22, and the ratio of two of them that some models have (<c>mscale</c>, <c>mscale_all_dim</c>).</summary>
    public static double SharpeningOf(double factor, double scale = 0, double scaleOfAll = 0) =>
        scale != 0 && scaleOfAll != 0 ? Of(factor, scale) / Of(factor, scaleOfAll) : Of(factor, 1);

    private static double Of(double factor, double scale) => factor <= 1 ? 1 : 0.1 * scale * Math.Log(factor) + 1;

    internal override double Frequency(double theta, int pair, int headWidth, int length)
    {
        var (low, high) = (PairOf(Often), PairOf(Seldom));
        if (WholePairs) (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, headWidth - 1));
        if (low == high) high += 0.001;
        var (frequency, divided) = (RotaryConfig.Plain(theta, pair, headWidth), Math.Clamp((pair - low) / (high - low), 0, 1));
        return frequency / Factor * divided + frequency * (1 - divided);

        // Which pair turns so often within the original length.
        double PairOf(double turns) => headWidth * Math.Log(OriginalPositions / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
    }
}

/// <summary>Llama 3.1's stretching of long waves beyond the positions it was pre-trained on (arXiv 2407.21783): short ones stay, long ones are divided, those between are blended.</summary>
public sealed record Llama3Scaling(double Factor, double LowFrequencyFactor, double HighFrequencyFactor, double OriginalPositions) : RotaryScaling
{
    internal override double Frequency(double theta, int pair, int headWidth, int length)
    {
        var frequency = RotaryConfig.Plain(theta, pair, headWidth);
        var wave = 2 * Math.PI / frequency;
        if (wave < OriginalPositions / HighFrequencyFactor) return frequency;
        if (wave > OriginalPositions / LowFrequencyFactor) return frequency / Factor;
        var share = (OriginalPositions / wave - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor);
        return (1 - share) * frequency / Factor + share * frequency;
    }
}
