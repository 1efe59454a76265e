namespace Chat.Safety;

/// <summary>Words that are refused, words that are masked, and phrases that silence a word which they cover (Scunthorpe, 去死胡同).</summary>
public sealed record WordList(IReadOnlyList<string> Refused, IReadOnlyList<string> Masked, IReadOnlyList<string> Allowed)
{
    /// <summary>The list that ships with the product; Words/NOTICE says where it comes from.</summary>
    public static WordList Shipped { get; } = Parse(ReadShipped());

    public static WordList Empty { get; } = new([], [], []);

    public WordList With(WordList more) => new([.. Refused, .. more.Refused], [.. Masked, .. more.Masked], [.. Allowed, .. more.Allowed]);

    /// <summary>Reads lines <c>refuse WORD</c>, <c>mask WORD</c> and <c>allow PHRASE</c>; empty lines and lines with # are skipped.</summary>
    /// <exception cref="FormatException">A line that is none of these; the message has its number.</exception>
    public static WordList Parse(string text)
    {
        List<string> refused = [], masked = [], allowed = [];
        var number = 0;
        foreach (var line in text.Split('\n', StringSplitOptions.TrimEntries))
        {
            number++;
            if (line.Length == 0 || line[0] == '#') continue;
            var parts = line.Split(' ', 2, StringSplitOptions.TrimEntries);
            var target = (parts[0], parts.Length) switch
            {
                ("refuse", 2) => refused,
                ("mask", 2) => masked,
                ("allow", 2) => allowed,
                _ => throw new FormatException($"Word list line {number}: expected 'refuse', 'mask' or 'allow' and a word, found '{parts[0]}'."),
            };
            target.Add(parts[1]);
        }
        return new(refused, masked, allowed);
    }

    private static string ReadShipped()
    {
        using var stream = typeof(WordList).Assembly.GetManifestResourceStream("Chat.Safety.Words.shipped.txt")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
