namespace Chat.Models.Templates;

/// <summary>Filters of lists, dicts and other things one can go through. Where Jinja2 gives a generator, these give a list.</summary>
internal static class SequenceFilters
{
    public static IReadOnlyDictionary<string, Func<CallArguments, object?>> Known { get; } = new Dictionary<string, Func<CallArguments, object?>>
    {
        ["length"] = a => Length(TemplateFilters.One(a, "length")),
        ["count"] = a => Length(TemplateFilters.One(a, "count")),
        ["first"] = a => TemplateValues.Items(TemplateFilters.One(a, "first")) is [var first, ..] ? first : new Undefined("the first of nothing"),
        ["last"] = a => TemplateValues.Items(TemplateFilters.One(a, "last")) is [.., var last] ? last : new Undefined("the last of nothing"),
        ["list"] = a => TemplateValues.Items(TemplateFilters.One(a, "list")).ToList(),
        ["reverse"] = a => TemplateFilters.One(a, "reverse") is string text ? string.Concat(TemplateText.Characters(text).Reverse()) : Enumerable.Reverse(TemplateValues.Items(a.Positional[0])).ToList(),
        ["join"] = Join,
        ["map"] = Map,
        ["select"] = a => Select(a, byAttribute: false, keeps: true),
        ["reject"] = a => Select(a, byAttribute: false, keeps: false),
        ["selectattr"] = a => Select(a, byAttribute: true, keeps: true),
        ["rejectattr"] = a => Select(a, byAttribute: true, keeps: false),
        ["sort"] = Sort,
        ["unique"] = Unique,
        ["min"] = a => Extreme(a, "min", sign: -1),
        ["max"] = a => Extreme(a, "max", sign: 1),
        ["sum"] = Sum,
        ["items"] = a => TemplateFilters.One(a, "items") is var v && v is DictValue dict ? TemplateAccess.Pairs(dict) : v is Undefined ? new List<object?>() : throw TemplateValues.Unfit("a dict", v),
        ["dictsort"] = DictSort,
        ["groupby"] = GroupBy,
        ["batch"] = Batch,
        ["slice"] = Slice,
    };

    private static long Length(object? value) => value switch
    {
        string text => TemplateText.Length(text),
        List<object?> list => list.Count,
        DictValue dict => dict.Count,
        Undefined => 0,
        _ => throw TemplateValues.Unfit("something that has a length", value),
    };

    private static string Join(CallArguments arguments)
    {
        var values = arguments.Bind("join", "value", "d", "attribute");
        var items = Picked(values[0], CallArguments.Or(values[2], null)).Select(TemplateText.Print).ToArray();
        var mark = TemplateText.Print(CallArguments.Or(values[1], ""));
        arguments.Run.Budget.Make(items.Sum(item => (long)item.Length) + (long)mark.Length * items.Length);
        return string.Join(mark, items);
    }

    private static List<object?> Map(CallArguments arguments)
    {
        var items = TemplateValues.Items(arguments.Positional[0]);
        if (arguments.Named.TryGetValue("attribute", out var attribute) && arguments.Positional.Count == 1)
        {
            var given = arguments.Named.TryGetValue("default", out var absent);
            return [.. items.Select(item => Attribute(item, attribute) is var value && value is Undefined && given ? absent : value)];
        }
        if (arguments.Positional.Count < 2) throw new TemplateException("'map' in the chat template lacks a filter or an attribute.");
        var name = TemplateValues.Text(arguments.Positional[1]);
        var filter = TemplateFilters.Find(name);
        return [.. items.Select(item => Each(arguments, item, filter, skipped: 2))];
    }

    private static List<object?> Select(CallArguments arguments, bool byAttribute, bool keeps)
    {
        var skipped = byAttribute ? 2 : 1;
        if (arguments.Positional.Count < skipped) throw new TemplateException("'selectattr' or 'rejectattr' in the chat template lacks the name of an attribute.");
        Func<CallArguments, bool> test = each => TemplateValues.IsTrue(each.Positional[0]);
        if (arguments.Positional.Count > skipped) test = TemplateTests.Find(TemplateValues.Text(arguments.Positional[skipped]));
        return [.. TemplateValues.Items(arguments.Positional[0]).Where(item => Each(arguments, byAttribute ? Attribute(item, arguments.Positional[1]) : item, test, skipped + 1) == keeps)];
    }

