using System.Globalization;
using Chat.Api.Conversations;
using Chat.Api.Hosts;
using Chat.Api.Identity;
using Chat.Api.OpenAi;
using Chat.Api.Store;
using Chat.Domain.Plugins;

namespace Chat.Api.Operations;

/// <summary>
/// Whether all that is set below our own sections is a setting: a mistyped one would be passed over in silence, and what it should have changed would stay as it was. A section
/// or name that is not ours is refused only where it all but is one of ours: other programs' variables stand in the same environment.
/// </summary>
internal static class SettingNames
{
    /// <summary>A section's settings are the properties of its record, and what is read by name. No record: its parts are checked where they are read.</summary>
    private sealed record Section(Type? Record, params string[] Names)
    {
        /// <summary>Not ours alone.</summary>
        public bool IsShared { get; init; }
    }

    private static readonly Dictionary<string, Section> Sections = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Data"] = new(null, "Folder", "ErasedTextSeconds"),
        ["Models"] = new(typeof(ModelsOptions)),
        ["Hosts"] = new(typeof(HostsOptions)),
        ["Limits"] = new(typeof(LimitSettings), "HeaderSeconds", "BodyGraceSeconds"),
        ["Replies"] = new(typeof(ReplySettings)),
        ["Retention"] = new(typeof(Retention)),
        ["Training"] = new(typeof(TrainingSettings)),
        ["Safety"] = new(typeof(SafetyOptions)),
        ["Plugins"] = new(typeof(PluginFolderOptions)),
        ["OpenAi"] = new(typeof(OpenAiOptions)),
        ["Decoding"] = new(null, "Default"),
        ["Bots"] = new(null),
        ["ConnectionStrings"] = new(null, "Redis") { IsShared = true },
        ["Authentication"] = new(null, "Schemes", "DefaultScheme") { IsShared = true },
        ["Authentication:Schemes"] = new(null, "Bearer") { IsShared = true },
        ["Authentication:Schemes:Bearer"] = new(null, "ValidIssuer", "ValidIssuers", "ValidAudience", "ValidAudiences", "SigningKeys", "Authority", "MetadataAddress", "RequireHttpsMetadata") { IsShared = true },
    };

    /// <exception cref="InvalidOperationException">Names that are none, each with the nearest that is.</exception>
    public static void Check(IConfiguration configuration)
    {
        string[] top = [.. Sections.Keys.Where(name => !name.Contains(':', StringComparison.Ordinal))];
        var wrong = configuration.GetChildren().Where(child => child.GetChildren().Any()).SelectMany(child => Unknown(child, top, isShared: true)).ToList();
        foreach (var (name, section) in Sections)
        {
            var configured = configuration.GetSection(name);
            if (section.Record is { } record) wrong.AddRange(Below(configured, record, section.Names));
            else if (section.Names.Length > 0) wrong.AddRange(configured.GetChildren().SelectMany(child => Unknown(child, section.Names, section.IsShared)));
        }
        if (wrong.Count > 0) throw new InvalidOperationException(string.Join(' ', wrong));
    }

    /// <summary>What is wrong below a section that a record is bound to.</summary>
    private static IEnumerable<string> Below(IConfigurationSection section, Type record, params string[] more)
    {
        var properties = record.GetProperties().Where(property => property.CanWrite).ToDictionary(property => property.Name, property => property.PropertyType, StringComparer.OrdinalIgnoreCase);
        if (!string.IsNullOrEmpty(section.Value)) yield return $"{section.Path} is no setting itself, those below it are: {section.Path}:{properties.Keys.First()} for instance.";
        foreach (var child in section.GetChildren())
            foreach (var wrong in properties.TryGetValue(child.Key, out var type) ? OfType(child, type) : Unknown(child, [.. properties.Keys, .. more], isShared: false)) yield return wrong;
    }

    private static IEnumerable<string> OfType(IConfigurationSection setting, Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        IConfigurationSection[] children = [.. setting.GetChildren()];
        if (type.IsArray)
            return children.Any(child => !int.TryParse(child.Key, NumberStyles.None, CultureInfo.InvariantCulture, out _)) || !string.IsNullOrEmpty(setting.Value) ? [$"{setting.Path} is a list: {setting.Path}:0, {setting.Path}:1 …"] : [];
        if (type.IsGenericType && type.GetGenericArguments() is [var key, var value] && key == typeof(string)) return children.SelectMany(child => OfType(child, value));
        if (type.IsPrimitive || type.IsEnum || type == typeof(string)) return children.Length > 0 ? [$"{setting.Path} is one value, and has none below it: {children[0].Path} is no setting."] : [];
        return Below(setting, type);
    }

    private static IEnumerable<string> Unknown(IConfigurationSection setting, string[] known, bool isShared)
    {
        if (known.Contains(setting.Key, StringComparer.OrdinalIgnoreCase)) return [];
        var nearest = known.MinBy(name => Distance(name, setting.Key))!;
        var isNear = Distance(nearest, setting.Key) <= (isShared ? Math.Min(2, nearest.Length / 4) : nearest.Length / 2);
        if (!isNear) return isShared ? [] : [$"{setting.Path} is no setting. Known: {string.Join(", ", known.Order(StringComparer.Ordinal))}."];
        var meant = setting.Path[..^setting.Key.Length] + nearest;
        return [$"{setting.Path} is no setting. Is {meant} meant ({meant.Replace(":", "__", StringComparison.Ordinal)} in the environment)?"];
    }

    /// <summary>Letters to insert, leave out or change (Levenshtein), whatever their case.</summary>
    internal static int Distance(string one, string other)
    {
        (one, other) = (one.ToUpperInvariant(), other.ToUpperInvariant());
        int[] row = [.. Enumerable.Range(0, other.Length + 1)];
        for (var i = 0; i < one.Length; i++)
        {
            var diagonal = row[0]++;
            for (var j = 0; j < other.Length; j++)
                (diagonal, row[j + 1]) = (row[j + 1], Math.Min(Math.Min(row[j], row[j + 1]) + 1, diagonal + (one[i] == other[j] ? 0 : 1)));
        }
        return row[other.Length];
    }
}
