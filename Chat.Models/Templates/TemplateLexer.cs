using System.Globalization;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>
/// Cuts a template into tokens as Jinja2 does with <c>trim_blocks</c> and <c>lstrip_blocks</c> on: blanks before a block at the start of a line and the line break behind it are
/// dropped, a minus drops all white space at its side, a plus keeps it; one line break at the very end is dropped.
/// </summary>
internal sealed class TemplateLexer
{
    private const string TwoLetters = "== != >= <= // **";
    private const string OneLetter = "+-/*%~[](){}><=.:|,;";
    private readonly string source;
    private readonly List<TemplateToken> tokens = [];
    private int at, line = 1;

    private TemplateLexer(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        this.source = source.EndsWith('\n') ? source[..^1] : source;
    }

    /// <exception cref="TemplateException">An open tag or text, or a character that no expression has.</exception>
    public static List<TemplateToken> Read(string source)
    {
        var lexer = new TemplateLexer(source);
        lexer.ReadAll();
        return lexer.tokens;
    }

    private void ReadAll()
    {
        var lineStarts = true;              // whether what is read next starts a line, a dropped line break counted
        while (at < source.Length)
        {
            var open = NextTag(at);
            if (open < 0)
            {
                Data(source[at..]);
                at = source.Length;
                break;
            }
            var kind = source[open + 1];
            var sign = open + 2 < source.Length && source[open + 2] is '-' or '+' ? source[open + 2] : ' ';
            var text = Before(source[at..open], sign, kind != '{', lineStarts);
            Data(text);
            line += source.AsSpan(at, open - at).Count('\n') - text.AsSpan().Count('\n');
            at = open + (sign == ' ' ? 2 : 3);
            if (kind == '#') Comment();
            else if (kind == '%' && RawBegins()) Raw();
            else Inside(kind == '%' ? TokenKind.BlockBegin : TokenKind.VariableBegin);
            lineStarts = at > 0 && source[at - 1] == '\n';
        }
        tokens.Add(new(TokenKind.End, "", line));
    }

    private int NextTag(int from)
    {
        for (var i = source.IndexOf('{', from); i >= 0 && i + 1 < source.Length; i = source.IndexOf('{', i + 1))
            if (source[i + 1] is '{' or '%' or '#') return i;
        return -1;
    }

    /// <summary>The text before a tag, without what the tag takes of it.</summary>
    private static string Before(string text, char sign, bool isBlock, bool lineStarts)
    {
        if (sign == '-') return text.TrimEnd();
        if (sign == '+' || !isBlock) return text;
        var start = text.LastIndexOf('\n') + 1;
        return (start > 0 || lineStarts) && text.AsSpan(start).IsWhiteSpace() ? text[..start] : text;
    }

    private void Data(string text)
    {
        if (text.Length == 0) return;
        tokens.Add(new(TokenKind.Data, text, line));
        line += text.AsSpan().Count('\n');
    }

    private void Comment()
    {
        var end = source.IndexOf("#}", at, StringComparison.Ordinal);
        if (end < 0) throw Error("a comment has no end");
        var sign = end > at ? source[end - 1] : ' ';
        Skip(end + 2);
        After(sign, trims: true);
    }

    private bool RawBegins()
    {
        var i = at;
        while (i < source.Length && char.IsWhiteSpace(source[i])) i++;
        if (!source.AsSpan(i).StartsWith("raw", StringComparison.Ordinal)) return false;
        i += 3;
        while (i < source.Length && char.IsWhiteSpace(source[i])) i++;
        var strips = i < source.Length && source[i] == '-';
        if (!source.AsSpan(strips ? i + 1 : i).StartsWith("%}", StringComparison.Ordinal)) return false;
        Skip(i + (strips ? 3 : 2));
        if (strips) SkipBlanks();
        return true;
    }

    private void Raw()
    {
        for (var open = source.IndexOf("{%", at, StringComparison.Ordinal); open >= 0; open = source.IndexOf("{%", open + 2, StringComparison.Ordinal))
        {
            var i = open + 2;
            var sign = i < source.Length && source[i] is '-' or '+' ? source[i++] : ' ';
            while (i < source.Length && char.IsWhiteSpace(source[i])) i++;
            if (!source.AsSpan(i).StartsWith("endraw", StringComparison.Ordinal)) continue;
            i += 6;
            while (i < source.Length && char.IsWhiteSpace(source[i])) i++;
            var close = i < source.Length && source[i] is '-' or '+' ? source[i++] : ' ';
            if (!source.AsSpan(i).StartsWith("%}", StringComparison.Ordinal)) continue;
            var start = at;
            var text = Before(source[at..open], sign, isBlock: true, lineStarts: start > 0 && source[start - 1] == '\n');
            if (text.Length > 0) tokens.Add(new(TokenKind.Data, text, line));
            Skip(i + 2);
            After(close, trims: true);
            return;
        }
        throw Error("a raw block has no end");
    }

    /// <summary>The tokens of an expression or statement, to its end tag.</summary>
    private void Inside(TokenKind begin)
    {
        var block = begin == TokenKind.BlockBegin;
        var (end, brackets) = (block ? "%}" : "}}", new Stack<char>());
        tokens.Add(new(begin, block ? "{%" : "{{", line));
        while (true)
        {
            SkipBlanks();
            if (at >= source.Length) throw Error($"'{end}' is missing");
            if (brackets.Count == 0 && Ends(end, out var sign))
            {
                tokens.Add(new(block ? TokenKind.BlockEnd : TokenKind.VariableEnd, end, line));
                Skip(at + (sign == ' ' ? 2 : 3));
                After(sign, trims: block);
                return;
            }
            Token(brackets);
        }
    }

