using Chat.Models.Architectures;
using static TorchSharp.torch;

namespace Chat.Models.Checkpoints;

/// <summary>The weights of BERT-shaped encoders. Files of a model with a head have the prefix <c>bert.</c>; very old ones call a norm's weights gamma and beta.</summary>
public static class EncoderWeights
{
    private const int MostLabels = 1 << 20;
    private const string Classifier = "classifier.weight";
    private static readonly string[] Pooler = ["pooler.dense.weight", "pooler.dense.bias"];

    /// <summary>Every weight a configuration needs, with its shape, in the model's order. Lazy: a huge layer count costs nothing until it is walked.</summary>
    public static IEnumerable<(string Name, long[] Shape)> Needed(EncoderConfig config)
    {
        long c = config.Width, f = config.FeedForward;
        yield return ("embeddings.word_embeddings.weight", [config.VocabularySize, c]);
        yield return ("embeddings.position_embeddings.weight", [config.MaxPositions, c]);
        yield return ("embeddings.token_type_embeddings.weight", [config.TokenTypes, c]);
        yield return ("embeddings.LayerNorm.weight", [c]);
        yield return ("embeddings.LayerNorm.bias", [c]);
        for (var n = 0; n < config.Layers; n++)
        {
            var layer = $"encoder.layer.{n}";
            foreach (var (name, rows, columns) in new[]
            {
                ("attention.self.query", c, c), ("attention.self.key", c, c), ("attention.self.value", c, c), ("attention.output.dense", c, c), ("attention.output.LayerNorm", c, 0),
                ("intermediate.dense", f, c), ("output.dense", c, f), ("output.LayerNorm", c, 0),
            })
            {
                yield return ($"{layer}.{name}.weight", columns == 0 ? [rows] : [rows, columns]);
                yield return ($"{layer}.{name}.bias", [rows]);
            }
        }
        if (config.Pooler)
        {
            yield return (Pooler[0], [c, c]);
            yield return (Pooler[1], [c]);
        }
        if (config.Labels == 0) yield break;
        yield return (Classifier, [config.Labels, c]);
        yield return ("classifier.bias", [config.Labels]);
    }

    /// <summary>Checks that a checkpoint has all a configuration needs, from headers alone.</summary>
    /// <returns>The configuration (without a pooler when the checkpoint has none, with as many labels as its classifier has) and its weights, looked up as they are walked.</returns>
    /// <exception cref="CheckpointException"><c>missing_tensor</c>, <c>shape_mismatch</c> or <c>bad_dtype</c>, while walking.</exception>
    public static (EncoderConfig Config, IEnumerable<StoredWeight> Weights) Locate(EncoderConfig config, Checkpoint checkpoint)
    {
        if (Pooler.SelectMany(Places).All(place => checkpoint.Find(place.Name) is null)) config = config with { Pooler = false };
        // Heads of other tasks may have the name, but not the shape.
        if (checkpoint.Find(Classifier) is { Shape: [var labels and > 0 and <= MostLabels, var columns] } && columns == config.Width) config = config with { Labels = (int)labels };
        return (config, Needed(config).Select(weight => StoredWeight.Find(checkpoint, weight.Name, weight.Shape, Places(weight.Name))));
    }

    /// <summary>The model of a configuration with a checkpoint's weights, in evaluation mode. Types are converted to <paramref name="dtype"/>.</summary>
    /// <exception cref="CheckpointException">As <see cref="Locate"/>, or <c>non_finite</c>.</exception>
    public static Encoder Load(EncoderConfig config, Checkpoint checkpoint, Device? device = null, ScalarType? dtype = null)
    {
        (config, var weights) = Locate(config, checkpoint);
        var located = weights.ToDictionary(weight => weight.Name);
        var model = new Encoder(config, seed: null, device, dtype);
        TorchWeights.Fill(model, located, checkpoint);
        return model;
    }

    /// <summary>All weights, by the names of the bare model.</summary>
    public static void Save(Encoder model, string path, ScalarType? dtype = null) => TorchWeights.Save(model, path, name => new StoredPart(name), dtype);

    private static StoredPart[] Places(string name)
    {
        var old = name.Replace("LayerNorm.weight", "LayerNorm.gamma", StringComparison.Ordinal).Replace("LayerNorm.bias", "LayerNorm.beta", StringComparison.Ordinal);
        return [new(name), new($"bert.{name}"), new(old), new($"bert.{old}")];
    }
}
