using System.Text.Json;
using Chat.Training.Methods;

namespace Chat.Reproductions;

/// <summary>What a study has found so far, a line each in <c>results.jsonl</c> of its folder: a study that was stopped goes on from there. Thread-safe.</summary>
internal sealed class Outcomes
{
    private readonly string path;
    private readonly Action<string> say;
    private readonly List<Outcome> all;
    private readonly Lock sync = new();

    /// <param name="say">Hears of each that is added.</param>
    public Outcomes(string folder, Action<string> say)
    {
        (path, this.say) = (Path.Combine(folder, "results.jsonl"), say);
        all = File.Exists(path) ? [.. File.ReadLines(path).Select(line => JsonSerializer.Deserialize<Outcome>(line, JournalEntry.Json)!)] : [];
    }

    public IReadOnlyList<Outcome> All { get { lock (sync) return [.. all]; } }

    public bool Has(string arm, int seed) { lock (sync) return all.Any(o => o.Arm == arm && o.Seed == seed); }

    public void Add(Outcome outcome)
    {
        lock (sync)
        {
            all.Add(outcome);
            File.AppendAllText(path, JsonSerializer.Serialize(outcome, JournalEntry.Json) + "\n");
            say(outcome.ToString());
        }
    }
}
