namespace Chat.Models.Engine.Speculation;

/// <summary>How many tokens are worth guessing. The engine's thread makes all calls.</summary>
public interface ISpeculationPolicy
{
    /// <param name="acceptance">Share of the guesses that the model confirms, of those it looked at.</param>
    /// <param name="rescue">How often a further chain begins right where those before it begin wrong.</param>
    /// <param name="guessing">Replies that guess in this pass.</param>
    /// <param name="others">Tokens of other replies in this pass.</param>
    /// <param name="width">Chains that a reply may have.</param>
    /// <returns>Tokens of a chain, 0 where plain decoding is faster; and chains for a reply, at least 1.</returns>
    (int Length, int Width) Choose(double acceptance, double rescue, int guessing, int others, int width);

    /// <summary>Told how long a pass of the model took.</summary>
    void Passed(int tokens, double seconds);

    /// <summary>Told how long it took to guess so many chains, and how many tokens were guessed one after another.</summary>
    void Guessed(int chains, int steps, double seconds);
}

/// <summary>
/// Chooses what gives most tokens a second by measured costs (Leviathan et al., arXiv 2211.17192, theorem 3.8, with T(n) the time of a pass of n tokens in place of one that costs the same for
/// any number):
/// <code>
/// E(α, γ) = 1 + α + … + α^γ                                                        tokens of a pass
/// E(α, γ, w) = 1 + (1 − (1 − α)(1 − ρ)^(w − 1)) · E(α, γ − 1)                      with w chains, of which a further one begins right with probability ρ where those before it do not
/// rate(γ, w) = (others + s·E(α, γ, w)) / (T(others + s·w·(γ + 1)) + γ·t(s·w))      s replies guess, t(n) a step of guessing n chains
/// </code>
/// Answers 1 until both costs are known, so that they get known, and 0 where no γ gains three in a hundred.
/// </summary>
public sealed class SpeculationPolicy : ISpeculationPolicy
{
    public const int Longest = 8;
    private const double LeastGain = 1.03;
    private readonly PassCosts passes = new(), guesses = new();

    public (int Length, int Width) Choose(double acceptance, double rescue, int guessing, int others, int width)
    {
        if (guesses.Of(guessing) is null || passes.Of(guessing + others) is not { } plain) return (1, 1);
        var (best, bestRate) = ((0, 1), LeastGain * (others + guessing) / plain);
        for (var chains = 1; chains <= width; chains++)
            for (var length = 1; length <= Longest; length++)
            {
                var seconds = passes.Of(others + guessing * chains * (length + 1))!.Value + length * guesses.Of(guessing * chains)!.Value;
                var rate = (others + guessing * Tokens(acceptance, rescue, length, chains)) / seconds;
                if (rate > bestRate) (best, bestRate) = ((length, chains), rate);
            }
        return best;
    }

    public void Passed(int tokens, double seconds) => passes.Record(tokens, seconds);

    public void Guessed(int chains, int steps, double seconds) => guesses.Record(chains, seconds / steps);

    /// <summary>1 + α + … + α^γ: tokens that a pass gives on average when each guess is right with probability α.</summary>
    public static double Tokens(double acceptance, int length)
    {
        var (sum, power) = (1.0, 1.0);
        for (var i = 0; i < length; i++) sum += power *= acceptance;
        return sum;
    }

    /// <summary>The same of several chains, of which a further one begins right with probability <paramref name="rescue"/> where those before it do not.</summary>
    public static double Tokens(double acceptance, double rescue, int length, int chains) => 1 + (1 - (1 - acceptance) * Math.Pow(1 - rescue, chains - 1)) * Tokens(acceptance, length - 1);

    /// <summary>The factor on speed of one reply, if a pass costs the same for any number of tokens and a guess <paramref name="cost"/> of it.</summary>
    public static double Gain(double acceptance, int length, double cost) => Tokens(acceptance, length) / (length * cost + 1);
}
