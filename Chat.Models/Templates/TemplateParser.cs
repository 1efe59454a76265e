namespace Chat.Models.Templates;

/// <summary>Reads the statements of a template: if, for, set, macro, call, filter, with, break, continue, generation. What reads files or other templates is not known here.</summary>
internal sealed class TemplateParser(IReadOnlyList<TemplateToken> tokens) : ExpressionParser(tokens)
{
    private const string Known = "if, for, set, macro, call, filter, with, raw, break, continue, generation";
    private int loops;

    /// <exception cref="TemplateException">The template is not of this language.</exception>
    public static IReadOnlyList<TemplateStatement> Parse(string source)
    {
        var parser = new TemplateParser(TemplateLexer.Read(source));
        var body = parser.Body([]);
        return parser.Now.Kind == TokenKind.End ? body : throw parser.Unexpected("the end of the template");
    }

    /// <summary>Statements up to a tag of one of the given names, which is left standing behind its opening.</summary>
    private List<TemplateStatement> Body(params ReadOnlySpan<string> ends)
    {
        TemplateBudget.CheckDepth();
        List<TemplateStatement> body = [];
        while (true)
        {
            StartChain();
            var token = Now;
            switch (token.Kind)
            {
                case TokenKind.Data:
                    body.Add(new DataStatement(Next().Value));
                    break;
                case TokenKind.VariableBegin:
                    Next();
                    body.Add(new PrintStatement(Tuple()));
                    if (Now.Kind != TokenKind.VariableEnd) throw Unexpected("'}}'");
                    Next();
                    break;
                case TokenKind.BlockBegin:
                    Next();
                    foreach (var end in ends)
                        if (Now.IsName(end)) return body;
                    body.Add(Statement());
                    break;
                default:
                    if (ends.Length > 0) throw Unexpected(string.Join(" or ", ends.ToArray().Select(end => $"'{end}'")));
                    return body;
            }
        }
    }

    private TemplateStatement Statement()
    {
        var line = Now.Line;
        var name = ExpectName();
        switch (name)
        {
            case "if": return If();
            case "for": return For();
            case "set": return Set();
            case "macro": return Macro(ExpectName());
            case "call": return CallBlock();
            case "filter":
                var filters = BlockFilters(inline: true);
                return new FilterStatement(filters, Until("endfilter"));
            case "with": return With();
            case "generation": return new ScopeStatement(Until("endgeneration"));
            case "break" or "continue":
                if (loops == 0) throw TemplateException.At(line, $"'{name}' stands outside a loop.");
                EndTag();
                return new LoopExitStatement(name == "break" ? LoopExit.Break : LoopExit.Continue);
            default: throw TemplateException.At(line, $"the statement '{name}' is not known here. Known: {Known}.");
        }
    }

    private IfStatement If()
    {
        List<(TemplateExpression, IReadOnlyList<TemplateStatement>)> branches = [];
        do
        {
            var condition = Tuple(conditional: false);
            EndTag();
            branches.Add((condition, Body("elif", "else", "endif")));
        }
        while (TakeName("elif"));
        List<TemplateStatement> otherwise = TakeName("else") ? Until("endif") : Close("endif");
        return new IfStatement(branches, otherwise);
    }

    private ForStatement For()
    {
        var target = Target(withAttributes: false, end: "in");
        if (!TakeName("in")) throw Unexpected("'in'");
        var items = Tuple(conditional: false, endName: "recursive");
        var filter = TakeName("if") ? Expression() : null;
        var recursive = TakeName("recursive");
        EndTag();
        loops++;
        var body = Body("else", "endfor");
        loops--;
        return new ForStatement(target, items, filter, body, TakeName("else") ? Until("endfor") : Close("endfor"), recursive);
    }

    private TemplateStatement Set()
    {
        var target = Target(withAttributes: true, end: null);
        if (Take("="))
        {
            var value = Tuple();
            EndTag();
            return new SetStatement(target, value);
        }
        var filters = BlockFilters(inline: false);
        return new SetBlockStatement(target, filters, Until("endset"));
    }

    private MacroStatement Macro(string name)
    {
        var parameters = Parameters();
        var outer = loops;
        loops = 0;
        var body = Until("endmacro");
        loops = outer;
        return new MacroStatement(name, parameters, body);
    }

    private CallStatement CallBlock()
    {
        var line = Now.Line;
        var parameters = Now.Is("(") ? Parameters() : [];
        if (Expression() is not Call call) throw TemplateException.At(line, "a call block calls nothing.");
        return new CallStatement(call, new MacroStatement("caller", parameters, Until("endcall")));
    }

    private List<(string, TemplateExpression?)> Parameters()
    {
        List<(string, TemplateExpression?)> parameters = [];
        Expect("(");
        while (!Take(")"))
        {
            if (parameters.Count > 0) Expect(",");
            if (Take(")")) break;
            var name = ExpectName();
            var absent = Take("=") ? Expression() : null;
            if (absent is null && parameters.Exists(parameter => parameter.Item2 is not null)) throw Unexpected("a default value");
            parameters.Add((name, absent));
        }
        return parameters;
    }

    private WithStatement With()
    {
        List<(AssignTarget, TemplateExpression)> names = [];
        while (Now.Kind != TokenKind.BlockEnd)
        {
            if (names.Count > 0) Expect(",");
            var target = Target(withAttributes: false, end: null, single: true);
            Expect("=");
            names.Add((target, Expression()));
        }
        return new WithStatement(names, Until("endwith"));
    }

    private AssignTarget Target(bool withAttributes, string? end, bool single = false)
    {
        List<AssignTarget> targets = [One(withAttributes)];
        var several = false;
        while (!single && Take(","))
        {
            several = true;
            if (Now.Is("=") || (end is not null && Now.IsName(end))) break;
            targets.Add(One(withAttributes));
        }
        return several ? new AssignTarget(null, null, targets) : targets[0];
    }

    private AssignTarget One(bool withAttributes)
    {
        if (Take("("))
        {
            var inner = Target(withAttributes, end: null);
            Expect(")");
            return inner;
        }
        var name = ExpectName();
        if (name is "true" or "false" or "none" or "True" or "False" or "None") throw TemplateException.At(Now.Line, $"'{name}' cannot be set.");
        return new AssignTarget(name, withAttributes && Take(".") ? ExpectName() : null, null);
    }

    /// <summary>The end of this tag, a body, and the tag that ends it.</summary>
    private List<TemplateStatement> Until(string end)
    {
        EndTag();
        var body = Body(end);
        Close(end);
        return body;
    }

    private List<TemplateStatement> Close(string end)
    {
        if (!TakeName(end)) throw Unexpected($"'{end}'");
        EndTag();
        return [];
    }

    private void EndTag()
    {
        Take(":");
        if (Now.Kind != TokenKind.BlockEnd) throw Unexpected("'%}'");
        Next();
    }
}
