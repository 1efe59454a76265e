namespace Chat.Models.Architectures;

/// <summary>
/// Rotary positions (Su et al., arXiv 2104.09864): pair i of a head at position p is turned by p · f(i). Halves are paired, element i with i + D/2, as Hugging Face
/// stores its weights. Free of tensors: the SIMD kernels read the same frequencies.
/// </summary>
public sealed record RotaryConfig(double Theta, Llama3Scaling? Scaling = null)
{
    /// <summary>The frequency of each pair, [headWidth / 2], in double: at position 3,000 a float32 angle is already off by 1e-4.</summary>
    public double[] Frequencies(int headWidth) =>
        [.. Enumerable.Range(0, headWidth / 2).Select(pair => Math.Pow(Theta, -2.0 * pair / headWidth)).Select(frequency => Scaling?.Apply(frequency) ?? frequency)];
}

/// <summary>Llama 3.1's stretching of long waves beyond the positions it was pre-trained on (arXiv 2407.21783): short ones stay, long ones are divided, those between are blended.</summary>
public sealed record Llama3Scaling(double Factor, double LowFrequencyFactor, double HighFrequencyFactor, double OriginalPositions)
{
    public double Apply(double frequency)
    {
        var wave = 2 * Math.PI / frequency;
        if (wave < OriginalPositions / HighFrequencyFactor) return frequency;
        if (wave > OriginalPositions / LowFrequencyFactor) return frequency / Factor;
        var share = (OriginalPositions / wave - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor);
        return (1 - share) * frequency / Factor + share * frequency;
    }
}
