using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Chat.Models.Templates;

/// <summary>A name or attribute that is not there: prints as nothing and is false; anything else done with it is an error.</summary>
internal sealed record Undefined(string What)
{
    public TemplateException Error() => new($"The chat template uses {What}, which is not defined.");
}

/// <summary>Python's tuple.</summary>
internal class TupleValue(IEnumerable<object?> items) : List<object?>(items);

/// <summary>One group of <c>groupby</c>: a pair whose parts have names too.</summary>
internal sealed class GroupValue(object? key, List<object?> items) : TupleValue([key, items]);

/// <summary>Python's dict: keeps the order of insertion; 1, 1.0 and true are one key.</summary>
internal sealed class DictValue : OrderedDictionary<object, object?>
{
    public DictValue() : base(new SameKey()) { }

    /// <exception cref="TemplateException">A list or dict is no key.</exception>
    public static object Key(object? value) => value switch
    {
        null => None,
        Undefined missing => throw missing.Error(),
        DictValue => throw new TemplateException("The chat template uses a dict as a key."),
        List<object?> and not TupleValue => throw new TemplateException("The chat template uses a list as a key."),
        _ => value,
    };

    /// <summary>Stands for None, which a dictionary of .NET does not take as a key.</summary>
    public static readonly object None = new();

    public static object? FromKey(object key) => ReferenceEquals(key, None) ? null : key;

    private sealed class SameKey : IEqualityComparer<object>
    {
        public new bool Equals(object? x, object? y) => ReferenceEquals(x, y) || TemplateValues.AreEqual(x, y);

        public int GetHashCode(object value) => value switch
        {
            bool truth => (truth ? 1.0 : 0.0).GetHashCode(),
            long whole => ((double)whole).GetHashCode(),
            TupleValue tuple => tuple.Count,
            _ => value.GetHashCode(),
        };
    }
}

/// <summary>Something with attributes: what <c>namespace(…)</c> makes, the one thing whose attributes can be set, and a loop's description.</summary>
internal sealed class NamespaceValue
{
    public Dictionary<string, object?> Attributes { get; } = [];

    /// <summary>Whether a template may set attributes.</summary>
    public bool IsOpen { get; init; }

    /// <summary>What calling it does; a recursive loop can be called.</summary>
    public FunctionValue? Call { get; set; }
}

/// <summary>Something that can be called.</summary>
internal sealed record FunctionValue(string Name, Func<CallArguments, object?> Call);

/// <summary>Python's rules of truth, equality and order for the values of templates: null, bool, long, double, string, lists, tuples, dicts.</summary>
internal static class TemplateValues
{
    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool truth => truth,
        long whole => whole != 0,
        double real => real != 0,
        string text => text.Length > 0,
        List<object?> list => list.Count > 0,
        DictValue dict => dict.Count > 0,
        _ => true,
    };

    public static bool IsNumber(object? value) => value is bool or long or double;

    public static bool IsWhole(object? value, out long whole)
    {
        whole = value switch { bool truth => truth ? 1 : 0, long number => number, _ => 0 };
        return value is bool or long;
    }

    public static double Real(object? value) => value switch
    {
        bool truth => truth ? 1 : 0,
        long whole => whole,
        double real => real,
        _ => throw Unfit("a number", value),
    };

    public static long Whole(object? value) => IsWhole(value, out var whole) ? whole : throw Unfit("a whole number", value);

    public static string Text(object? value) => value as string ?? throw Unfit("a text", value);

    public static bool AreEqual(object? one, object? other)
    {
        TemplateBudget.CheckDepth();
        if (IsNumber(one) && IsNumber(other)) return IsWhole(one, out var a) && IsWhole(other, out var b) ? a == b : Real(one) == Real(other);
        return (one, other) switch
        {
            (null, null) or (Undefined, Undefined) => true,
            (string x, string y) => string.Equals(x, y, StringComparison.Ordinal),
            (List<object?> x, List<object?> y) when x is TupleValue != y is TupleValue => false,
            (List<object?> x, List<object?> y) => x.Count == y.Count && x.Zip(y).All(pair => AreEqual(pair.First, pair.Second)),
            (DictValue x, DictValue y) => x.Count == y.Count && x.All(pair => y.TryGetValue(pair.Key, out var value) && AreEqual(pair.Value, value)),
            _ => ReferenceEquals(one, other),
        };
    }

    /// <exception cref="TemplateException">Python has no order between the two.</exception>
    public static int Compare(object? one, object? other)
    {
        if (one is Undefined missing) throw missing.Error();
        if (other is Undefined absent) throw absent.Error();
        if (IsNumber(one) && IsNumber(other)) return IsWhole(one, out var a) && IsWhole(other, out var b) ? a.CompareTo(b) : Real(one).CompareTo(Real(other));
        if (one is string x && other is string y) return TemplateText.Compare(x, y);
        if (one is List<object?> left && other is List<object?> right && left is TupleValue == right is TupleValue)
        {
            foreach (var (first, second) in left.Zip(right))
                if (!AreEqual(first, second)) return Compare(first, second);
            return left.Count.CompareTo(right.Count);
        }
        throw new TemplateException($"The chat template compares {Kind(one)} with {Kind(other)}.");
    }

    /// <summary>Whether <paramref name="item"/> is in a text, list or dict.</summary>
    public static bool Contains(object? holder, object? item) => holder switch
    {
        string text => item is Undefined missing ? throw missing.Error() : text.Contains(Text(item), StringComparison.Ordinal),
        DictValue dict => dict.ContainsKey(DictValue.Key(item)),
        List<object?> list => list.Exists(each => AreEqual(each, item)),
        Undefined => false,
        _ => throw Unfit("something that holds others", holder),
    };

    /// <summary>The elements a loop goes through.</summary>
    public static List<object?> Items(object? value) => value switch
    {
        Undefined => [],
        List<object?> list => list,
        string text => [.. TemplateText.Characters(text)],
        DictValue dict => [.. dict.Keys.Select(DictValue.FromKey)],
        _ => throw Unfit("something to go through", value),
    };

    /// <summary>Python's word for the kind of a value.</summary>
    public static string Kind(object? value) => value switch
    {
        null => "None",
        Undefined => "something undefined",
        bool => "a boolean",
        long or double => "a number",
        string => "a text",
        TupleValue => "a tuple",
        List<object?> => "a list",
        DictValue => "a dict",
        _ => "a function",
    };

    [DoesNotReturn]
    public static T Refuse<T>(string wanted, object? value) => throw Unfit(wanted, value);

    public static TemplateException Unfit(string wanted, object? value) => value is Undefined missing ? missing.Error() : new($"The chat template needs {wanted} where it has {Kind(value)}.");

    /// <summary>JSON as template values: whole numbers stay whole.</summary>
    public static object? FromJson(JsonNode? node)
    {
        switch (node)
        {
            case null: return null;
            case JsonArray array: return array.Select(FromJson).ToList();
            case JsonObject fields:
                var dict = new DictValue();
                foreach (var (key, value) in fields) dict[key] = FromJson(value);
                return dict;
        }
        switch (node.GetValueKind())
        {
            case JsonValueKind.String: return node.GetValue<string>();
            case JsonValueKind.True: return true;
            case JsonValueKind.False: return false;
            default:
                var digits = node.ToJsonString();
                if (!digits.AsSpan().ContainsAny(".eE") && long.TryParse(digits, out var whole)) return whole;
                return double.Parse(digits, System.Globalization.CultureInfo.InvariantCulture);
        }
    }
}
