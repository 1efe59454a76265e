namespace Chat.Models.Templates;

/// <summary>Why a loop's body ended before its end.</summary>
internal enum LoopExit { None, Break, Continue }

/// <summary>A statement of a template, or text between statements.</summary>
internal abstract record TemplateStatement
{
    public LoopExit Execute(TemplateRun run)
    {
        run.Budget.Step();
        return Do(run);
    }

    protected abstract LoopExit Do(TemplateRun run);

    public static LoopExit All(IReadOnlyList<TemplateStatement> body, TemplateRun run)
    {
        foreach (var statement in body)
            if (statement.Execute(run) is var exit and not LoopExit.None) return exit;
        return LoopExit.None;
    }
}

internal sealed record DataStatement(string Text) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        run.Write(Text);
        return LoopExit.None;
    }
}

internal sealed record PrintStatement(TemplateExpression Shown) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        run.Write(TemplateText.Print(Shown.Value(run)));
        return LoopExit.None;
    }
}

internal sealed record IfStatement(IReadOnlyList<(TemplateExpression Condition, IReadOnlyList<TemplateStatement> Body)> Branches, IReadOnlyList<TemplateStatement> Else) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        foreach (var (condition, body) in Branches)
            if (TemplateValues.IsTrue(condition.Value(run))) return All(body, run);
        return All(Else, run);
    }
}

/// <summary>A loop. Each round has a scope of its own; the filter is asked before rounds are counted.</summary>
internal sealed record ForStatement(AssignTarget Target, TemplateExpression Items, TemplateExpression? Filter, IReadOnlyList<TemplateStatement> Body, IReadOnlyList<TemplateStatement> Else, bool Recursive) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        Loop(run, Items.Value(run), depth: 1);
        return LoopExit.None;
    }

    private void Loop(TemplateRun run, object? items, int depth)
    {
        List<object?> kept = [];
        foreach (var item in TemplateValues.Items(items))
        {
            var keep = true;
            if (Filter is not null) run.Inside(() =>
            {
                Target.Assign(run, item);
                keep = TemplateValues.IsTrue(Filter.Value(run));
            });
            if (keep) kept.Add(item);
        }
        var loop = new NamespaceValue();
        for (var i = 0; i < kept.Count; i++)
        {
            var (index, exit) = (i, LoopExit.None);
            run.Budget.Step();
            run.Inside(() =>
            {
                Describe(run, loop, kept, index, depth);
                run.Set("loop", loop);
                Target.Assign(run, kept[index]);
                exit = All(Body, run);
            });
            if (exit == LoopExit.Break) break;
        }
        if (kept.Count == 0) All(Else, run);
    }

    private void Describe(TemplateRun run, NamespaceValue loop, List<object?> items, int at, int depth)
    {
        var about = loop.Attributes;
        about["index"] = at + 1L;
        about["index0"] = (long)at;
        about["revindex"] = (long)items.Count - at;
        about["revindex0"] = items.Count - at - 1L;
        about["first"] = at == 0;
        about["last"] = at == items.Count - 1;
        about["length"] = (long)items.Count;
        about["depth"] = (long)depth;
        about["depth0"] = depth - 1L;
        about["previtem"] = at > 0 ? items[at - 1] : new Undefined("the item before the first");
        about["nextitem"] = at + 1 < items.Count ? items[at + 1] : new Undefined("the item behind the last");
        if (at > 0) return;
        about["cycle"] = new FunctionValue("cycle", arguments => arguments.Positional.Count == 0 ? throw new TemplateException("The chat template calls 'loop.cycle' without values.")
            : arguments.Positional[(int)((long)about["index0"]! % arguments.Positional.Count)]);
        List<object?>? last = null;
        about["changed"] = new FunctionValue("changed", arguments =>
        {
            var same = last is not null && TemplateValues.AreEqual(last, arguments.Positional.ToList());
            last = [.. arguments.Positional];
            return !same;
        });
        if (Recursive) loop.Call = new FunctionValue("loop", arguments => run.Capture(() => Loop(run, arguments.Bind("loop", "items")[0], depth + 1)));
    }
}

internal sealed record LoopExitStatement(LoopExit Exit) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run) => Exit;
}

internal sealed record SetStatement(AssignTarget Target, TemplateExpression Assigned) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        Target.Assign(run, Assigned.Value(run));
        return LoopExit.None;
    }
}

