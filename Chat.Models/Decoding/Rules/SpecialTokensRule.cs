using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>Padding, start, unknown and their like stand for no text: a reply never holds them. Always on.</summary>
[Plugin("special-tokens", Summary = "Bans tokens that stand for no text, the end token excepted.")]
public sealed class SpecialTokensRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Ban;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        new Row(tokens.Special, tokens.Separator);

    private sealed class Row(ReadOnlyMemory<int> special, int separator) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply) => Bans.Ban(scores, special.Span, separator);
    }
}
