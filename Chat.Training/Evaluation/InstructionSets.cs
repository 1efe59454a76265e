using System.Text.Json.Nodes;

namespace Chat.Training.Evaluation;

/// <summary>A prompt with what could be answered.</summary>
/// <param name="References">Never empty.</param>
public sealed record Instruction(string Text, string Input, IReadOnlyList<string> References)
{
    /// <summary>Words of the shortest reference, by which the paper's buckets go.</summary>
    public int Words => References.Min(r => r.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length);

    /// <summary>As MiniLLM writes it (Alpaca's wording); what a model reads, without its template.</summary>
    public string Prompt => Input.Length == 0
        ? $"Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{Text}\n\n### Response:\n"
        : $"Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{Text}\n\n### Input:\n{Input}\n\n### Response:\n";
}

/// <summary>One of the five sets of the paper's protocol.</summary>
/// <param name="Buckets">Whether it is read by length of the reference: the tables take the last bucket.</param>
public sealed record InstructionSet(string Name, string Describes, bool Buckets, Func<JsonNode, IEnumerable<Instruction>> Read);

/// <summary>
/// The five evaluation sets of MiniLLM (arXiv:2306.08543, section 3.1): 500 of Dolly, the 252 user-oriented ones of Self-Instruct, Vicuna's 80, Super-Natural Instructions' test tasks, 10,000 of
/// Unnatural Instructions. Each in the layout its own authors publish, and all in that of MiniLLM's processed files (valid.jsonl with instruction, input, output). The paper answers each prompt
/// with five seeds at temperature 1 and averages.
/// </summary>
public static class InstructionSets
{
    /// <summary>Lower bounds of the paper's buckets by length of the reference: 0–5, 6–10, 11 and more words.</summary>
    public static IReadOnlyList<int> Bounds { get; } = [0, 6, 11];

    public static IReadOnlyList<InstructionSet> All { get; } =
    [
        new("dolly", "databricks-dolly-15k.jsonl: instruction, context, response", Buckets: false, Dolly),
        new("self-inst", "user_oriented_instructions.jsonl: instruction, instances of input and output", Buckets: false, SelfInstruct),
        new("vicuna", "question.jsonl with reference answers: text (or instruction), answer, output or response", Buckets: false, Vicuna),
        new("s-ni", "Super-Natural Instructions' task files: Definition, Instances of input and output", Buckets: true, SuperNatural),
        new("un-ni", "Unnatural Instructions' core_data.jsonl: instruction, instances of input, output, constraints", Buckets: true, Unnatural),
    ];

    /// <exception cref="InvalidDataException">No such set; the message lists the five.</exception>
    public static InstructionSet Of(string name) => All.FirstOrDefault(s => s.Name == name) ?? throw new InvalidDataException($"No instruction set '{name}'. Known: {string.Join(", ", All.Select(s => s.Name))}.");

    /// <summary>Reads a file, or every JSON file of a folder in order of their names.</summary>
    /// <param name="most">At most so many, evenly spread; 0 = all.</param>
    /// <exception cref="InvalidDataException">Nothing there, or another layout: the message names file and record.</exception>
    public static IReadOnlyList<Instruction> Read(InstructionSet set, string path, int most = 0)
    {
        string[] files = Directory.Exists(path) ? [.. Directory.GetFiles(path, "*.json*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)] : [path];
        if (files.Length == 0 || !files.All(File.Exists)) throw new InvalidDataException($"{set.Name}: nothing to read at {path}. Expected: {set.Describes}.");
        var all = files.SelectMany(file => JsonRecords.Read(file, record => Processed(record) ?? set.Read(record))).Where(i => i.References.Count > 0 && i.References.All(r => r.Length > 0)).ToArray();
        if (all.Length == 0) throw new InvalidDataException($"{set.Name}: {path} has no instruction with an answer. Expected: {set.Describes}.");
        return most == 0 || most >= all.Length ? all : [.. Enumerable.Range(0, most).Select(i => all[(int)((long)i * all.Length / most)])];
    }

    /// <summary>The set's name, or name and bucket, for each instruction: the paper's rows.</summary>
    public static IEnumerable<(string Row, Instruction Instruction)> Rows(InstructionSet set, IEnumerable<Instruction> instructions) => instructions.Select(i =>
        (set.Buckets ? $"{set.Name} {Bucket(i.Words)}" : set.Name, i));

    private static string Bucket(int words)
    {
        var bucket = Bounds.Count(bound => bound <= words) - 1;
        return bucket == Bounds.Count - 1 ? $"[{Bounds[bucket]},∞)" : $"[{Bounds[bucket]},{Bounds[bucket + 1] - 1}]";
    }

    /// <summary>MiniLLM's own files: one or several outputs. <c>null</c> for other layouts.</summary>
    private static IEnumerable<Instruction>? Processed(JsonNode record) => record is JsonObject fields && fields.ContainsKey("output") && fields.ContainsKey("instruction")
        ? [new Instruction(record.Text("instruction"), record.AnyText("input") ?? "", record.Texts("output"))] : null;

    private static IEnumerable<Instruction> Dolly(JsonNode record) => [new Instruction(record.Text("instruction"), record.AnyText("context") ?? "", [record.Text("response")])];

    private static IEnumerable<Instruction> SelfInstruct(JsonNode record) => Instances(record).Select(i => new Instruction(record.Text("instruction"), i.AnyText("input") ?? "", i.Texts("output")));

    private static IEnumerable<Instruction> Vicuna(JsonNode record) =>
        [new Instruction(record.AnyText("text", "instruction") ?? throw new InvalidDataException("'text' is missing."), "", [record.AnyText("answer", "response", "output") ?? throw new InvalidDataException("there is no reference answer.")])];

    private static IEnumerable<Instruction> SuperNatural(JsonNode record)
    {
        var definition = string.Join(' ', record.Texts("Definition"));
        return definition.Length == 0 ? throw new InvalidDataException("'Definition' is missing.")
            : record["Instances"]!.AsArray().OfType<JsonNode>().Select(i => new Instruction(definition, i.Text("input"), i.Texts("output")));
    }

    private static IEnumerable<Instruction> Unnatural(JsonNode record) => Instances(record).Select(i => new Instruction(
        record.Text("instruction") + (i.AnyText("constraints") is { Length: > 0 } constraints and not "None." and not "None" ? " " + constraints : ""), i.AnyText("input") ?? "", i.Texts("output")));

    private static IEnumerable<JsonNode> Instances(JsonNode record) => record["instances"] is JsonArray instances ? instances.OfType<JsonNode>() : throw new InvalidDataException("'instances' is missing.");
}
