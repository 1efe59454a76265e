using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>
/// No n units twice over dialogue and reply, after EVA2.0's ban of character n-grams. Where we differ: a token of letters counts as one unit
/// (see <see cref="TokenTable.Units"/>), and bans are −∞.
/// </summary>
[Plugin("no-repeat-ngram", Paper = "arXiv:2203.09313", Summary = "No n characters (words of an alphabet: n tokens) twice over dialogue and reply.")]
public sealed class NoRepeatNgramRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Ban;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.NoRepeatNgram == 0 ? null : new Row(tokens, new NgramIndex(options.NoRepeatNgram, tokens, characters: false, dialogue.Span));

    private sealed class Row(TokenTable tokens, NgramIndex index) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply) => Bans.Ban(scores, index.Banned().ToArray(), tokens.Separator);

        public void Append(int token) => index.Append(token);

        public IRowRule Fork() => new Row(tokens, index.Fork());
    }
}
