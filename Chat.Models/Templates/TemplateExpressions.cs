namespace Chat.Models.Templates;

/// <summary>An expression of a template. <see cref="Value"/> pays for itself.</summary>
internal abstract record TemplateExpression
{
    public object? Value(TemplateRun run)
    {
        run.Budget.Step();
        return Evaluate(run);
    }

    protected abstract object? Evaluate(TemplateRun run);
}

internal sealed record Literal(object? Constant) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => Constant;
}

internal sealed record NameOf(string Name) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => run.Find(Name);
}

internal sealed record ListOf(IReadOnlyList<TemplateExpression> Items, bool IsTuple) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run)
    {
        var values = Items.Select(item => item.Value(run));
        return IsTuple ? new TupleValue(values) : values.ToList();
    }
}

internal sealed record DictOf(IReadOnlyList<(TemplateExpression Key, TemplateExpression Value)> Pairs) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run)
    {
        var dict = new DictValue();
        foreach (var (key, value) in Pairs) dict[DictValue.Key(key.Value(run))] = value.Value(run);
        return dict;
    }
}

internal sealed record Negation(TemplateExpression Operand) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => !TemplateValues.IsTrue(Operand.Value(run));
}

/// <summary>«and», «or»: the value that decides, unchanged.</summary>
internal sealed record Junction(TemplateExpression Left, TemplateExpression Right, bool IsAnd) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run)
    {
        var left = Left.Value(run);
        return TemplateValues.IsTrue(left) == IsAnd ? Right.Value(run) : left;
    }
}

/// <summary>a &lt; b &lt;= c …, true when every neighbouring pair is.</summary>
internal sealed record Comparison(TemplateExpression First, IReadOnlyList<(string Operator, TemplateExpression Operand)> Others) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run)
    {
        var left = First.Value(run);
        foreach (var (sign, operand) in Others)
        {
            var right = operand.Value(run);
            if (!Holds(sign, left, right)) return false;
            left = right;
        }
        return true;
    }

    private static bool Holds(string sign, object? left, object? right) => sign switch
    {
        "==" => TemplateValues.AreEqual(left, right),
        "!=" => !TemplateValues.AreEqual(left, right),
        "<" => TemplateValues.Compare(left, right) < 0,
        "<=" => TemplateValues.Compare(left, right) <= 0,
        ">" => TemplateValues.Compare(left, right) > 0,
        ">=" => TemplateValues.Compare(left, right) >= 0,
        "in" => TemplateValues.Contains(right, left),
        _ => !TemplateValues.Contains(right, left),
    };
}

internal sealed record Arithmetic(string Operator, TemplateExpression Left, TemplateExpression Right) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => TemplateArithmetic.Apply(Operator, Left.Value(run), Right.Value(run), run.Budget);
}

internal sealed record Signed(TemplateExpression Operand, bool Negative) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => Operand.Value(run) switch
    {
        double real => Negative ? -real : real,
        var value when TemplateValues.IsWhole(value, out var whole) => Negative ? TemplateArithmetic.Apply("-", 0L, whole, run.Budget) : whole,
        var other => TemplateValues.Refuse<object>("a number", other),
    };
}

/// <summary>a ~ b ~ …: each printed, one behind the other.</summary>
internal sealed record Concatenation(IReadOnlyList<TemplateExpression> Parts) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => run.Budget.Made(string.Concat(Parts.Select(part => TemplateText.Print(part.Value(run)))));
}

internal sealed record Conditional(TemplateExpression Then, TemplateExpression Condition, TemplateExpression? Else) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => TemplateValues.IsTrue(Condition.Value(run)) ? Then.Value(run)
        : Else is not null ? Else.Value(run) : new Undefined("an inline if without an else");
}

internal sealed record AttributeOf(TemplateExpression Holder, string Name) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => TemplateAccess.Attribute(Holder.Value(run), Name);
}

internal sealed record ItemOf(TemplateExpression Holder, TemplateExpression Index) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => TemplateAccess.Item(Holder.Value(run), Index.Value(run));
}

internal sealed record SliceOf(TemplateExpression Holder, TemplateExpression? Start, TemplateExpression? Stop, TemplateExpression? Step) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => TemplateAccess.Slice(Holder.Value(run), Bound(Start, run), Bound(Stop, run), Bound(Step, run), run.Budget);

    private static long? Bound(TemplateExpression? bound, TemplateRun run) => bound?.Value(run) is { } value ? TemplateValues.Whole(value) : null;
}

/// <summary>The arguments of a call as they are written; the last two spread a list and a dict.</summary>
internal sealed record ArgumentList(IReadOnlyList<TemplateExpression> Positional, IReadOnlyList<(string Name, TemplateExpression Value)> Named, TemplateExpression? Spread, TemplateExpression? NamedSpread)
{
    public static readonly ArgumentList None = new([], [], null, null);

    public CallArguments Evaluate(TemplateRun run, params ReadOnlySpan<object?> before)
    {
        List<object?> positional = [.. before];
        positional.AddRange(Positional.Select(argument => argument.Value(run)));
        if (Spread is not null) positional.AddRange(TemplateValues.Items(Spread.Value(run)));
        var named = Named.ToDictionary(pair => pair.Name, pair => pair.Value.Value(run));
        if (NamedSpread is not null)
            foreach (var (key, value) in NamedSpread.Value(run) as DictValue ?? throw new TemplateException("The chat template spreads something that is no dict."))
                if (!named.TryAdd(TemplateValues.Text(key), value)) throw new TemplateException($"The chat template gives the argument '{key}' twice.");
        return new CallArguments(run, positional, named);
    }
}

internal sealed record Call(TemplateExpression Function, ArgumentList Arguments, int Line) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => Function.Value(run) switch
    {
        FunctionValue function => function.Call(Arguments.Evaluate(run)),
        NamespaceValue { Call: { } function } => function.Call(Arguments.Evaluate(run)),
        Undefined missing => throw missing.Error(),
        var other => throw TemplateException.At(Line, $"{TemplateValues.Kind(other)} cannot be called."),
    };
}

/// <summary>A filter that is not known is an error where it is reached: templates name some in branches that never run.</summary>
internal sealed record Filtered(TemplateExpression? Operand, string Name, ArgumentList Arguments) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => Apply(Operand!.Value(run), run);

    private object? Apply(object? value, TemplateRun run) => TemplateFilters.Find(Name)(Arguments.Evaluate(run, value));

    /// <summary>Filters one behind the other on what a block wrote.</summary>
    public static object? Apply(IEnumerable<Filtered> filters, string text, TemplateRun run)
    {
        object? value = text;
        foreach (var filter in filters) value = filter.Apply(value, run);
        return value;
    }
}

internal sealed record Tested(TemplateExpression Operand, string Name, ArgumentList Arguments) : TemplateExpression
{
    protected override object? Evaluate(TemplateRun run) => TemplateTests.Find(Name)(Arguments.Evaluate(run, Operand.Value(run)));
}
