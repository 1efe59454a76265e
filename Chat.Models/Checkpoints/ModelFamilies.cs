using Chat.Models.Architectures;

namespace Chat.Models.Checkpoints;

/// <summary>Which weights, of which shape, each known family needs by its configuration. A new family is one entry.</summary>
public static class ModelFamilies
{
    private static readonly Dictionary<string, Func<ConfigFile, Checkpoint, IEnumerable<TensorEntry>>> Families = new()
    {
        ["eva"] = (config, checkpoint) => EvaWeights.Locate(EncoderDecoderConfig.Read(config), checkpoint).Places.Values.Select(place => place.Entry).Distinct(),
        ["llama"] = (config, checkpoint) => LlamaWeights.Needed(config).Select(weight => checkpoint.Require(weight.Name, weight.Shape)),
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
        foreach (var entry in Families[family](config, checkpoint).ToArray()) checkpoint.CheckFinite(entry);
    }

    private static readonly Dictionary<string, string> Architectures = new() { ["EVAModel"] = "eva", ["LlamaForCausalLM"] = "llama" };

    /// <summary>The family of a configuration: its <c>model_type</c>, or what its <c>architectures</c> name first.</summary>
    /// <exception cref="CheckpointException"><c>unsupported</c>; the message lists the known ones.</exception>
    public static string Of(ConfigFile config)
    {
        var family = config.Text("model_type") ?? (config.FirstText("architectures") is { } name ? Architectures.GetValueOrDefault(name, name) : throw config.Bad("model_type", "is missing"));
        return Families.ContainsKey(family) ? family
            : throw new CheckpointException(CheckpointErrors.Unsupported, $"Models of type '{family}' are not known. Known: {string.Join(", ", Families.Keys.Order(StringComparer.Ordinal))}.");
    }
}
