using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>Bans every antonym of every word of the current utterance (what stands behind the last separator), as EVA2.0's code does, for each hypothesis on its own.</summary>
[Plugin("antonyms", Paper = "arXiv:2203.09313", Summary = "Bans the antonyms of words already in the utterance.")]
public sealed class AntonymRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Ban;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.Antonyms && tokens.HasAntonyms ? new Row(tokens, dialogue) : null;

    public static SortedSet<int> Banned(TokenTable tokens, ReadOnlySpan<int> dialogue, ReadOnlySpan<int> reply)
    {
        var banned = new SortedSet<int>();
        var open = reply.LastIndexOf(tokens.Separator) < 0 ? dialogue[(dialogue.LastIndexOf(tokens.Separator) + 1)..] : [];
        foreach (var id in open) banned.UnionWith(tokens.Antonyms(id).ToArray());
        foreach (var id in reply[(reply.LastIndexOf(tokens.Separator) + 1)..]) banned.UnionWith(tokens.Antonyms(id).ToArray());
        return banned;
    }

    private sealed class Row(TokenTable tokens, ReadOnlyMemory<int> dialogue) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply) => Bans.Ban(scores, Banned(tokens, dialogue.Span, reply).ToArray(), tokens.Separator);
    }
}
