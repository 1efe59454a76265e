using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>Rules apply in this order, within a stage by name: a constraint sees the scores first (and has the last word, <see cref="IRowRule.Settle"/>), then scores move, then bans take candidates out.</summary>
public enum RuleStage { Constraint, Penalty, Bias, Ban }

/// <summary>
/// Edits one row of scores before a token is chosen. Pure: the result depends on the options, the dialogue, the reply so far and the row.
/// A rule keeps the row's length and never leaves it without a finite score (<see cref="Bans"/> sees to that). Stateless and thread-safe itself.
/// </summary>
[PluginKind("rule")]
public interface ILogitsRule
{
    RuleStage Stage { get; }

    /// <summary>Checks what attributes of the options cannot say, before anything is stored.</summary>
    /// <exception cref="Chat.Domain.Generation.GenerationException">An option of this rule is impossible.</exception>
    void Check(DecodingOptions options) { }

    /// <summary>The rule's state for one hypothesis with an empty reply; <c>null</c> when these options leave it off.</summary>
    IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue);
}

/// <summary>What a rule remembers of one hypothesis. Rules that need no memory keep the defaults.</summary>
public interface IRowRule
{
    /// <param name="scores">[V], edited in place.</param>
    /// <param name="reply">Ids of the reply so far; the same ids have gone through <see cref="Append"/>.</param>
    void Apply(Span<float> scores, ReadOnlySpan<int> reply);

    /// <summary>Called when every rule has been applied to the row.</summary>
    void Settle(Span<float> scores) { }

    void Append(int token) { }

    /// <summary>An independent copy, for a hypothesis that goes on in several ways.</summary>
    IRowRule Fork() => this;
}

/// <summary>The active rules of one hypothesis, in order.</summary>
public sealed class RowRules(IReadOnlyList<IRowRule> rules)
{
    public static RowRules None { get; } = new([]);

    public IRowRule this[int index] => rules[index];

    public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
    {
        foreach (var rule in rules) rule.Apply(scores, reply);
        foreach (var rule in rules) rule.Settle(scores);
    }

    public void Append(int token)
    {
        foreach (var rule in rules) rule.Append(token);
    }

    /// <summary>These rules, and one more behind them.</summary>
    public RowRules And(IRowRule last) => new([.. rules, last]);

    public RowRules Fork() => rules.Count == 0 ? this : new([.. rules.Select(r => r.Fork())]);
}

/// <summary>Taking candidates out of a row.</summary>
public static class Bans
{
    /// <summary>
    /// Sets the scores to −∞. If that leaves nothing, the end token becomes the one candidate: a reply that cannot go on ends.
    /// </summary>
    public static void Ban(Span<float> scores, ReadOnlySpan<int> ids, int separator)
    {
        foreach (var id in ids) scores[id] = float.NegativeInfinity;
        KeepOne(scores, separator);
    }

    public static void KeepOne(Span<float> scores, int separator)
    {
        if (scores.IndexOfAnyExcept(float.NegativeInfinity) < 0) scores[separator] = 0;
    }
}
