using System.Reflection;
using System.Runtime.Loader;
using System.Security.Cryptography;

namespace Chat.Domain.Plugins;

/// <summary>Says against which version of the contracts an external plugin assembly was built: <c>[assembly: PluginContract(PluginContract.Version)]</c>.</summary>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class PluginContractAttribute(int version) : Attribute
{
    public int Version { get; } = version;
}

public static class PluginContract
{
    /// <summary>Rises with every change of a contract that an assembly built before it would not survive.</summary>
    public const int Version = 1;
}

/// <summary>Configuration section <c>Plugins</c>.</summary>
public sealed record PluginFolderOptions
{
    /// <summary>Holds external plugins, NAME/NAME.dll each; <c>null</c>: there are none.</summary>
    public string? Folder { get; init; }

    /// <summary>The names that may stand there, each with its assembly's SHA-256 in hexadecimal digits, or <c>any</c>.</summary>
    public IReadOnlyDictionary<string, string> Allowed { get; init; } = new Dictionary<string, string>();
}

/// <summary>
/// Loads external plugin assemblies, all of them or none, each into a load context of its own: what it brings along is its own, the contracts are this program's. Nothing
/// that the list does not name is looked into, and of what it names no code runs before name, hash and contract version are right. Plugins have the process's rights: the list
/// says who is trusted, it is no sandbox.
/// </summary>
public static class PluginFolder
{
    private const string AnyHash = "any";

    /// <param name="contracts">Assemblies that external ones share with this program.</param>
    /// <exception cref="InvalidOperationException">The sentence says which assembly is refused, and why.</exception>
    public static IReadOnlyList<Assembly> Load(PluginFolderOptions options, IEnumerable<Assembly> contracts)
    {
        if (options.Folder is not { } folder) return [];
        if (!Directory.Exists(folder)) throw Refused($"Plugins:Folder '{folder}' is not a folder.");
        string[] names = [.. Directory.GetDirectories(folder).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];
        if (names.FirstOrDefault(name => !options.Allowed.ContainsKey(name)) is { } stranger)
            throw Refused($"Plugins:Folder holds '{stranger}', which Plugins:Allowed does not name. Allowed: {string.Join(", ", options.Allowed.Keys.Order(StringComparer.Ordinal))}.");
        if (options.Allowed.Keys.FirstOrDefault(name => !names.Contains(name)) is { } absent)
            throw Refused($"Plugins:Allowed names '{absent}', and '{folder}' has no such folder.");

        HashSet<string> shared = [.. contracts.Select(a => a.GetName().Name!)];
        return [.. names.Select(name => Load(name, Path.GetFullPath(Path.Combine(folder, name, name + ".dll")), options.Allowed[name], shared))];
    }

    private static Assembly Load(string name, string path, string hash, IReadOnlySet<string> shared)
    {
        if (!File.Exists(path)) throw Refused($"Plugin '{name}' has no {name}.dll.");
        var bytes = File.ReadAllBytes(path);                                               // read once: what was hashed is what runs
        var actual = Convert.ToHexStringLower(SHA256.HashData(bytes));
        if (hash != AnyHash && !hash.Equals(actual, StringComparison.OrdinalIgnoreCase)) throw Refused($"Plugin '{name}' has the SHA-256 {actual}, and Plugins:Allowed:{name} says '{hash}'.");
        try
        {
            var assembly = new Context(name, path, shared).LoadFromStream(new MemoryStream(bytes));
            var version = assembly.GetCustomAttribute<PluginContractAttribute>()?.Version
                ?? throw Refused($"Plugin '{name}' does not say for which contracts it was built: [assembly: PluginContract(PluginContract.Version)] is missing.");
            if (version != PluginContract.Version) throw Refused($"Plugin '{name}' was built for version {version} of the plugin contracts, this program has version {PluginContract.Version}: build it again against this program.");
            return assembly.GetTypes().Any(type => type.IsDefined(typeof(PluginAttribute), inherit: false)) ? assembly : throw Refused($"Plugin '{name}' holds no class marked [Plugin].");
        }
        catch (BadImageFormatException)
        {
            throw Refused($"Plugin '{name}': {name}.dll is no .NET assembly.");
        }
        catch (Exception error) when (error is ReflectionTypeLoadException or FileNotFoundException or FileLoadException or TypeLoadException)
        {
            var cause = error is ReflectionTypeLoadException { LoaderExceptions: [{ } first, ..] } ? first : error;
            throw Refused($"Plugin '{name}' cannot be loaded: {cause.Message}");
        }
    }

    private static InvalidOperationException Refused(string sentence) => new(sentence);

    private sealed class Context(string name, string path, IReadOnlySet<string> shared) : AssemblyLoadContext($"plugin {name}")
    {
        private readonly AssemblyDependencyResolver resolver = new(path);

        // null: the program's own
        protected override Assembly? Load(AssemblyName assembly) =>
            !shared.Contains(assembly.Name!) && resolver.ResolveAssemblyToPath(assembly) is { } found ? LoadFromAssemblyPath(found) : null;

        protected override nint LoadUnmanagedDll(string library) => resolver.ResolveUnmanagedDllToPath(library) is { } found ? LoadUnmanagedDllFromPath(found) : 0;
    }
}
