using System.Text;
using Chat.Models.Tokenizers;

namespace Chat.Training.Objectives;

/// <summary>What the ids of a model mean: what each writes; a special token has its name, and a row of scores that no token stands for has none.</summary>
public sealed record TokenNames(IReadOnlyList<byte[]> Names, IReadOnlySet<int> Special)
{
    private static readonly byte[] None = [];

    /// <summary>What cuts texts into these tokens; <c>null</c> where only the tokens are known.</summary>
    public ITextTokenizer? Tokenizer { get; init; }

    /// <param name="size">Scores of a row; a model may have more than tokens.</param>
    public static TokenNames Of(ITextTokenizer tokenizer, int size)
    {
        var names = VocabularyNames.Of(tokenizer, size).ToArray();
        return new([.. names.Select(n => n.Name)], Enumerable.Range(0, size).Where(id => names[id].IsSpecial).ToHashSet()) { Tokenizer = tokenizer };
    }

    public int Count => Names.Count;

    /// <summary>The first id that means something else in another vocabulary, or <c>null</c>. Equal sizes prove nothing, and other sizes nothing either while the rest stands for no token.</summary>
    public int? FirstDifference(TokenNames other)
    {
        for (var id = 0; id < Math.Max(Count, other.Count); id++)
            if (!NameOf(id).AsSpan().SequenceEqual(other.NameOf(id)) || Special.Contains(id) != other.Special.Contains(id)) return id;
        return null;
    }

    /// <summary>A token as an error shows it.</summary>
    public string Show(int id) => NameOf(id) is { Length: > 0 } name ? $"{(Special.Contains(id) ? "special " : "")}'{Encoding.UTF8.GetString(name)}'" : "no token";

    private byte[] NameOf(int id) => id < Count ? Names[id] : None;
}
