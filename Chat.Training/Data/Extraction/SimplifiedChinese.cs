using System.Text;

namespace Chat.Training.Data.Extraction;

/// <summary>Traditional to simplified script by OpenCC's tables: longest phrase first, then single characters, the first choice of each.</summary>
public sealed class SimplifiedChinese
{
    private readonly Dictionary<string, string> phrases;
    private readonly Dictionary<string, string> characters;
    private readonly int longest;

    /// <param name="phrases">Lines <c>traditional TAB simplified[ alternatives]</c>.</param>
    /// <param name="characters">The same for single characters.</param>
    public SimplifiedChinese(IEnumerable<string> phrases, IEnumerable<string> characters)
    {
        this.phrases = Table(phrases);
        this.characters = Table(characters);
        longest = this.phrases.Keys.Select(k => k.Length).DefaultIfEmpty(0).Max();
    }

    public string Convert(string text)
    {
        var simplified = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length;)
        {
            var length = Math.Min(longest, text.Length - i);
            while (length > 1 && !phrases.ContainsKey(text.Substring(i, length))) length--;
            if (length > 1)
            {
                simplified.Append(phrases[text.Substring(i, length)]);
            }
            else
            {
                length = char.IsHighSurrogate(text[i]) && i + 1 < text.Length ? 2 : 1;
                var character = text.Substring(i, length);
                simplified.Append(characters.GetValueOrDefault(character, character));
            }
            i += length;
        }
        return simplified.ToString();
    }

    private static Dictionary<string, string> Table(IEnumerable<string> lines) => lines
        .Select(line => line.Split('\t'))
        .Where(cells => cells.Length == 2)
        .ToDictionary(cells => cells[0], cells => cells[1].Split(' ')[0], StringComparer.Ordinal);
}
