namespace Chat.Models.Decoding;

/// <summary>
/// The random numbers of one choice of one request: a function of (seed, index, position) and of nothing else, so a reply does not depend on
/// the batch it ran in, on the machine, or on where it was interrupted.
/// <code>
/// mix = the finaliser of SplitMix64 (Steele, Lea, Flood 2014), γ = 0x9E3779B97F4A7C15, all modulo 2⁶⁴
/// key = mix(mix(seed) + γ·(index + 1))
/// the draws at a position: SplitMix64 started at mix(key + γ·(position + 1)); a double is the top 53 bits of a draw · 2⁻⁵³
/// a token's own number at a position: draw number id (from 0), half a unit of 2⁻⁵³ higher
/// </code>
/// </summary>
public readonly struct RandomStream(long seed, int index)
{
    private const ulong Gamma = 0x9E3779B97F4A7C15;

    private readonly ulong key = Mix(Mix(unchecked((ulong)seed)) + Gamma * ((ulong)(uint)index + 1));

    /// <summary>The draws for the token at a position of the reply.</summary>
    public Draws At(int position) => new(Mix(key + Gamma * ((ulong)(uint)position + 1)));

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>A mutable sequence of uniform numbers.</summary>
    public struct Draws(ulong state)
    {
        private ulong state = state;

        /// <summary>Uniform in [0, 1).</summary>
        public double Next()
        {
            state += Gamma;
            return (Mix(state) >> 11) * (1.0 / (1UL << 53));
        }

        /// <summary>A token's own number: uniform in (0, 1), the same whoever asks. Moves nothing; not to be mixed with <see cref="Next"/>.</summary>
        public readonly double Of(int token) => ((Mix(state + Gamma * ((ulong)(uint)token + 1)) >> 11) + 0.5) * (1.0 / (1UL << 53));
    }
}
