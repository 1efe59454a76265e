using System.Text.Json.Nodes;

namespace Chat.Training.Data;

/// <summary>
/// Finds corpora by name: <c>NAME.jsonl.gz</c> in the data folder, or <c>NAME.jsonl.gz</c> or <c>NAME.txt</c> among those that come with
/// the program. A text file is dialogues of one turn a line with an empty line between; its language is what follows the name's last hyphen. <c>" | "</c> parts
/// wordings: every wording of the first turn meets every wording of the second, later turns take theirs in rotation. <c>NAME.records.jsonl</c> has instructions, see <see cref="InstructionRecord"/>.
/// </summary>
public sealed class CorpusFolder(string data)
{
    private const string RecordsEnding = ".records.jsonl";
    private static readonly string Own = Path.Combine(AppContext.BaseDirectory, "Corpora");

    /// <exception cref="FileNotFoundException">No such corpus; the message lists the known ones and says how to get more.</exception>
    public string Find(string name) => Candidates(name).FirstOrDefault(File.Exists) ?? throw new FileNotFoundException(
        $"No corpus '{name}'. Here are: {string.Join(", ", Known())}. Others come from 'data fetch Chat.Training/Recipes/corpora.json --data {data}'.");

    /// <summary>The corpus's licence, from the data folder's record or, for those that come with the program, from theirs.</summary>
    public string Licence(string name)
    {
        var record = Path.Combine(data, "data.json");
        var fetched = File.Exists(Path.Combine(data, name + ".jsonl.gz")) && File.Exists(record)
            ? (string?)JsonNode.Parse(File.ReadAllText(record))?["corpora"]?.AsArray().FirstOrDefault(c => (string?)c?["name"] == name)?["licence"] : null;
        return fetched ?? (string?)JsonNode.Parse(File.ReadAllText(Path.Combine(Own, "licences.json")))?[name] ?? "unknown";
    }

    /// <exception cref="FileNotFoundException">No such corpus.</exception>
    /// <exception cref="InvalidDataException">A line that is no document.</exception>
    public IEnumerable<Document> Read(string name)
    {
        var path = Find(name);
        return path.EndsWith(".txt", StringComparison.Ordinal) ? ReadLines(path, name)
            : path.EndsWith(RecordsEnding, StringComparison.Ordinal) ? InstructionRecord.Read(path, name).Select(r => new Document(name, r.Language, r.Scene, [r.Input.Length == 0 ? r.Instruction : $"{r.Instruction}\n{r.Input}", r.Output]))
            : DocumentFile.Read(path);
    }

    /// <summary>The corpus as instructions: its records, or dialogues of two turns, whose first one is an instruction without input.</summary>
    /// <exception cref="FileNotFoundException">No such corpus.</exception>
    /// <exception cref="InvalidDataException">A line that is no record, or a document of another number of turns.</exception>
    public IEnumerable<InstructionRecord> Records(string name) => Find(name) is var path && path.EndsWith(RecordsEnding, StringComparison.Ordinal) ? InstructionRecord.Read(path, name)
        : Read(name).Select(d => d.Turns.Count == 2 ? new InstructionRecord(d.Language, d.Scene, d.Turns[0], "", d.Turns[1])
            : throw new InvalidDataException($"Corpus '{name}', {d.Scene}: templates are for instructions, which have two turns; this has {d.Turns.Count}."));

    private IEnumerable<string> Candidates(string name) =>
        [Path.Combine(data, name + ".jsonl.gz"), Path.Combine(Own, name + ".jsonl.gz"), Path.Combine(Own, name + ".txt"), Path.Combine(data, name + RecordsEnding)];

    private IEnumerable<string> Known() => new[] { data, Own }.Where(Directory.Exists).SelectMany(Directory.EnumerateFiles)
        .Select(Path.GetFileName).OfType<string>().Where(f => f.EndsWith(".jsonl.gz", StringComparison.Ordinal) || f.EndsWith(".txt", StringComparison.Ordinal) || f.EndsWith(RecordsEnding, StringComparison.Ordinal))
        .Select(f => f.Split('.')[0]).Distinct().Order(StringComparer.Ordinal);

    private static IEnumerable<Document> ReadLines(string path, string name)
    {
        var language = name[(name.LastIndexOf('-') + 1)..];
        var number = 0;
        foreach (var dialogue in File.ReadAllText(path).ReplaceLineEndings("\n").Split("\n\n", StringSplitOptions.RemoveEmptyEntries))
        {
            var turns = dialogue.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Where(t => !t.StartsWith('#')).Select(t => t.Split(" | ")).ToArray();
            if (turns.Length == 0) continue;
            var seconds = turns.Length > 1 ? turns[1].Length : 1;
            for (var i = 0; i < turns[0].Length * seconds; i++)
                yield return new Document(name, language, $"{name}/{number++}", [.. turns.Select((wordings, turn) => wordings[(turn == 0 ? i / seconds : i) % wordings.Length])]);
        }
    }
}
