using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>The reply may not end before it has minTokens tokens.</summary>
[Plugin("minimum-length", Summary = "Bans the end token until the reply has minTokens tokens.")]
public sealed class MinimumLengthRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Ban;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.MinTokens == 0 ? null : new Row(options.MinTokens, tokens.Separator);

    private sealed class Row(int minTokens, int separator) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            if (reply.Length < minTokens) Bans.Ban(scores, [separator], separator);
        }
    }
}
