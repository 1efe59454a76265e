using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>What a served model can do, as far as options are concerned.</summary>
/// <param name="WritesEveryByte">See <see cref="TokenTable.WritesEveryByte"/>.</param>
public sealed record DecodingLimits(int MaxTokens, int Rows, int VocabularySize, bool HasAntonyms, bool WritesEveryByte = true);

/// <summary>Options as they will be used. <see cref="Spelled"/> has every one of them by its wire name.</summary>
public sealed record ResolvedDecoding(string Name, IDecodingStrategy Strategy, DecodingOptions Options)
{
    public JsonObject Spelled() => OptionBinder.Write(Name, Options);
}

/// <summary>
/// The strategies and rules of a plugin catalog, and the way from what a client asks to options that hold. Thread-safe.
/// An option is taken from the request, else from the configuration (<c>Decoding:Default</c>), else from the model's default, else from the
/// strategy's. A default that names a strategy speaks for that strategy: for another one, only its minTokens, maxTokens and stop hold.
/// </summary>
public sealed class DecodingCatalog
{
    private const string StrategyKey = "strategy", FallbackStrategy = "sample";
    private static readonly string[] OfAnyStrategy = ["minTokens", "maxTokens", "stop"];

    private readonly Dictionary<string, IDecodingStrategy> strategies;
    private readonly ILogitsRule[] rules;

    public DecodingCatalog(PluginCatalog plugins)
    {
        strategies = plugins.OfKind("decoding").ToDictionary(p => p.Name, p => Create<IDecodingStrategy>(p));
        rules = [.. plugins.OfKind("rule").Select(p => (p.Name, Rule: Create<ILogitsRule>(p))).OrderBy(r => r.Rule.Stage).ThenBy(r => r.Name, StringComparer.Ordinal).Select(r => r.Rule)];
    }

    public IReadOnlyDictionary<string, IDecodingStrategy> Strategies => strategies;
    public IReadOnlyList<ILogitsRule> Rules => rules;

