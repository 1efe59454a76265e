using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>Adds the caller's numbers to the scores of the caller's ids.</summary>
[Plugin("logit-bias", Summary = "Adds logitBias to the scores.")]
public sealed class LogitBiasRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Bias;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.LogitBias.Count == 0 ? null : new Row(options.LogitBias);

    private sealed class Row(IReadOnlyDictionary<int, double> bias) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            foreach (var (id, amount) in bias) scores[id] += (float)amount;
        }
    }
}
