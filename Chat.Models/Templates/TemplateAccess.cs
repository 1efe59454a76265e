namespace Chat.Models.Templates;

/// <summary>
/// Attributes, items and slices. <c>a.b</c> looks for a method first and for an item then, <c>a['b']</c> the other way round. Nothing of .NET or of Python is in sight: methods are those
/// listed here and in <see cref="TextMethods"/>, and none changes a value.
/// </summary>
internal static class TemplateAccess
{
    // Methods of Python's dict that change it: present, so that no item is taken for them, and refused.
    private static readonly HashSet<string> ChangesDict = ["clear", "fromkeys", "pop", "popitem", "setdefault", "update"];

    public static object? Attribute(object? holder, string name)
    {
        switch (holder)
        {
            case Undefined missing: throw missing.Error();
            case NamespaceValue space: return space.Attributes.TryGetValue(name, out var value) ? value : Missing(name);
            case string text: return (object?)TextMethods.Find(text, name) ?? Missing(name);
            case DictValue dict:
                if (DictMethod(dict, name) is { } method) return method;
                return ChangesDict.Contains(name) ? Missing(name) : dict.TryGetValue(name, out var item) ? item : Missing(name);
            case GroupValue group when name is "grouper" or "list": return group[name == "grouper" ? 0 : 1];
            case List<object?> list: return (object?)ListMethod(list, name) ?? Missing(name);
            default: return Missing(name);
        }
    }

    public static object? Item(object? holder, object? index)
    {
        switch (holder)
        {
            case Undefined missing: throw missing.Error();
            case DictValue dict when index is not (DictValue or List<object?> and not TupleValue) && dict.TryGetValue(DictValue.Key(index), out var value): return value;
            case List<object?> list when TemplateValues.IsWhole(index, out var at):
                at += at < 0 ? list.Count : 0;
                return at >= 0 && at < list.Count ? list[(int)at] : Missing($"element {at}");
            case string text when TemplateValues.IsWhole(index, out var at):
                var characters = TemplateText.Characters(text);
                at += at < 0 ? characters.Count : 0;
                return at >= 0 && at < characters.Count ? characters[(int)at] : Missing($"element {at}");
        }
        return index is string name && holder is not DictValue ? Attribute(holder, name)
            : index is string key && holder is DictValue held && DictMethod(held, key) is { } method ? method
            : Missing(index is string word ? word : $"element {TemplateText.Print(index)}");
    }

    public static object? Slice(object? holder, long? start, long? stop, long? step, TemplateBudget budget)
    {
        if (holder is not (string or List<object?>)) throw TemplateValues.Unfit("a text or list to slice", holder);
        if (step == 0) throw new TemplateException("The chat template slices in steps of zero.");
        var characters = holder is string text ? TemplateText.Characters(text) : null;
        var list = holder as List<object?>;
        long count = characters?.Count ?? list!.Count, by = step ?? 1;
        var (from, to) = by > 0 ? (Clamp(start ?? 0, 0, count), Clamp(stop ?? count, 0, count)) : (Clamp(start ?? count - 1, -1, count - 1), stop is { } end ? Clamp(end, -1, count - 1) : -1);
        var places = new List<int>();
        for (var at = from; by > 0 ? at < to : at > to; at += by) places.Add((int)at);
        budget.Make(places.Count);
        if (characters is not null) return string.Concat(places.Select(at => characters[at]));
        var items = places.Select(at => list![at]);
        return list is TupleValue ? new TupleValue(items) : items.ToList();

        long Clamp(long bound, long least, long most) => Math.Clamp(bound < 0 ? bound + count : bound, least, most);
    }

    private static Undefined Missing(string name) => new($"'{name}'");

    private static FunctionValue? DictMethod(DictValue dict, string name) => name switch
    {
        "get" => new(name, arguments =>
        {
            var values = arguments.Bind(name, "key", "default");
            return dict.TryGetValue(DictValue.Key(values[0]), out var value) ? value : CallArguments.Or(values[1], null);
        }),
        "items" => new(name, _ => Pairs(dict)),
        "keys" => new(name, _ => dict.Keys.Select(DictValue.FromKey).ToList()),
        "values" => new(name, _ => dict.Values.ToList()),
        "copy" => new(name, _ =>
        {
            var copy = new DictValue();
            foreach (var (key, value) in dict) copy[key] = value;
            return copy;
        }),
        _ => null,
    };

    public static List<object?> Pairs(DictValue dict) => [.. dict.Select(pair => new TupleValue([DictValue.FromKey(pair.Key), pair.Value]))];

    private static FunctionValue? ListMethod(List<object?> list, string name) => name switch
    {
        "index" => new(name, arguments =>
        {
            var wanted = arguments.Bind(name, "value")[0];
            var at = list.FindIndex(each => TemplateValues.AreEqual(each, wanted));
            return at >= 0 ? (long)at : throw new TemplateException("The chat template looks for the place of something that is not in the list.");
        }),
        "count" => new(name, arguments => (long)list.Count(each => TemplateValues.AreEqual(each, arguments.Bind(name, "value")[0]))),
        "copy" when list is not TupleValue => new(name, _ => list.ToList()),
        _ => null,
    };
}