    private bool Ends(string end, out char sign)
    {
        sign = source[at] == '-' || (source[at] == '+' && end == "%}") ? source[at] : ' ';
        return source.AsSpan(sign == ' ' ? at : at + 1).StartsWith(end, StringComparison.Ordinal);
    }

    private void After(char sign, bool trims)
    {
        if (sign == '-') SkipBlanks();
        else if (trims && sign != '+' && at < source.Length && source[at] == '\n') Skip(at + 1);
    }

    private void Token(Stack<char> brackets)
    {
        var letter = source[at];
        if (letter is '"' or '\'') Text(letter);
        else if (char.IsAsciiDigit(letter)) Number();
        else if (char.IsLetter(letter) || letter == '_')
        {
            var start = at;
            while (at < source.Length && (char.IsLetterOrDigit(source[at]) || source[at] == '_')) at++;
            tokens.Add(new(TokenKind.Name, source[start..at], line));
        }
        else
        {
            var two = at + 1 < source.Length && TwoLetters.Contains(source.Substring(at, 2), StringComparison.Ordinal) && !char.IsWhiteSpace(source[at + 1]);
            if (!two && !OneLetter.Contains(letter)) throw Error($"the character '{letter}' has no meaning here");
            if (letter is '(' or '[' or '{') brackets.Push(letter switch { '(' => ')', '[' => ']', _ => '}' });
            else if (letter is ')' or ']' or '}' && !(brackets.TryPop(out var due) && due == letter)) throw Error($"'{letter}' closes nothing");
            tokens.Add(new(TokenKind.Operator, source.Substring(at, two ? 2 : 1), line));
            at += two ? 2 : 1;
        }
    }

    private void Text(char quote)
    {
        var (text, start) = (new StringBuilder(), line);
        for (at++; at < source.Length && source[at] != quote; at++)
        {
            if (source[at] == '\n') line++;
            if (source[at] != '\\' || at + 1 >= source.Length) text.Append(source[at]);
            else Escape(text, source[++at]);
        }
        if (at >= source.Length) throw Error("a text has no end");
        at++;
        tokens.Add(new(TokenKind.Text, text.ToString(), start));
    }

    /// <summary>Python's escapes; an unknown one stands for itself.</summary>
    private void Escape(StringBuilder text, char letter)
    {
        switch (letter)
        {
            case '\n': line++; break;
            case 'n': text.Append('\n'); break;
            case 't': text.Append('\t'); break;
            case 'r': text.Append('\r'); break;
            case 'a': text.Append('\a'); break;
            case 'b': text.Append('\b'); break;
            case 'f': text.Append('\f'); break;
            case 'v': text.Append('\v'); break;
            case '\\' or '\'' or '"': text.Append(letter); break;
            case 'x': Code(text, 2); break;
            case 'u': Code(text, 4); break;
            case 'U': Code(text, 8); break;
            case >= '0' and <= '7':
                var value = 0;
                for (var digits = 0; digits < 3 && source[at] is >= '0' and <= '7'; digits++, at++) value = value * 8 + source[at] - '0';
                at--;
                text.Append((char)value);
                break;
            default: text.Append('\\').Append(letter); break;
        }
    }

    private void Code(StringBuilder text, int digits)
    {
        if (at + digits >= source.Length || !int.TryParse(source.AsSpan(at + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code) || code is < 0 or > 0x10ffff)
            throw Error("an escape names no character");
        at += digits;
        text.Append(code > 0xffff ? char.ConvertFromUtf32(code) : ((char)code).ToString());
    }

    private void Number()
    {
        var start = at;
        if (source[at] == '0' && at + 2 < source.Length && source[at + 1] is 'x' or 'X' or 'b' or 'B' or 'o' or 'O') throw Error("numbers are written in decimals");
        while (IsDigit(at)) at++;
        var real = false;
        if (at + 1 < source.Length && source[at] == '.' && char.IsAsciiDigit(source[at + 1]) && !(start > 0 && source[start - 1] == '.'))
        {
            real = true;
            for (at++; IsDigit(at);) at++;
        }
        var exponent = at + 1 < source.Length && source[at] is 'e' or 'E' ? source[at + 1] is '+' or '-' ? at + 2 : at + 1 : source.Length;
        if (exponent < source.Length && char.IsAsciiDigit(source[exponent]))
        {
            real = true;
            for (at = exponent; IsDigit(at);) at++;
        }
        tokens.Add(new(real ? TokenKind.Real : TokenKind.Whole, source[start..at].Replace("_", "", StringComparison.Ordinal), line));

        bool IsDigit(int i) => i < source.Length && (char.IsAsciiDigit(source[i]) || (source[i] == '_' && i + 1 < source.Length && char.IsAsciiDigit(source[i + 1])));
    }

    private void SkipBlanks()
    {
        while (at < source.Length && char.IsWhiteSpace(source[at])) Skip(at + 1);
    }

    private void Skip(int to)
    {
        line += source.AsSpan(at, to - at).Count('\n');
        at = to;
    }

    private TemplateException Error(string what) => TemplateException.At(line, what + ".");
}
