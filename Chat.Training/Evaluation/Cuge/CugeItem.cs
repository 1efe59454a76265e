using Chat.Training.Evaluation.Metrics;

namespace Chat.Training.Evaluation.Cuge;

/// <summary>How a model answers an item.</summary>
public enum AnswerKind
{
    /// <summary>The choice that the model finds likeliest a token.</summary>
    Choice,

    /// <summary>All choices ordered by how likely a token the model finds them.</summary>
    Ranking,

    /// <summary>What the model writes.</summary>
    Text,
}

/// <summary>One question of a dataset.</summary>
/// <param name="Turns">What the model is asked: the last turn, those before it oldest first.</param>
/// <param name="References">Right answers as text; empty where choices are given.</param>
/// <param name="Answer">Number of the right choice.</param>
/// <param name="Grades">How relevant each choice is, for rankings.</param>
/// <param name="Source">The text that tags and corrections refer to.</param>
/// <param name="Language">Of the answer.</param>
public sealed record CugeItem(
    IReadOnlyList<string> Turns, IReadOnlyList<string> References, IReadOnlyList<string>? Choices = null, int Answer = -1, IReadOnlyList<double>? Grades = null, string Source = "",
    string Language = "zh");

/// <summary>What a model answered.</summary>
/// <param name="Order">Numbers of the choices, best first; of a choice the first counts.</param>
public sealed record CugeAnswer(string Text, IReadOnlyList<int> Order)
{
    public static CugeAnswer Written(string text) => new(text, []);
    public static CugeAnswer Chosen(params int[] order) => new("", order);
}

/// <summary>Figures of a dataset over items and their answers, in [0, 1].</summary>
public delegate IReadOnlyList<Measure> CugeScorer(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers);

/// <summary>A published dataset as items.</summary>
/// <param name="Files">Patterns of file names below the dataset's folder; all files of the first pattern that has some are read, in order of their paths.</param>
/// <param name="Format">Where the layout is published, or that it is not and what is read instead.</param>
public sealed record CugeAdapter(string Dataset, AnswerKind Kind, IReadOnlyList<string> Files, Func<string, IEnumerable<CugeItem>> Read, CugeScorer Score, string Format)
{
    /// <exception cref="InvalidDataException">No such file, or one in another layout: the message names file and record.</exception>
    public IReadOnlyList<CugeItem> ReadFolder(string folder)
    {
        var files = Files.Select(pattern => Directory.Exists(folder) ? Directory.GetFiles(folder, pattern, SearchOption.AllDirectories).Order(StringComparer.Ordinal).ToArray() : []).FirstOrDefault(found => found.Length > 0)
            ?? throw new InvalidDataException($"{Dataset}: {folder} holds none of {string.Join(", ", Files)}. {Format}");
        CugeItem[] items = [.. files.SelectMany(Read)];
        return items.Length > 0 ? items : throw new InvalidDataException($"{Dataset}: {string.Join(", ", files)} has no items.");
    }
}
