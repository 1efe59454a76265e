using System.Globalization;

namespace Chat.Models.Templates;

/// <summary>Reads the expressions of templates, with Jinja2's precedences: or, and, not, comparisons, + −, ~, * / // %, **, sign, and behind a value . [ ] ( ) | is.</summary>
internal class ExpressionParser(IReadOnlyList<TemplateToken> tokens)
{
    // Operators in a row make a deep tree, which evaluation walks by recursion; no template comes near.
    private const int LongestChain = 500;
    private int at, chain;

    protected TemplateToken Now => tokens[at];

    protected TemplateToken Next() => tokens[at] is { Kind: TokenKind.End } end ? end : tokens[at++];

    protected bool Take(string symbol) => Now.Is(symbol) && Skip();

    protected bool TakeName(string name) => Now.IsName(name) && Skip();

    protected TemplateToken Expect(string symbol) => Now.Is(symbol) ? Next() : throw Unexpected($"'{symbol}'");

    protected string ExpectName() => Now.Kind == TokenKind.Name ? Next().Value : throw Unexpected("a name");

    protected TemplateException Unexpected(string due) => TemplateException.At(Now.Line, $"{Now} stands where {due} is due.");

    protected TemplateExpression Expression(bool conditional = true)
    {
        TemplateBudget.CheckDepth();
        var value = Or();
        while (conditional && TakeName("if"))
        {
            Count();
            var condition = Or();
            value = new Conditional(value, condition, TakeName("else") ? Expression() : null);
        }
        return value;
    }

    /// <summary>An expression, or several with commas between them: a tuple.</summary>
    /// <param name="explicitly">Parentheses stand around it, so that it may be empty.</param>
    protected TemplateExpression Tuple(bool conditional = true, bool explicitly = false, string? endName = null)
    {
        List<TemplateExpression> items = [];
        var several = false;
        while (!AtTupleEnd(endName))
        {
            items.Add(Expression(conditional));
            if (!Take(",")) break;
            several = true;
        }
        if (several || (explicitly && items.Count == 0)) return new ListOf(items, IsTuple: true);
        return items.Count == 1 ? items[0] : throw Unexpected("an expression");
    }

    private bool AtTupleEnd(string? endName) => Now.Kind is TokenKind.VariableEnd or TokenKind.BlockEnd or TokenKind.End || Now.Is(")") || (endName is not null && Now.IsName(endName));

    private bool Skip()
    {
        at++;
        return true;
    }

    private void Count()
    {
        if (++chain > LongestChain) throw TemplateException.At(Now.Line, $"an expression has more than {LongestChain} operators.");
    }

    /// <summary>Begins the count of operators anew: called for each statement.</summary>
    protected void StartChain() => chain = 0;

    private TemplateExpression Or() => Chain(And, "or", (left, right) => new Junction(left, right, IsAnd: false));

    private TemplateExpression And() => Chain(Not, "and", (left, right) => new Junction(left, right, IsAnd: true));

    private TemplateExpression Chain(Func<TemplateExpression> operand, string word, Func<TemplateExpression, TemplateExpression, TemplateExpression> join)
    {
        var left = operand();
        while (TakeName(word))
        {
            Count();
            left = join(left, operand());
        }
        return left;
    }

    private TemplateExpression Not()
    {
        if (!TakeName("not")) return Comparisons();
        Count();
        return new Negation(Not());
    }

    private TemplateExpression Comparisons()
    {
        var first = Sum();
        List<(string, TemplateExpression)> others = [];
        while (true)
        {
            var word = Now.Kind == TokenKind.Operator && Now.Value is "==" or "!=" or "<" or "<=" or ">" or ">=" ? Next().Value
                : TakeName("in") ? "in"
                : Now.IsName("not") && tokens[at + 1].IsName("in") && Skip() && Skip() ? "not in" : null;
            if (word is null) return others.Count == 0 ? first : new Comparison(first, others);
            others.Add((word, Sum()));
        }
    }

    private TemplateExpression Sum() => Binary(Joined, "+", "-");

    private TemplateExpression Joined()
    {
        var first = Product();
        if (!Now.Is("~")) return first;
        List<TemplateExpression> parts = [first];
        while (Take("~")) parts.Add(Product());
        return new Concatenation(parts);
    }

    private TemplateExpression Product() => Binary(Power, "*", "/", "//", "%");

    private TemplateExpression Power() => Binary(() => Unary(), "**");

    private TemplateExpression Binary(Func<TemplateExpression> operand, params string[] signs)
    {
        var left = operand();
        while (Now.Kind == TokenKind.Operator && signs.Contains(Now.Value))
        {
            Count();
            left = new Arithmetic(Next().Value, left, operand());
        }
        return left;
    }

    private TemplateExpression Unary(bool withFilters = true)
    {
        TemplateBudget.CheckDepth();
        var value = Now.Is("-") || Now.Is("+") ? new Signed(Negative: Next().Value == "-", Operand: Unary(withFilters: false)) : Primary();
        value = Postfix(value);
        return withFilters ? FiltersAndTests(value) : value;
    }

