using System.Text.Encodings.Web;
using System.Text.Json;

namespace Chat.Models.Decoding.Constraints;

/// <summary>How JSON is written under a constraint: no blanks but one that may follow a comma or a colon, numbers that a double holds, no needless escapes.</summary>
internal static class JsonText
{
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
