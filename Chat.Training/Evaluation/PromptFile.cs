namespace Chat.Training.Evaluation;

/// <summary>A fixed question and what kind it is.</summary>
public sealed record Prompt(string Language, string Kind, string Text);

/// <summary>Prompts in a text file: <c>[en greeting]</c> begins a section, every other line is a prompt.</summary>
public static class PromptFile
{
    /// <exception cref="InvalidDataException">A prompt before the first section, or a section that is not <c>[language kind]</c>.</exception>
    public static IReadOnlyList<Prompt> Parse(IEnumerable<string> lines)
    {
        var prompts = new List<Prompt>();
        var section = Array.Empty<string>();
        foreach (var line in lines.Select(l => l.Trim()).Where(l => l.Length > 0 && l[0] != '#'))
        {
            if (line[0] == '[')
            {
                section = line.Trim('[', ']').Split(' ', 2);
                if (section is not (["en" or "zh", _])) throw new InvalidDataException($"Section '{line}' should be [en kind] or [zh kind].");
            }
            else if (section.Length == 2)
            {
                prompts.Add(new Prompt(section[0], section[1], line));
            }
            else
            {
                throw new InvalidDataException($"Prompt '{line}' stands before the first section.");
            }
        }
        return prompts;
    }
}
