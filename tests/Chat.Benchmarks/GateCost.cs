using System.CommandLine;
using System.Diagnostics;
using Chat.Safety;

namespace Chat.Benchmarks;

/// <summary>What the safety gate takes of a token, how much it holds back, and how fast a whole message is judged; shipped filters.</summary>
internal static class GateCost
{
    private const string English = "The river bends twice before the old mill, and whoever walks there in the evening (at six, say) meets nobody but the miller's 2 dogs. ";
    private const string Chinese = "河水在旧磨坊前转了两个弯，傍晚六点走在那里的人，除了磨坊主的两条狗，谁也遇不到。";

    public static Command Command()
    {
        var rounds = new Option<int>("--rounds") { Description = "Replies of 2,000 characters; the median counts.", DefaultValueFactory = _ => 25 };
        var command = new Command("gate", "Time and delay that the safety gate adds to a token.") { rounds };
        command.SetAction(result => Run(result.GetValue(rounds)));
        return command;
    }

    private static void Run(int rounds)
    {
        var policy = new SafetyPolicy([new WordFilter(), new EmailFilter(), new PhoneFilter()]);
        foreach (var (name, sentence, piece) in new[] { ("English, 4 characters a token", English, 4), ("Chinese, 2 characters a token", Chinese, 2) })
        {
            var text = string.Concat(Enumerable.Repeat(sentence, 2000 / sentence.Length + 1))[..2000];
            List<double> streamed = [], whole = [], held = [];
            for (var round = 0; round <= rounds; round++)
            {
                var gate = policy.OpenGate("reply");
                var (received, released) = (0, 0);
                var start = Stopwatch.GetTimestamp();
                for (; received < text.Length; received += piece)
                {
                    released += gate.Push(text.Substring(received, Math.Min(piece, text.Length - received))).Text.Length;
                    if (round == 0) held.Add(received + piece - released);
                }
                gate.Complete();
                if (round > 0) streamed.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds * piece / text.Length);

                start = Stopwatch.GetTimestamp();
                policy.Check(text, "message");
                if (round > 0) whole.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
            }
            Figures.PrintQuantiles(name, streamed, "µs a token");
            Figures.Print("  held back, mean", held.Average(), "characters");
            Figures.Print("  held back, most", held.Max(), "characters");
            Figures.PrintQuantiles("  a whole message of 2,000", whole, "µs");
        }
    }
}
