using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>OpenAI's penalties over the reply alone: score − count·frequencyPenalty − (count &gt; 0)·presencePenalty.</summary>
[Plugin("occurrence-penalty", Summary = "frequencyPenalty and presencePenalty: lowers tokens by how often they stand in the reply.")]
public sealed class OccurrencePenaltyRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Penalty;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.FrequencyPenalty == 0 && options.PresencePenalty == 0 ? null : new Row((float)options.FrequencyPenalty, (float)options.PresencePenalty);

    private sealed class Row(float frequency, float presence) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            for (var i = 0; i < reply.Length; i++)
                scores[reply[i]] -= frequency + (reply[..i].Contains(reply[i]) ? 0 : presence);
        }
    }
}
