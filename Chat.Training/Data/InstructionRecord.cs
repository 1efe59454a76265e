using Chat.Training.Evaluation;

namespace Chat.Training.Data;

/// <summary>An instruction with what it is about and what is to come of it. The reply is learnt, the rest is read.</summary>
/// <param name="Language"><c>en</c> or <c>zh</c>.</param>
/// <param name="Scene"><c>task/number</c>: a recipe's <c>heldOut</c> keeps whole tasks from training by its beginning.</param>
/// <param name="Input">Empty where there is none.</param>
public sealed record InstructionRecord(string Language, string Scene, string Instruction, string Input, string Output)
{
    /// <summary>
    /// Reads one JSON object a line: <c>instruction</c>, <c>output</c> (the first where there are several), and, where they are known, <c>input</c>, <c>task</c> and <c>language</c>; without it the
    /// language is what follows the corpus's last hyphen, or English. MiniLLM's processed files and Alpaca's have this form.
    /// </summary>
    /// <exception cref="InvalidDataException">No such record; the message names file and record.</exception>
    public static IEnumerable<InstructionRecord> Read(string path, string corpus)
    {
        var number = 0;
        return JsonRecords.Read<InstructionRecord>(path, record => [new InstructionRecord(
            record.AnyText("language") ?? (corpus.EndsWith("-zh", StringComparison.Ordinal) ? "zh" : "en"), $"{record.AnyText("task") ?? corpus}/{number++}",
            record.Text("instruction"), record.AnyText("input") ?? "", record.Texts("output") is [var output, ..] ? output : throw new InvalidDataException("'output' is empty."))]);
    }
}
