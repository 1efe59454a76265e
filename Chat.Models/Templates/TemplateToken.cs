namespace Chat.Models.Templates;

internal enum TokenKind { Data, VariableBegin, VariableEnd, BlockBegin, BlockEnd, Name, Text, Whole, Real, Operator, End }

/// <summary>A piece of a template. <paramref name="Value"/> is what stands there: a name, an operator, or a literal's value.</summary>
internal readonly record struct TemplateToken(TokenKind Kind, string Value, int Line)
{
    public bool Is(string symbol) => Kind == TokenKind.Operator && Value == symbol;

    public bool IsName(string name) => Kind == TokenKind.Name && Value == name;

    public override string ToString() => Kind switch
    {
        TokenKind.End => "the end of the template",
        TokenKind.BlockEnd => "'%}'",
        TokenKind.VariableEnd => "'}}'",
        _ => $"'{Value}'",
    };
}