/// <summary>What the body writes becomes a name's value, filters applied.</summary>
internal sealed record SetBlockStatement(AssignTarget Target, IReadOnlyList<Filtered> Filters, IReadOnlyList<TemplateStatement> Body) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        Target.Assign(run, Filtered.Apply(Filters, run.Capture(() => run.Inside(() => All(Body, run))), run));
        return LoopExit.None;
    }
}

internal sealed record FilterStatement(IReadOnlyList<Filtered> Filters, IReadOnlyList<TemplateStatement> Body) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        run.Write(TemplateText.Print(Filtered.Apply(Filters, run.Capture(() => run.Inside(() => All(Body, run))), run)));
        return LoopExit.None;
    }
}

internal sealed record WithStatement(IReadOnlyList<(AssignTarget Target, TemplateExpression Value)> Names, IReadOnlyList<TemplateStatement> Body) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        var values = Names.Select(name => name.Value.Value(run)).ToArray();
        var exit = LoopExit.None;
        run.Inside(() =>
        {
            for (var i = 0; i < values.Length; i++) Names[i].Target.Assign(run, values[i]);
            exit = All(Body, run);
        });
        return exit;
    }
}

/// <summary>A body with a scope of its own.</summary>
internal sealed record ScopeStatement(IReadOnlyList<TemplateStatement> Body) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        var exit = LoopExit.None;
        run.Inside(() => exit = All(Body, run));
        return exit;
    }
}

/// <summary>Makes a function that writes its body and gives it as a text.</summary>
internal sealed record MacroStatement(string Name, IReadOnlyList<(string Name, TemplateExpression? Default)> Parameters, IReadOnlyList<TemplateStatement> Body) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        run.Set(Name, Function(run));
        return LoopExit.None;
    }

    public FunctionValue Function(TemplateRun run)
    {
        var home = run.Present;
        return new FunctionValue(Name, arguments => run.Capture(() => run.Inside(() => Bind(run, arguments), home)));
    }

    private void Bind(TemplateRun run, CallArguments arguments)
    {
        string[] names = [.. Parameters.Select(parameter => parameter.Name)];
        var known = arguments.Named.Where(pair => names.Contains(pair.Key)).ToDictionary();
        var values = new CallArguments(run, [.. arguments.Positional.Take(names.Length)], known).Bind(Name, names);
        run.Set("varargs", new TupleValue(arguments.Positional.Skip(names.Length)));
        var others = new DictValue();
        foreach (var (name, value) in arguments.Named)
            if (!known.ContainsKey(name) && name != "caller") others[name] = value;
        run.Set("kwargs", others);
        if (arguments.Named.TryGetValue("caller", out var caller)) run.Set("caller", caller);
        for (var i = 0; i < names.Length; i++)
            run.Set(names[i], CallArguments.Given(values[i]) ? values[i] : Parameters[i].Default is { } absent ? absent.Value(run) : new Undefined($"'{names[i]}'"));
        All(Body, run);
    }
}

/// <summary>Calls a macro with the body as its <c>caller</c>.</summary>
internal sealed record CallStatement(Call Called, MacroStatement Body) : TemplateStatement
{
    protected override LoopExit Do(TemplateRun run)
    {
        var arguments = Called.Arguments with { Named = [.. Called.Arguments.Named, ("caller", new Literal(Body.Function(run)))] };
        run.Write(TemplateText.Print((Called with { Arguments = arguments }).Value(run)));
        return LoopExit.None;
    }
}

/// <summary>Where a value goes: a name, an attribute of a namespace, or several of them.</summary>
internal sealed record AssignTarget(string? Name, string? Attribute, IReadOnlyList<AssignTarget>? Several)
{
    public void Assign(TemplateRun run, object? value)
    {
        if (Several is not null)
        {
            var items = TemplateValues.Items(value);
            if (items.Count != Several.Count) throw new TemplateException($"The chat template takes {items.Count} values apart into {Several.Count} names.");
            for (var i = 0; i < items.Count; i++) Several[i].Assign(run, items[i]);
        }
        else if (Attribute is null) run.Set(Name!, value);
        else if (run.Find(Name!) is NamespaceValue { IsOpen: true } space) space.Attributes[Attribute] = value;
        else throw new TemplateException($"The chat template sets '{Attribute}' of '{Name}', which is no namespace.");
    }
}
