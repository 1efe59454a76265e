using Chat.Models.Architectures;

namespace Chat.Models.Checkpoints;

/// <summary>The known families of models, and what each needs of a checkpoint. A new family is one entry.</summary>
public static class ModelFamilies
{
    public const string Eva = "eva";
    public const string T5 = "t5";
    public const string Bert = "bert";

    private static readonly Dictionary<string, Func<ConfigFile, Checkpoint, IEnumerable<StoredWeight>>> Families = Known();

    private static readonly Dictionary<string, string> Architectures = new()
    {
        ["EVAModel"] = Eva,
        ["T5ForConditionalGeneration"] = T5,
        ["MT5ForConditionalGeneration"] = T5,
        ["BertModel"] = Bert,
        ["GPT2LMHeadModel"] = "gpt2",
        ["LlamaForCausalLM"] = "llama",
        ["MistralForCausalLM"] = "mistral",
        ["Qwen2ForCausalLM"] = "qwen2",
        ["Qwen3ForCausalLM"] = "qwen3",
    };

    /// <summary>
    /// Checks a model folder as far as it can be without computing: configuration, headers, names, shapes, and every number finite. Uses a
    /// fixed small amount of memory whatever the files claim.
    /// </summary>
    /// <exception cref="CheckpointException">What is wrong; see <see cref="CheckpointErrors"/>.</exception>
    public static void Check(string folder)
    {
        var config = ConfigFile.Load(Path.Combine(folder, ModelFolder.ConfigFileName));
        var family = Of(config);
        using var checkpoint = Checkpoint.OpenFolder(folder);
        foreach (var entry in Families[family](config, checkpoint).Select(weight => weight.Entry).Distinct().ToArray()) checkpoint.CheckFinite(entry);
    }

    /// <summary>The family of a configuration: its <c>model_type</c>, or what its <c>architectures</c> name first.</summary>
    /// <exception cref="CheckpointException"><c>unsupported</c>; the message lists the known ones.</exception>
    public static string Of(ConfigFile config)
    {
        var family = config.Text("model_type") ?? (config.FirstText("architectures") is { } name ? Architectures.GetValueOrDefault(name, name) : throw config.Bad("model_type", "is missing"));
        if (family == "mt5") family = T5;                   // T5 1.1 with another vocabulary
        return Families.ContainsKey(family) ? family
            : throw new CheckpointException(CheckpointErrors.Unsupported, $"Models of type '{family}' are not known. Known: {string.Join(", ", Families.Keys.Order(StringComparer.Ordinal))}.");
    }

    private static Dictionary<string, Func<ConfigFile, Checkpoint, IEnumerable<StoredWeight>>> Known()
    {
        var known = new Dictionary<string, Func<ConfigFile, Checkpoint, IEnumerable<StoredWeight>>>
        {
            [Eva] = (config, checkpoint) => EvaWeights.Locate(EncoderDecoderConfig.Read(config), checkpoint).Weights,
            [T5] = (config, checkpoint) => EvaWeights.Locate(EncoderDecoderConfig.Read(config), checkpoint).Weights,
            [Bert] = (config, checkpoint) => EncoderWeights.Locate(EncoderConfig.Read(config), checkpoint).Weights,
        };
        foreach (var (name, family) in DecoderConfigFile.Families)
            known.Add(name, (config, checkpoint) => DecoderWeights.Locate(DecoderConfigFile.Read(config, family), checkpoint).Weights);
        return known;
    }
}