    private TemplateExpression Primary()
    {
        var token = Next();
        switch (token.Kind)
        {
            case TokenKind.Name:
                return token.Value switch
                {
                    "true" or "True" => new Literal(true),
                    "false" or "False" => new Literal(false),
                    "none" or "None" => new Literal(null),
                    _ => new NameOf(token.Value),
                };
            case TokenKind.Text:
                var text = token.Value;
                while (Now.Kind == TokenKind.Text) text += Next().Value;
                return new Literal(text);
            case TokenKind.Whole:
                return new Literal(long.TryParse(token.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var whole) ? whole : throw TemplateException.At(token.Line, $"the number {token.Value} is beyond 64 bits."));
            case TokenKind.Real:
                return new Literal(double.Parse(token.Value, CultureInfo.InvariantCulture));
        }
        if (token.Is("("))
        {
            var inner = Tuple(explicitly: true);
            Expect(")");
            return inner;
        }
        if (token.Is("[")) return new ListOf(Listed("]"), IsTuple: false);
        if (token.Is("{")) return Dict();
        at -= token.Kind == TokenKind.End ? 0 : 1;
        throw Unexpected("an expression");
    }

    private List<TemplateExpression> Listed(string close)
    {
        List<TemplateExpression> items = [];
        while (!Take(close))
        {
            if (items.Count > 0) Expect(",");
            if (Take(close)) break;
            items.Add(Expression());
        }
        return items;
    }

    private DictOf Dict()
    {
        List<(TemplateExpression, TemplateExpression)> pairs = [];
        while (!Take("}"))
        {
            if (pairs.Count > 0) Expect(",");
            if (Take("}")) break;
            var key = Expression();
            Expect(":");
            pairs.Add((key, Expression()));
        }
        return new DictOf(pairs);
    }

    private TemplateExpression Postfix(TemplateExpression value)
    {
        while (true)
        {
            if (Now.Is(".") || Now.Is("[")) value = Subscript(value);
            else if (Now.Is("(")) value = CallOf(value);
            else return value;
            Count();
        }
    }

    private TemplateExpression FiltersAndTests(TemplateExpression value)
    {
        while (true)
        {
            if (Now.Is("|")) value = Filter(value);
            else if (Now.IsName("is")) value = Test(value);
            else if (Now.Is("(")) value = CallOf(value);
            else return value;
            Count();
        }
    }

    private TemplateExpression Subscript(TemplateExpression value)
    {
        if (Take("."))
        {
            var name = Next();
            return name.Kind switch
            {
                TokenKind.Name => new AttributeOf(value, name.Value),
                TokenKind.Whole => new ItemOf(value, new Literal(long.Parse(name.Value, CultureInfo.InvariantCulture))),
                _ => throw TemplateException.At(name.Line, $"{name} stands where the name of an attribute is due."),
            };
        }
        Expect("[");
        var start = Now.Is(":") ? null : Expression();
        if (!Take(":"))
        {
            Expect("]");
            return new ItemOf(value, start!);
        }
        var stop = Now.Is(":") || Now.Is("]") ? null : Expression();
        var step = Take(":") && !Now.Is("]") ? Expression() : null;
        Expect("]");
        return new SliceOf(value, start, stop, step);
    }

    protected Call CallOf(TemplateExpression function) => new(function, Arguments(), Now.Line);

    private ArgumentList Arguments()
    {
        Expect("(");
        List<TemplateExpression> positional = [];
        List<(string, TemplateExpression)> named = [];
        TemplateExpression? spread = null, namedSpread = null;
        while (!Take(")"))
        {
            if (positional.Count + named.Count > 0 || spread is not null || namedSpread is not null) Expect(",");
            if (Take(")")) break;
            if (spread is null && Take("*")) spread = Expression();
            else if (namedSpread is null && Take("**")) namedSpread = Expression();
            else if (namedSpread is null && Now.Kind == TokenKind.Name && tokens[at + 1].Is("="))
            {
                var name = Next().Value;
                Next();
                if (named.Exists(each => each.Item1 == name)) throw TemplateException.At(Now.Line, $"the argument '{name}' stands twice.");
                named.Add((name, Expression()));
            }
            else if (named.Count == 0 && spread is null && namedSpread is null) positional.Add(Expression());
            else throw Unexpected("a named argument");
        }
        return new ArgumentList(positional, named, spread, namedSpread);
    }

    private Filtered Filter(TemplateExpression value)
    {
        Expect("|");
        return NamedFilter(value);
    }

    private Filtered NamedFilter(TemplateExpression? value)
    {
        var name = ExpectName();
        return new Filtered(value, name, Now.Is("(") ? Arguments() : ArgumentList.None);
    }

    /// <summary>Filters of a block: <c>name | name …</c>, the first without a bar when <paramref name="inline"/>.</summary>
    protected List<Filtered> BlockFilters(bool inline)
    {
        List<Filtered> filters = [];
        if (inline) filters.Add(NamedFilter(null));
        while (Take("|")) filters.Add(NamedFilter(null));
        return filters;
    }

    private TemplateExpression Test(TemplateExpression value)
    {
        Next();
        var negated = TakeName("not");
        var name = ExpectName();
        var arguments = ArgumentList.None;
        if (Now.Is("(")) arguments = Arguments();
        else if (Now.Kind is TokenKind.Name or TokenKind.Text or TokenKind.Whole or TokenKind.Real || Now.Is("[") || Now.Is("{"))
        {
            if (Now.IsName("is")) throw TemplateException.At(Now.Line, "tests cannot be chained with 'is'.");
            if (!(Now.IsName("else") || Now.IsName("or") || Now.IsName("and"))) arguments = new ArgumentList([Postfix(Primary())], [], null, null);
        }
        var test = new Tested(value, name, arguments);
        return negated ? new Negation(test) : test;
    }
}
