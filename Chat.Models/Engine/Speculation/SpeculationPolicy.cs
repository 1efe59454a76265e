namespace Chat.Models.Engine.Speculation;

/// <summary>How many tokens are worth guessing. The engine's thread makes all calls.</summary>
public interface ISpeculationPolicy
{
    /// <param name="acceptance">Share of the guesses that the model confirms, of those it looked at.</param>
    /// <param name="guessing">Replies that guess in this pass.</param>
    /// <param name="others">Tokens of other replies in this pass.</param>
    /// <returns>Tokens to guess a reply; 0 where plain decoding is faster.</returns>
    int Choose(double acceptance, int guessing, int others);

    /// <summary>Told how long a pass of the model took.</summary>
    void Passed(int tokens, double seconds);

    /// <summary>Told how long it took to guess, and how many tokens were guessed one after another.</summary>
    void Guessed(int replies, int steps, double seconds);
}

/// <summary>
/// Chooses what gives most tokens a second by measured costs (Leviathan et al., arXiv 2211.17192, theorem 3.8, with T(n) the time of a pass of n tokens in place of one that costs the same for
/// any number):
/// <code>
/// E(α, γ) = 1 + α + … + α^γ                                          tokens of a pass
/// rate(γ) = (others + s·E(α, γ)) / (T(others + s·(γ + 1)) + γ·t(s))  s replies guess, t(s) a step of their guessing
/// </code>
/// Answers 1 until both costs are known, so that they get known, and 0 where no γ gains three in a hundred.
/// </summary>
public sealed class SpeculationPolicy : ISpeculationPolicy
{
    public const int Longest = 8;
    private const double LeastGain = 1.03;
    private readonly PassCosts passes = new(), guesses = new();

    public int Choose(double acceptance, int guessing, int others)
    {
        if (guesses.Of(guessing) is not { } step || passes.Of(guessing + others) is not { } plain) return 1;
        var (best, bestRate) = (0, LeastGain * (others + guessing) / plain);
        for (var length = 1; length <= Longest; length++)
        {
            var rate = (others + guessing * Tokens(acceptance, length)) / (passes.Of(others + guessing * (length + 1))!.Value + length * step);
            if (rate > bestRate) (best, bestRate) = (length, rate);
        }
        return best;
    }

    public void Passed(int tokens, double seconds) => passes.Record(tokens, seconds);

    public void Guessed(int replies, int steps, double seconds) => guesses.Record(replies, seconds / steps);

    /// <summary>1 + α + … + α^γ: tokens that a pass gives on average when each guess is right with probability α.</summary>
    public static double Tokens(double acceptance, int length)
    {
        var (sum, power) = (1.0, 1.0);
        for (var i = 0; i < length; i++) sum += power *= acceptance;
        return sum;
    }

    /// <summary>The factor on speed of one reply, if a pass costs the same for any number of tokens and a guess <paramref name="cost"/> of it.</summary>
    public static double Gain(double acceptance, int length, double cost) => Tokens(acceptance, length) / (length * cost + 1);
}
