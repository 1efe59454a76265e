using System.Collections.Frozen;
using System.Reflection;

namespace Chat.Domain.Plugins;

/// <summary>Marks a contract whose implementations are plugins of one kind: <c>[PluginKind("decoding")]</c>.</summary>
[AttributeUsage(AttributeTargets.Interface | AttributeTargets.Class, Inherited = false)]
public sealed class PluginKindAttribute(string kind) : Attribute
{
    public string Kind { get; } = kind;
}

/// <summary>
/// Marks a plugin. The name is its identity everywhere: configuration, experiment arm, metrics label, PAPERS.md row,
/// conformance case. Lower case, hyphens, the paper's own word.
/// </summary>
[AttributeUsage(AttributeTargets.Class, Inherited = false)]
public sealed class PluginAttribute(string name) : Attribute
{
    public string Name { get; } = name;

    /// <summary>Where the method was published, for example <c>arXiv:2203.09313</c>.</summary>
    public string? Paper { get; init; }

    /// <summary>One sentence for people who choose.</summary>
    public string Summary { get; init; } = "";
}

/// <summary>One plugin as the catalog lists it.</summary>
public sealed record PluginDescription(string Kind, string Name, Type Type, string? Paper, string Summary);

/// <summary>
/// The read-only list of plugins, filled once at start from the given assemblies. A new plugin is one class; the
/// conformance suite of its kind finds it here. Thread-safe.
/// </summary>
public sealed class PluginCatalog
{
    private readonly FrozenDictionary<(string Kind, string Name), PluginDescription> plugins;

    /// <exception cref="InvalidOperationException">Two plugins of one kind have the same name, or a plugin has no or several kinds.</exception>
    public PluginCatalog(params IEnumerable<Assembly> assemblies)
    {
        var found = new Dictionary<(string, string), PluginDescription>();
        foreach (var type in assemblies.Distinct().SelectMany(a => a.GetTypes()))
        {
            if (type.GetCustomAttribute<PluginAttribute>(inherit: false) is not { } plugin) continue;
            var description = new PluginDescription(KindOf(type), plugin.Name, type, plugin.Paper, plugin.Summary);
            if (!found.TryAdd((description.Kind, description.Name), description))
                throw new InvalidOperationException($"Two plugins of kind '{description.Kind}' are named '{description.Name}': {found[(description.Kind, description.Name)].Type} and {type}.");
        }
        plugins = found.ToFrozenDictionary();
    }

    public IEnumerable<PluginDescription> All => plugins.Values.OrderBy(p => p.Kind, StringComparer.Ordinal).ThenBy(p => p.Name, StringComparer.Ordinal);

    public IEnumerable<PluginDescription> OfKind(string kind) => All.Where(p => p.Kind == kind);

    /// <exception cref="UnknownPluginException">No such plugin; the message lists the known ones.</exception>
    public PluginDescription Get(string kind, string name) =>
        plugins.TryGetValue((kind, name), out var plugin) ? plugin : throw new UnknownPluginException(kind, name, OfKind(kind).Select(p => p.Name));

    /// <summary>A new plugin of a contract that is marked <see cref="PluginKindAttribute"/>, one that needs nothing to be made.</summary>
    /// <exception cref="UnknownPluginException">No such plugin; the message lists the known ones.</exception>
    public T Create<T>(string name) where T : class => (T)Activator.CreateInstance(Get(typeof(T).GetCustomAttribute<PluginKindAttribute>()!.Kind, name).Type)!;

    private static string KindOf(Type type)
    {
        var kinds = type.GetInterfaces().Concat(BaseTypes(type))
            .Select(t => t.GetCustomAttribute<PluginKindAttribute>(inherit: false)?.Kind).OfType<string>().Distinct().ToArray();
        return kinds.Length == 1 ? kinds[0] : throw new InvalidOperationException($"Plugin {type} must implement exactly one contract marked [PluginKind], found: {string.Join(", ", kinds)}.");
    }

    private static IEnumerable<Type> BaseTypes(Type type)
    {
        for (var t = type.BaseType; t is not null; t = t.BaseType) yield return t;
    }
}

/// <summary>A name that no plugin of the kind has. The message is fit for a client.</summary>
public sealed class UnknownPluginException(string kind, string name, IEnumerable<string> known)
    : Exception($"No {kind} plugin '{name}'. Known: {string.Join(", ", known)}.")
{
    public string Kind { get; } = kind;
    public string Name { get; } = name;
}