    private static T Each<T>(CallArguments arguments, object? item, Func<CallArguments, T> function, int skipped)
    {
        arguments.Run.Budget.Step();
        return function(arguments with { Positional = [item, .. arguments.Positional.Skip(skipped)] });
    }

    private static List<object?> Sort(CallArguments arguments)
    {
        var values = arguments.Bind("sort", "value", "reverse", "case_sensitive", "attribute");
        var order = Order(TemplateValues.IsTrue(CallArguments.Or(values[2], false)));
        var names = CallArguments.Or(values[3], null) is string attributes ? attributes.Split(',') : [];
        object?[] Keys(object? item) => names.Length == 0 ? [item] : [.. names.Select(name => Attribute(item, name))];
        var items = TemplateValues.Items(values[0]).Select(item => (Item: item, Keys: Keys(item)));
        var comparer = Comparer<object?[]>.Create((one, other) => one.Zip(other, order).FirstOrDefault(result => result != 0));
        // Both ways stable, as Python's.
        return [.. (TemplateValues.IsTrue(CallArguments.Or(values[1], false)) ? Sorted(items.OrderByDescending(pair => pair.Keys, comparer)) : Sorted(items.OrderBy(pair => pair.Keys, comparer)))];

        static IEnumerable<object?> Sorted(IEnumerable<(object? Item, object?[] Keys)> pairs)
        {
            try
            {
                return [.. pairs.Select(pair => pair.Item)];
            }
            catch (InvalidOperationException error) when (error.InnerException is TemplateException inner)
            {
                throw inner;
            }
        }
    }

    private static Func<object?, object?, int> Order(bool caseSensitive) => (one, other) => TemplateValues.Compare(Folded(one, caseSensitive), Folded(other, caseSensitive));

    private static object? Folded(object? value, bool caseSensitive) => value is string text && !caseSensitive ? text.ToLowerInvariant() : value;

    private static List<object?> Unique(CallArguments arguments)
    {
        var values = arguments.Bind("unique", "value", "case_sensitive", "attribute");
        var (sensitive, attribute) = (TemplateValues.IsTrue(CallArguments.Or(values[1], false)), CallArguments.Or(values[2], null));
        List<object?> kept = [];
        var seen = new DictValue();
        foreach (var item in TemplateValues.Items(values[0]))
            if (seen.TryAdd(DictValue.Key(Folded(attribute is null ? item : Attribute(item, attribute), sensitive)), null)) kept.Add(item);
        return kept;
    }

    private static object? Extreme(CallArguments arguments, string name, int sign)
    {
        var values = arguments.Bind(name, "value", "case_sensitive", "attribute");
        var (items, attribute) = (TemplateValues.Items(values[0]), CallArguments.Or(values[2], null));
        if (items.Count == 0) return new Undefined($"the {name} of nothing");
        var order = Order(TemplateValues.IsTrue(CallArguments.Or(values[1], false)));
        object? Key(object? item) => attribute is null ? item : Attribute(item, attribute);
        return items.Aggregate((best, item) => order(Key(item), Key(best)) * sign > 0 ? item : best);
    }

    private static object? Sum(CallArguments arguments)
    {
        var values = arguments.Bind("sum", "value", "attribute", "start");
        return Picked(values[0], CallArguments.Or(values[1], null)).Aggregate(CallArguments.Or(values[2], 0L), (sum, item) => TemplateArithmetic.Apply("+", sum, item, arguments.Run.Budget));
    }

