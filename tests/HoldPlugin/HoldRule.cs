using System.Globalization;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;

[assembly: PluginContract(PluginContract.Version)]

namespace HoldPlugin;

/// <summary>
/// While the file that <c>HOLD_FILE</c> names is there, no reply of this process gets past as many tokens as the file says; the model stands still, as one
/// thread runs it. The first reply to get so far is told by an empty file of that name and <c>.held</c>. Scores stay as they are.
/// </summary>
[Plugin("hold", Summary = "Keeps replies at a token, for tests.")]
public sealed class HoldRule : ILogitsRule
{
    private static readonly string? Order = Environment.GetEnvironmentVariable("HOLD_FILE");

    public RuleStage Stage => RuleStage.Constraint;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) => Order is null ? null : new Row(Order);

    private sealed class Row(string order) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            if (!File.Exists(order) || reply.Length < int.Parse(File.ReadAllText(order), CultureInfo.InvariantCulture)) return;
            File.WriteAllText(order + ".held", "");
            while (File.Exists(order)) Thread.Sleep(10);
        }
    }
}
