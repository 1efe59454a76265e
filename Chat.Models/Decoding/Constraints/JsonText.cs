using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Chat.Models.Decoding.Constraints;

/// <summary>How JSON is written under a constraint: no blanks but one that may follow a comma or a colon, numbers that a double holds, no needless escapes.</summary>
internal static class JsonText
{
    private const long LargestWhole = 999_999_999_999_999;
    private const int MostDecimals = 6;
    private const string Short = "\"\\\b\f\n\r\t", ShortLetters = "\"\\bfnrt";
    private static readonly CharacterSet Raw = new CharacterSet((0, 0x1F), ('"', '"'), ('\\', '\\')).Complement();
    private static readonly Pattern Digit = new Pattern.Character(new(('0', '9')));
    private static readonly JsonSerializerOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Pattern Comma { get; } = new Pattern.Sequence(Pattern.Text(","), Pattern.Optional(Pattern.Text(" ")));
    public static Pattern Colon { get; } = new Pattern.Sequence(Pattern.Text(":"), Pattern.Optional(Pattern.Text(" ")));
    public static Pattern Boolean { get; } = new Pattern.Choice(Pattern.Text("true"), Pattern.Text("false"));
    public static Pattern Null { get; } = Pattern.Text("null");

    /// <summary>Fifteen digits at most: every double and every JavaScript number holds them.</summary>
    public static Pattern Integer { get; } = new Pattern.Sequence(Pattern.Optional(Pattern.Text("-")),
        new Pattern.Choice(Pattern.Text("0"), new Pattern.Sequence(new Pattern.Character(new(('1', '9'))), new Pattern.Repeat(Digit, 0, 14))));

    public static Pattern Number { get; } = new Pattern.Sequence(Integer, Pattern.Optional(new Pattern.Sequence(Pattern.Text("."), new Pattern.Repeat(Digit, 1, 15))),
        Pattern.Optional(new Pattern.Sequence(new Pattern.Character(CharacterSet.Of('e', 'E')), Pattern.Optional(new Pattern.Character(CharacterSet.Of('+', '-'))), new Pattern.Repeat(Digit, 1, 2))));

    /// <summary>The numbers within bounds, of which <c>null</c> bounds nothing: whole ones, or with up to six decimals and no exponent; of fifteen digits at most all told, so that no two are the same double.</summary>
    public static Pattern Between(decimal? minimum, decimal? exclusiveMinimum, decimal? maximum, decimal? exclusiveMaximum, bool isWhole)
    {
        var options = new List<Pattern>();
        for (var (decimals, unit) = (0, 1m); decimals <= (isWhole ? 0 : MostDecimals); decimals++, unit *= 10)
        {
            // In units of the last decimal all are whole, and a bound that is excluded lies one further in.
            var low = Math.Max(Math.Ceiling(minimum * unit ?? -LargestWhole), Math.Floor(exclusiveMinimum * unit ?? -LargestWhole - 1) + 1);
            var high = Math.Min(Math.Floor(maximum * unit ?? LargestWhole), Math.Ceiling(exclusiveMaximum * unit ?? LargestWhole + 1) - 1);
            (low, high) = (Math.Max(low, -LargestWhole), Math.Min(high, LargestWhole));
            if (low <= high && high >= 0) options.Add(Magnitudes((long)Math.Max(low, 0), (long)high, decimals));
            if (low <= high && low < 0) options.Add(new Pattern.Sequence(Pattern.Text("-"), Magnitudes((long)Math.Max(-high, 1), (long)-low, decimals)));
        }
        return new Pattern.Choice(options);
    }

    /// <summary>Whole numbers, not negative, with a point before the last decimals.</summary>
    private static Pattern.Choice Magnitudes(long low, long high, int decimals)
    {
        var options = new List<Pattern>();
        for (var digits = decimals + 1; digits <= LargestWhole.ToString(CultureInfo.InvariantCulture).Length; digits++)
        {
            var first = Math.Max(low, digits == decimals + 1 ? 0 : (long)Math.Pow(10, digits - 1));
            var last = Math.Min(high, (long)Math.Pow(10, digits) - 1);
            if (first <= last) options.Add(Digits(first.ToString($"D{digits}", CultureInfo.InvariantCulture), last.ToString($"D{digits}", CultureInfo.InvariantCulture), decimals));
        }
        return new(options);
    }

    /// <summary>Texts of so many digits from one to the other, the point before the last decimals. Where the two part, what follows a digit between is free, and what follows the lower or upper one has one bound.</summary>
    private static Pattern Digits(string low, string high, int decimals)
    {
        if (low.Length == decimals && decimals > 0) return new Pattern.Sequence(Pattern.Text("."), Digits(low, high, 0));
        if (low.Length == 0) return Pattern.Empty;
        if (low[0] == high[0]) return new Pattern.Sequence(Pattern.Text(low[..1]), Digits(low[1..], high[1..], decimals));
        var (zeros, nines) = (new string('0', low.Length - 1), new string('9', low.Length - 1));
        var (first, last) = (low[0] + (low[1..] == zeros ? 0 : 1), high[0] - (high[1..] == nines ? 0 : 1));
        var options = new List<Pattern>();
        if (first > low[0]) options.Add(new Pattern.Sequence(Pattern.Text(low[..1]), Digits(low[1..], nines, decimals)));
        if (first <= last) options.Add(new Pattern.Sequence(new Pattern.Character(new((first, last))), Digits(zeros, nines, decimals)));
        if (last < high[0]) options.Add(new Pattern.Sequence(Pattern.Text(high[..1]), Digits(zeros, high[1..], decimals)));
        return new Pattern.Choice(options);
    }

    /// <summary>Strings of so many characters.</summary>
    public static Pattern String(int least, int? most) => Quoted(new Pattern.Repeat(new Pattern.Character(CharacterSet.All), least, most));

    /// <summary>The JSON strings whose values fit a pattern; control characters only where JSON has a short escape.</summary>
    public static Pattern Quoted(Pattern value) => new Pattern.Sequence(Pattern.Text("\""), Escaped(value), Pattern.Text("\""));

    /// <summary>Exactly this value.</summary>
    public static Pattern Value(JsonElement value) => Pattern.Text(JsonSerializer.Serialize(value, Plain));

    public static Pattern Value(string value) => Pattern.Text(JsonSerializer.Serialize(value, Plain));

    private static Pattern Escaped(Pattern value) => value switch
    {
        Pattern.Character(var set) => new Pattern.Choice(new Pattern.Character(set.Except(Raw.Complement())),
            new Pattern.Sequence(Pattern.Text("\\"), new Pattern.Character(CharacterSet.Of(Short.Zip(ShortLetters).Where(s => set.Contains(s.First)).Select(s => (int)s.Second))))),
        Pattern.Sequence(var parts) => new Pattern.Sequence([.. parts.Select(Escaped)]),
        Pattern.Choice(var options) => new Pattern.Choice([.. options.Select(Escaped)]),
        Pattern.Repeat(var part, var least, var most) => new Pattern.Repeat(Escaped(part), least, most),
        _ => throw new InvalidOperationException($"{value.GetType()} is no pattern of characters."),
    };
}