    private static List<object?> DictSort(CallArguments arguments)
    {
        var values = arguments.Bind("dictsort", "value", "case_sensitive", "by", "reverse");
        if (values[0] is not DictValue dict) throw TemplateValues.Unfit("a dict", values[0]);
        var at = TemplateValues.Text(CallArguments.Or(values[2], "key")) switch { "key" => 0L, "value" => 1L, var other => throw new TemplateException($"'dictsort' in the chat template sorts by key or value, not by '{other}'.") };
        var order = Order(TemplateValues.IsTrue(CallArguments.Or(values[1], false)));
        var pairs = TemplateAccess.Pairs(dict);
        var sign = TemplateValues.IsTrue(CallArguments.Or(values[3], false)) ? -1 : 1;
        var sorted = pairs.Select((pair, place) => (pair, place)).ToList();
        // An insertion sort by hand: few keys, stable, and errors of comparing come out as they are.
        for (var i = 1; i < sorted.Count; i++)
            for (var j = i; j > 0 && order(TemplateAccess.Item(sorted[j].pair, at), TemplateAccess.Item(sorted[j - 1].pair, at)) * sign < 0; j--)
            {
                arguments.Run.Budget.Step();
                (sorted[j], sorted[j - 1]) = (sorted[j - 1], sorted[j]);
            }
        return [.. sorted.Select(each => each.pair)];
    }

    private static List<object?> GroupBy(CallArguments arguments)
    {
        var values = arguments.Bind("groupby", "value", "attribute", "default", "case_sensitive");
        var order = Order(TemplateValues.IsTrue(CallArguments.Or(values[3], false)));
        object? Key(object? item) => Attribute(item, values[1]) is var key && key is Undefined && CallArguments.Given(values[2]) ? values[2] : key;
        List<(object? Key, List<object?> Items)> groups = [];
        foreach (var item in TemplateValues.Items(values[0]))
        {
            arguments.Run.Budget.Step();
            var key = Key(item);
            var at = groups.FindIndex(group => order(group.Key, key) >= 0);
            if (at >= 0 && order(groups[at].Key, key) == 0) groups[at].Items.Add(item);
            else groups.Insert(at < 0 ? groups.Count : at, (key, [item]));
        }
        return [.. groups.Select(group => new GroupValue(group.Key, group.Items))];
    }

    private static List<object?> Batch(CallArguments arguments)
    {
        var values = arguments.Bind("batch", "value", "linecount", "fill_with");
        var size = (int)Math.Clamp(TemplateValues.Whole(TemplateFilters.Needed(values[1], "batch")), 1, int.MaxValue);
        List<object?> rows = [.. TemplateValues.Items(values[0]).Chunk(size).Select(row => row.ToList())];
        if (CallArguments.Or(values[2], null) is { } fill && rows is [.., List<object?> last])
        {
            arguments.Run.Budget.Make(size);
            last.AddRange(Enumerable.Repeat(fill, size - last.Count));
        }
        return rows;
    }

    private static List<object?> Slice(CallArguments arguments)
    {
        var values = arguments.Bind("slice", "value", "slices", "fill_with");
        var (items, slices) = (TemplateValues.Items(values[0]), TemplateValues.Whole(TemplateFilters.Needed(values[1], "slice")));
        if (slices < 1) throw new TemplateException("'slice' in the chat template makes at least one part.");
        arguments.Run.Budget.Make(slices);
        var (each, longer, at) = ((int)(items.Count / slices), (int)(items.Count % slices), 0);
        List<object?> parts = [];
        for (var i = 0; i < slices; i++)
        {
            var size = each + (i < longer ? 1 : 0);
            var part = items.GetRange(at, size);
            if (CallArguments.Or(values[2], null) is { } fill && i >= longer && longer > 0) part.Add(fill);
            parts.Add(part);
            at += size;
        }
        return parts;
    }

    private static IEnumerable<object?> Picked(object? value, object? attribute) => TemplateValues.Items(value).Select(item => attribute is null ? item : Attribute(item, attribute));

    /// <summary>«a.b.0» from the outside in.</summary>
    private static object? Attribute(object? item, object? name) => name is string path
        ? path.Split('.').Aggregate(item, (value, part) => TemplateAccess.Item(value, long.TryParse(part, out var index) ? index : part)) : TemplateAccess.Item(item, name);
}
