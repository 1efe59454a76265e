namespace Chat.Training.Data.Quality;

/// <summary>What the chain made of one utterance.</summary>
/// <param name="Text"><c>null</c> when it was emptied.</param>
/// <param name="EmptiedBy">The rule that did it.</param>
/// <param name="Rewrites">What each rule found and left, in order.</param>
public readonly record struct CleanedUtterance(string? Text, string? EmptiedBy, IReadOnlyList<(string Rule, string Before, string? After)> Rewrites);

/// <summary>
/// The utterance rules of a recipe in order, round after round until a round changes nothing: one rule may uncover what an earlier one
/// looks for. So cleaning twice is cleaning once. Thread-safe.
/// </summary>
public sealed class RuleChain
{
    private const int MostRounds = 20;

    private readonly UtteranceRule[] rules;

    /// <exception cref="ArgumentException">The recipe skips a rule that does not exist; the message lists them.</exception>
    public RuleChain(QualityRecipe recipe)
    {
        var all = UtteranceRules.All(recipe);
        foreach (var unknown in (recipe.Skip ?? []).Except([.. all.Select(r => r.Name), .. SessionRules.Names]))
            throw new ArgumentException($"skip: no rule '{unknown}'. Known: {string.Join(", ", all.Select(r => r.Name).Concat(SessionRules.Names))}.", nameof(recipe));
        rules = [.. all.Where(r => recipe.Skip?.Contains(r.Name) != true)];
    }

    public IEnumerable<string> Names => rules.Select(r => r.Name);

    public CleanedUtterance Clean(string text)
    {
        var rewrites = new List<(string, string, string?)>();
        for (var round = 0; round < MostRounds; round++)
        {
            var before = text;
            foreach (var rule in rules)
            {
                var cleaned = rule.Clean(text);
                if (cleaned == text) continue;
                rewrites.Add((rule.Name, text, cleaned));
                if (cleaned is null) return new CleanedUtterance(null, rule.Name, rewrites);
                text = cleaned;
            }
            if (text == before) return new CleanedUtterance(text, null, rewrites);
        }
        return new CleanedUtterance(null, "unstable", rewrites);
    }
}
