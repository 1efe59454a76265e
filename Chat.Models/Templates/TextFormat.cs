using System.Globalization;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>Python's <c>str.format</c> with plain places: <c>{}</c>, <c>{0}</c>, <c>{name}</c>, and the specifications <c>d</c>, <c>.2f</c>, <c>s</c>. Attributes and items inside a place are refused.</summary>
internal static class TextFormat
{
    public static string Apply(string format, CallArguments arguments)
    {
        var (text, next) = (new StringBuilder(), 0);         // next: places without a name so far, −1 once one has a number
        for (var at = 0; at < format.Length; at++)
        {
            var letter = format[at];
            if (letter is not ('{' or '}')) text.Append(letter);
            else if (at + 1 < format.Length && format[at + 1] == letter) text.Append(format[at++]);
            else if (letter == '{' && format.IndexOf('}', at) is > 0 and var end)
            {
                text.Append(Place(format[(at + 1)..end], arguments, ref next));
                at = end;
            }
            else
            {
                throw new TemplateException("A format in the chat template has a brace without its partner.");
            }
            arguments.Run.Budget.Check(text.Length);
        }
        return arguments.Run.Budget.Made(text.ToString());
    }

    private static string Place(string place, CallArguments arguments, ref int next)
    {
        var (name, specification) = place.IndexOf(':') is >= 0 and var colon ? (place[..colon], place[(colon + 1)..]) : (place, "");
        object? value;
        if (name.All(char.IsAsciiDigit))
        {
            if (name.Length == 0 ? next < 0 : next > 0) throw new TemplateException("A format in the chat template mixes numbered places with others.");
            value = At(name.Length == 0 ? next : int.TryParse(name, out var at) ? at : int.MaxValue);
            next = name.Length == 0 ? next + 1 : -1;
        }
        else if (!arguments.Named.TryGetValue(name, out value)) throw new TemplateException($"A format in the chat template has the place '{name}' and no value for it.");
        return specification switch
        {
            "" or "s" => TemplateText.Print(value),
            "d" => TemplateValues.Whole(value).ToString(CultureInfo.InvariantCulture),
            ['.', >= '0' and <= '9' and var digits, 'f'] => TemplateValues.Real(value).ToString($"F{digits}", CultureInfo.InvariantCulture),
            _ => throw new TemplateException($"The format '{specification}' of the chat template is not known. Known: s, d, .0f to .9f."),
        };

        object? At(int index) => index < arguments.Positional.Count ? arguments.Positional[index] : throw new TemplateException("A format in the chat template has more places than values.");
    }
}