    /// <summary>The rules that these options switch on, at the start of a reply.</summary>
    public RowRules StartRules(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        new([.. rules.Select(r => r.Start(options, tokens, dialogue)).OfType<IRowRule>()]);

    /// <param name="drawSeed">Asked when nobody names a seed.</param>
    /// <exception cref="GenerationException">Unknown strategy or option, a value out of range, or more tokens than the model can write.</exception>
    public ResolvedDecoding Resolve(JsonObject? request, JsonObject? configured, JsonObject? model, DecodingLimits limits, Func<long> drawSeed)
    {
        RefuseDuplicates(request);
        var name = StrategyOf(request) ?? StrategyOf(configured) ?? StrategyOf(model) ?? FallbackStrategy;
        var strategy = strategies.TryGetValue(name, out var found) ? found : throw Invalid($"No decoding strategy '{name}'. Known: {string.Join(", ", strategies.Keys.Order(StringComparer.Ordinal))}.", StrategyKey);

        var options = strategy.Defaults with { MaxTokens = Math.Min(strategy.Defaults.MaxTokens, limits.MaxTokens) };
        options = options with { Antonyms = options.Antonyms && limits.HasAntonyms };
        var given = new HashSet<string>();
        foreach (var layer in new[] { model, configured })
            foreach (var (key, value) in Present(layer))
                if (OptionBinder.Knows(options, key) && (StrategyOf(layer) is null || StrategyOf(layer) == name || OfAnyStrategy.Contains(key)))
                {
                    options = OptionBinder.With(options, key, value);
                    if (key == "seed") given.Add(key);
                }
        options = options with { MaxTokens = Math.Min(options.MaxTokens, limits.MaxTokens) };

        foreach (var (key, value) in Present(request))
        {
            if (!OptionBinder.Knows(options, key)) throw Invalid($"Strategy '{name}' has no option '{(key.Length <= 40 ? key : key[..40] + "…")}'. Known: {string.Join(", ", OptionBinder.Names(options))}.", key);
            options = OptionBinder.With(options, key, value);
            given.Add(key);
        }
        if (options.IsGuided) options = WithoutRepetitionRules(options, given);
        if (!given.Contains("seed")) options = options with { Seed = drawSeed() };
        return new(name, strategy, Fit(name, strategy, options, given, limits));
    }

    /// <summary>Checks a default (of a model, of the configuration) at start: options of any strategy, or of the one it names.</summary>
    /// <exception cref="GenerationException">As <see cref="Resolve"/>.</exception>
    public void CheckDefault(JsonObject? layer, DecodingLimits limits)
    {
        if (StrategyOf(layer) is not null)
        {
            Resolve(layer, null, null, limits, () => 0);
            return;
        }
        foreach (var (key, value) in Present(layer))
        {
            var knowing = strategies.Values.Select(s => s.Defaults).FirstOrDefault(o => OptionBinder.Knows(o, key))
                ?? throw Invalid($"No strategy has an option '{key}'. Known: {string.Join(", ", strategies.Values.SelectMany(s => OptionBinder.Names(s.Defaults)).Distinct().Order(StringComparer.Ordinal))}.", key);
            OptionBinder.With(knowing, key, value);
        }
    }

    // A given form repeats itself by nature, and says itself when it is whole: what a strategy does against repetition and short replies by default would only spoil it.
    private static DecodingOptions WithoutRepetitionRules(DecodingOptions options, HashSet<string> given) => options with
    {
        RepetitionPenalty = given.Contains("repetitionPenalty") ? options.RepetitionPenalty : 1,
        NoRepeatNgram = given.Contains("noRepeatNgram") ? options.NoRepeatNgram : 0,
        Antonyms = given.Contains("antonyms") && options.Antonyms,
        EqualLines = given.Contains("equalLines") && options.EqualLines,
        MinTokens = given.Contains("minTokens") ? options.MinTokens : 0,
    };

    private DecodingOptions Fit(string name, IDecodingStrategy strategy, DecodingOptions options, HashSet<string> given, DecodingLimits limits)
    {
        if (options.MaxTokens > limits.MaxTokens)
            throw new GenerationException(GenerationError.TooLong, $"maxTokens {options.MaxTokens} is more than this model can write: at most {limits.MaxTokens}.", "maxTokens");
        if (options.MinTokens > options.MaxTokens)
        {
            if (given.Contains("minTokens")) throw Invalid($"minTokens {options.MinTokens} is above maxTokens {options.MaxTokens}.", "minTokens");
            options = options with { MinTokens = options.MaxTokens };
        }
        if (options.Antonyms && !limits.HasAntonyms) throw Invalid("antonyms: this model has no antonym list.", "antonyms");
        if (options.IsGuided && !limits.WritesEveryByte)
            throw Invalid("This model's vocabulary has no token for some bytes, so its replies cannot be held to a form.", options.GuidedRegex is null ? "guidedJson" : "guidedRegex");
        foreach (var rule in rules) rule.Check(options);
        foreach (var id in options.LogitBias.Keys)
            if (id >= limits.VocabularySize) throw Invalid($"logitBias: this model has no token {id}, only 0 to {limits.VocabularySize - 1}.", "logitBias");
        if (strategy.Width(options) > limits.Rows) throw Invalid($"Strategy '{name}' would need {strategy.Width(options)} rows, this model runs at most {limits.Rows} at once.",
            options switch { BeamOptions => "numBeams", ContrastiveOptions => "candidates", _ => StrategyKey });
        return options;
    }

    private static string? StrategyOf(JsonObject? layer) => layer?[StrategyKey] switch
    {
        null => null,
        JsonValue value when value.TryGetValue<string>(out var name) => name,
        _ => throw Invalid("strategy must be a string.", StrategyKey),
    };

    // A parsed object finds out about keys that stand twice only when it is first read, and then throws ArgumentException.
    private static void RefuseDuplicates(JsonObject? request)
    {
        try { _ = request?.Count; }
        catch (ArgumentException) { throw Invalid("A decoding option stands twice.", "decoding"); }
    }

    private static IEnumerable<(string Key, JsonNode Value)> Present(JsonObject? layer)
    {
        foreach (var (key, value) in layer ?? [])
            if (key != StrategyKey && value is not null) yield return (key, value);
    }

    private static GenerationException Invalid(string message, string parameter) => new(GenerationError.InvalidOption, message, parameter);

    private static T Create<T>(PluginDescription plugin) => plugin.Type.GetConstructor([]) is { } constructor ? (T)constructor.Invoke(null)
        : throw new InvalidOperationException($"Plugin {plugin.Type} has no public constructor without parameters.");
}
