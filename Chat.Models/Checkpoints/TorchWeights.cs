using static TorchSharp.torch;

namespace Chat.Models.Checkpoints;

/// <summary>Stored weights into modules, and modules into files: the part that every family shares.</summary>
public static class TorchWeights
{
    /// <summary>Fills a model's weights, converting types, and puts it into evaluation mode.</summary>
    /// <param name="weights">One for each of the model's parameters, by its name.</param>
    /// <exception cref="CheckpointException"><c>non_finite</c>.</exception>
    public static void Fill(nn.Module model, IReadOnlyDictionary<string, StoredWeight> weights, Checkpoint checkpoint)
    {
        using var gradients = no_grad();
        foreach (var (name, parameter) in model.named_parameters())
        {
            using var scope = NewDisposeScope();
            parameter.copy_(Read(weights[name], checkpoint));
        }
        model.eval();
    }

    /// <summary>Writes a model's weights under the names and in the layout of its family.</summary>
    /// <param name="place">Where the family stores each of the model's weights.</param>
    public static void Save(nn.Module model, string path, Func<string, StoredPart> place, ScalarType? dtype = null)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        var stored = model.named_parameters().Select(pair => (Place: place(pair.name), pair.parameter)).GroupBy(weight => weight.Place.Name).Select(parts =>
        {
            var transposed = parts.First().Place.Transposed;
            Tensor[] ordered = [.. parts.OrderBy(part => part.Place.Part).Select(part => transposed ? part.parameter.t() : part.parameter)];
            var whole = ordered.Length == 1 ? ordered[0] : cat(ordered, transposed ? 1 : 0);
            return (parts.Key, dtype is { } type ? whole.to_type(type) : whole);
        });
        SafetensorsWriter.Write(path, stored, new Dictionary<string, string> { ["format"] = "pt" });
    }

    private static Tensor Read(StoredWeight weight, Checkpoint checkpoint)
    {
        var (entry, place) = (weight.Entry, weight.Place);
        var type = entry.Dtype switch { "F32" => ScalarType.Float32, "F16" => ScalarType.Float16, _ => ScalarType.BFloat16 };
        if (place.Transposed)
        {
            var whole = empty([.. entry.Shape], type);
            checkpoint.Read(entry, 0, whole.bytes);
            return whole.narrow(1, place.Part * weight.Shape[0], weight.Shape[0]).t();
        }
        var tensor = empty([.. weight.Shape], type);
        checkpoint.Read(entry, (entry.End - entry.Begin) / place.Of * place.Part, tensor.bytes);
        return tensor;
    }
}
