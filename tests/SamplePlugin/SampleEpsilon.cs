using System.ComponentModel.DataAnnotations;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;

[assembly: PluginContract(PluginContract.Version)]

namespace SamplePlugin;

/// <summary>Options of the strategy: those of every strategy and one of its own, <c>epsilon</c> on the wire.</summary>
public sealed record EpsilonOptions : DecodingOptions
{
    /// <summary>Removes tokens less probable than this; 0 = off.</summary>
    [Range(0.0, 1.0)] public double Epsilon { get; init; } = 3e-4;
}

/// <summary>Epsilon sampling (Hewitt, Manning and Liang, arXiv:2210.15191): draws among the tokens whose probability is at least ε; the best one always stays. Before top-k, top-p and min-p.</summary>
[Plugin("sample-epsilon", Paper = "arXiv:2210.15191", Summary = "Draws among tokens of some least probability.")]
public sealed class SampleEpsilon : Sample
{
    public override DecodingOptions Defaults { get; } = new EpsilonOptions();

    public override ISearch Start(DecodingOptions options, DecodingContext context) =>
        base.Start(options, context with { Rules = context.Rules.And(new Floor(((EpsilonOptions)options).Epsilon, options.Temperature)) });

    private sealed class Floor(double epsilon, double temperature) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            if (epsilon == 0 || temperature == 0) return;
            var logprobs = scores.ToArray();
            var best = Scores.ArgMax(logprobs);
            foreach (ref var s in logprobs.AsSpan()) s = (s - scores[best]) / (float)Math.Max(temperature, 1e-6);
            Scores.LogSoftmax(logprobs);
            for (var id = 0; id < scores.Length; id++)
                if (logprobs[id] < Math.Log(epsilon) && id != best) scores[id] = float.NegativeInfinity;
        }
    }
}
