using Chat.Domain.Plugins;
using Chat.Domain.Safety;
using Chat.Safety;

namespace Chat.Api.Operations;

/// <summary>Configuration section <c>Safety</c>.</summary>
public sealed record SafetyOptions
{
    /// <summary>Names of the safety plugins that judge every text; empty = all three shipped ones.</summary>
    public string[] Filters { get; init; } = [];

    /// <summary>Whether the shipped word list is used beside the configured words.</summary>
    public bool ShippedWords { get; init; } = true;

    /// <summary>Words that refuse a text, words that are masked in it, and phrases that silence a word which they cover.</summary>
    public string[] Words { get; init; } = [];
    public string[] Masked { get; init; } = [];
    public string[] Allow { get; init; } = [];

    /// <summary>UTF-16 units that a stream may hold back before it is refused.</summary>
    public int HoldLimit { get; init; } = 256;
}

public static class SafetySetup
{
    private static readonly string[] DefaultFilters = ["words", "email", "phone"];

    /// <summary>
    /// Registers the one <see cref="SafetyPolicy"/> that all text passes, in and out. Input: <c>Check</c>; a refused message is answered by a
    /// refusal, a masked one goes to the model masked. Output: <c>OpenGate</c> a reply. Unknown filter names fail the start.
    /// </summary>
    public static WebApplicationBuilder AddSafety(this WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton(services =>
        {
            var options = builder.Configuration.GetSection("Safety").Get<SafetyOptions>() ?? new();
            var words = (options.ShippedWords ? WordList.Shipped : WordList.Empty).With(new(options.Words, options.Masked, options.Allow));
            var catalog = services.GetRequiredService<PluginCatalog>();
            var names = options.Filters.Length == 0 ? DefaultFilters : options.Filters;
            var filters = names.Select(name => Create(services, catalog.Get("safety", name).Type, words)).ToList();
            return new SafetyPolicy(filters, options.HoldLimit, new SafetyAudit(services.GetRequiredService<ILogger<SafetyAudit>>()).Record);
        });
        return builder;
    }

    // A filter takes the word list if its constructor asks for it, and any service of the container.
    private static ISafetyFilter Create(IServiceProvider services, Type type, WordList words)
    {
        var takesWords = type.GetConstructors().Any(c => c.GetParameters().Any(p => p.ParameterType == typeof(WordList)));
        return (ISafetyFilter)ActivatorUtilities.CreateInstance(services, type, takesWords ? [words] : []);
    }
}
