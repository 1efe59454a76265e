using System.IO.Compression;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Chat.Models.Checkpoints;

namespace Chat.Training.Data;

/// <summary>
/// One piece of training text. One turn is running text; two or more are a dialogue in order.
/// <c>Speakers</c>, where known, has one name a turn: a reply is learnt only where the speaker changes.
/// </summary>
/// <param name="Source">The corpus, for example <c>wesnoth</c>.</param>
/// <param name="Language"><c>en</c> or <c>zh</c>.</param>
/// <param name="Scene">Where in the corpus; its first path segment decides the split.</param>
public sealed record Document(string Source, string Language, string Scene, IReadOnlyList<string> Turns, IReadOnlyList<string>? Speakers = null)
{
    /// <summary>Indices of the turns that answer another speaker.</summary>
    public IEnumerable<int> Replies() =>
        Enumerable.Range(0, Turns.Count).Skip(1).Where(i => Speakers is null || Speakers[i] != Speakers[i - 1]);
}

/// <summary>Documents as gzipped JSON lines.</summary>
public static class DocumentFile
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <exception cref="InvalidDataException">A line that is no document; the message has file and line.</exception>
    public static IEnumerable<Document> Read(string path)
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(path), CompressionMode.Decompress));
        for (var line = 1; reader.ReadLine() is { } text; line++) yield return Parse(text, path, line);
    }

    /// <summary>Writes to a temporary name and moves it: a reader never sees half a file. The bytes depend on the documents alone.</summary>
    public static int Write(string path, IEnumerable<Document> documents)
    {
        var count = 0;
        WholeFile.Write(path, part =>
        {
            using var writer = new StreamWriter(new GZipStream(File.Create(part), CompressionLevel.SmallestSize)) { NewLine = "\n" };
            foreach (var document in documents)
            {
                writer.WriteLine(JsonSerializer.Serialize(document, Json));
                count++;
            }
        });
        return count;
    }

    private static Document Parse(string text, string path, int line)
    {
        Document? document;
        try
        {
            document = JsonSerializer.Deserialize<Document>(text, Json);
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{path}, line {line}: {error.Message}", error);
        }
        if (document is not { Turns.Count: > 0, Language: not null, Source: not null } || (document.Speakers is { } speakers && speakers.Count != document.Turns.Count))
            throw new InvalidDataException($"{path}, line {line}: a document needs source, language and turns, and one speaker a turn or none.");
        return document;
    }
}
