using Chat.Models.Engine.Speculation;

namespace Chat.Tests.Engine.Speculation;

public sealed class SpeculationPolicyTests
{
    // Leviathan et al., arXiv 2211.17192, table 1 and theorem 3.8.
    [Theory]
    [InlineData(0.5, 3, 1.875), InlineData(0.5, 5, 1.969), InlineData(0.62, 7, 2.574), InlineData(0.75, 3, 2.734), InlineData(0.75, 5, 3.288), InlineData(0.8, 7, 4.161), InlineData(0.9, 5, 4.686)]
    public void Tokens_of_a_pass_are_those_of_the_paper(double acceptance, int length, double tokens) => Assert.Equal(tokens, SpeculationPolicy.Tokens(acceptance, length), 5e-4);

    [Theory]
    [InlineData(0.75, 7, 0.02, 3.16), InlineData(0.8, 5, 0.1, 2.460), InlineData(0.8, 7, 0.1, 2.448), InlineData(0.6, 4, 0.25, 1.15)]
    public void The_factor_on_speed_is_that_of_the_paper(double acceptance, int length, double cost, double factor) => Assert.Equal(factor, SpeculationPolicy.Gain(acceptance, length, cost), 6e-3);

    [Theory]
    [InlineData(0.8, 0.1), InlineData(0.6, 0.25), InlineData(0.95, 0.05), InlineData(0.3, 0.5)]
    public void Where_passes_cost_the_same_the_best_length_is_the_papers(double acceptance, double cost)
    {
        var policy = Measured(_ => 1, cost);
        var best = Enumerable.Range(1, SpeculationPolicy.Longest).MaxBy(length => SpeculationPolicy.Gain(acceptance, length, cost));

        Assert.Equal(SpeculationPolicy.Gain(acceptance, best, cost) > 1.03 ? best : 0, Length(policy, acceptance, 1, 0));
    }

    [Theory]
    [InlineData(0.1, 0.25), InlineData(0.5, 0.5), InlineData(0.9, 0.95), InlineData(0, 0.01)]
    public void Nothing_is_guessed_where_the_factor_is_below_one(double acceptance, double cost)
    {
        Assert.All(Enumerable.Range(1, 8), length => Assert.True(SpeculationPolicy.Gain(acceptance, length, cost) < 1.03));
        Assert.Equal(0, Length(Measured(_ => 1, cost), acceptance, 1, 0));
    }

    [Fact]
    public void A_machine_that_computes_at_its_limit_guesses_nothing_and_one_with_little_to_do_guesses_much()
    {
        // Up to eight tokens a pass is bound by memory, from there on by arithmetic.
        var policy = Measured(tokens => Math.Max(1, tokens / 8.0), 0.1);

        Assert.InRange(Length(policy, 0.8, 1, 0), 4, 7);
        Assert.InRange(Length(policy, 0.8, 2, 0), 1, 3);
        Assert.Equal(0, Length(policy, 0.8, 16, 0));
        Assert.Equal(0, Length(policy, 0.8, 1, 31));
    }

    [Fact]
    public void Costs_that_nobody_knows_are_found_out_and_followed_when_they_change()
    {
        var policy = new SpeculationPolicy();
        var (cost, length) = (0.1, 0);
        void Run(int passes)
        {
            for (var pass = 0; pass < passes; pass++)
            {
                length = Length(policy, 0.8, 1, 0);
                if (length > 0) policy.Guessed(1, length, length * cost);
                policy.Passed(length + 1, 1 + 0.02 * length);
            }
        }
        Assert.Equal(1, Length(policy, 0.8, 1, 0));
        Run(40);
        Assert.InRange(length, 4, 6);

        cost = 0.9;
        Run(200);
        Assert.Equal(0, length);
    }

    /// <summary>Against a table of all widths and lengths, by the sum over which chain is right first.</summary>
    [Theory]
    [InlineData(0.3, 0.5, 0.02, 0.0), InlineData(0.3, 0.5, 0.02, 0.03), InlineData(0.9, 0.1, 0.02, 0.01), InlineData(0.5, 0.3, 0.1, 0.2), InlineData(0.2, 0.8, 0.05, 0.05)]
    public void Several_chains_are_chosen_where_a_table_of_all_says_so(double acceptance, double rescue, double cost, double perToken)
    {
        var policy = new SpeculationPolicy();
        for (var tokens = 1; tokens <= 40; tokens++) policy.Passed(tokens, 1 + perToken * (tokens - 1));
        for (var chains = 1; chains <= 4; chains++) policy.Guessed(chains, 4, 4 * cost);
        double Rate(int length, int width)
        {
            var (begins, missed) = (acceptance, 1 - acceptance);
            for (var chain = 1; chain < width; chain++) (begins, missed) = (begins + missed * rescue, missed * (1 - rescue));
            return (1 + begins * Enumerable.Range(0, length).Sum(i => Math.Pow(acceptance, i))) / (1 + perToken * (width * (length + 1) - 1) + length * cost);
        }
        var best = (from length in Enumerable.Range(1, SpeculationPolicy.Longest) from width in Enumerable.Range(1, 4) select (length, width)).MaxBy(each => Rate(each.length, each.width));

        Assert.Equal(Rate(best.length, best.width) > 1.03 ? best : (0, 1), policy.Choose(acceptance, rescue, 1, 0, 4));
        Assert.Equal(1, policy.Choose(acceptance, rescue, 1, 0, 1).Width);
    }

    private static int Length(SpeculationPolicy policy, double acceptance, int guessing, int others) => policy.Choose(acceptance, 0.5, guessing, others, 1).Length;

    private static SpeculationPolicy Measured(Func<int, double> pass, double step)
    {
        var policy = new SpeculationPolicy();
        for (var tokens = 1; tokens <= 160; tokens++) policy.Passed(tokens, pass(tokens));
        foreach (var replies in new[] { 1, 2, 16 }) policy.Guessed(replies, 4, 4 * step);
        return policy;
    }
}
