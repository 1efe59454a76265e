using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>
/// CTRL's penalty: s·θ for a negative score, s/θ for a positive one, for every id of dialogue and reply except the separator, however often it stands
/// there. On raw scores here; EVA2.0's beam search applies the same formula to log-probabilities, which is another distribution (<see cref="EvaChain"/>).
/// </summary>
[Plugin("repetition-penalty", Paper = "arXiv:1909.05858", Summary = "Divides the scores of tokens that already stand in dialogue or reply.")]
public sealed class RepetitionPenaltyRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Penalty;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.RepetitionPenalty == 1 ? null : new Row((float)options.RepetitionPenalty, tokens.Separator, [.. dialogue.ToArray().Distinct()]);

    /// <param name="scores">Raw scores or log-probabilities.</param>
    public static void Penalise(Span<float> scores, IEnumerable<int> seen, float theta, int separator)
    {
        foreach (var id in seen.Distinct())
            if (id != separator) scores[id] = scores[id] < 0 ? scores[id] * theta : scores[id] / theta;
    }

    private sealed class Row(float theta, int separator, HashSet<int> dialogue) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            foreach (var id in dialogue) Penalise(scores, id);
            for (var i = 0; i < reply.Length; i++)
                if (!dialogue.Contains(reply[i]) && !reply[..i].Contains(reply[i])) Penalise(scores, reply[i]);
        }

        private void Penalise(Span<float> scores, int id)
        {
            if (id != separator) scores[id] = scores[id] < 0 ? scores[id] * theta : scores[id] / theta;
        }
    }
}
