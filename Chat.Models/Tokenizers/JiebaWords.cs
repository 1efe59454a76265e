using Chat.Models.Checkpoints;
using JiebaNet.Segmenter;

namespace Chat.Models.Tokenizers;

/// <summary>
/// Cuts text into words as jieba's accurate mode does (jieba.NET, a port of jieba 0.42). The words joined are the text. Loaded once a process, in about a second; thread-safe.
/// </summary>
public static class JiebaWords
{
    private const int LongestRun = 1000;
    private const string RunMarks = "+#&._%·-";
    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Jieba");
    private static readonly Lazy<JiebaSegmenter> Segmenter = new(Open);

    /// <exception cref="CheckpointException"><c>missing_file</c>: the dictionaries are not beside the program.</exception>
    public static void Load() => _ = Segmenter.Value;

    /// <summary>
    /// The words of a text, in order. A run of letters and Han characters without any other sign is cut after 1,000: jieba's time grows with the square of a run, and no written text has such.
    /// </summary>
    public static IEnumerable<string> Cut(string text)
    {
        for (var start = 0; start < text.Length;)
        {
            var length = Math.Min(LongestRun, text.Length - start);
            if (start + length < text.Length)
            {
                // Behind a sign that no run holds the cut changes nothing: jieba looks at the runs one by one.
                var end = length;
                while (end > 0 && (char.IsLetterOrDigit(text[start + end - 1]) || RunMarks.Contains(text[start + end - 1], StringComparison.Ordinal))) end--;
                length = end > 0 ? end : length;
                if (char.IsHighSurrogate(text[start + length - 1])) length += 1;
            }
            var pending = "";
            foreach (var word in Segmenter.Value.Cut(text.Substring(start, length)))
            {
                // The port goes by 16-bit units where jieba goes by characters: halves of one character are put together again.
                if (word.Length == 1 && char.IsHighSurrogate(word[0])) pending = word;
                else
                {
                    yield return pending + word;
                    pending = "";
                }
            }
            if (pending.Length > 0) yield return pending;
            start += length;
        }
    }

    private static JiebaSegmenter Open()
    {
        // A dictionary that is missing would be taken for an empty one.
        foreach (var name in new[] { "dict.txt", "prob_trans.json", "prob_emit.json" })
            if (!File.Exists(Path.Combine(Folder, name))) throw new CheckpointException(CheckpointErrors.MissingFile, $"{name} is missing in {Folder}: EVA's tokenizer cuts words with it. It comes with the build and with 'dotnet publish'.");
        ConfigManager.ConfigFileBaseDir = Folder;
        return new JiebaSegmenter();
    }
}
