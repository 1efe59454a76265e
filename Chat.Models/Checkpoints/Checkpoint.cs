using System.Text.Json;

namespace Chat.Models.Checkpoints;

/// <summary>
/// The weights of a model folder: <c>model.safetensors</c>, or the shards its index names. All headers are checked when opened.
/// When both are present the single file is read. Reading is thread-safe.
/// </summary>
public sealed class Checkpoint : IDisposable
{
    public const string SingleFile = "model.safetensors";
    public const string IndexFile = "model.safetensors.index.json";
    private const long LargestIndex = 16 << 20;
    private readonly List<SafetensorsFile> files;
    private readonly Dictionary<string, (SafetensorsFile File, TensorEntry Entry)> tensors;

    private Checkpoint(List<SafetensorsFile> files, Dictionary<string, (SafetensorsFile, TensorEntry)> tensors) => (this.files, this.tensors) = (files, tensors);

    public IEnumerable<TensorEntry> Entries => tensors.Values.Select(tensor => tensor.Entry);

    /// <exception cref="CheckpointException">See <see cref="CheckpointErrors"/>.</exception>
    public static Checkpoint OpenFolder(string folder)
    {
        var single = Path.Combine(folder, SingleFile);
        if (File.Exists(single)) return OpenFile(single);
        var index = Path.Combine(folder, IndexFile);
        return File.Exists(index) ? OpenShards(folder, WeightMap(index))
            : throw new CheckpointException(CheckpointErrors.MissingFile, $"Neither {SingleFile} nor {IndexFile} is in {folder}.");
    }

    /// <exception cref="CheckpointException">See <see cref="CheckpointErrors"/>.</exception>
    public static Checkpoint OpenFile(string path)
    {
        var file = SafetensorsFile.Open(path);
        return new Checkpoint([file], file.Entries.ToDictionary(pair => pair.Key, pair => (file, pair.Value)));
    }

    public TensorEntry? Find(string name) => tensors.TryGetValue(name, out var tensor) ? tensor.Entry : null;

    /// <summary>A tensor that the model needs, of the shape and kind it needs.</summary>
    /// <exception cref="CheckpointException"><c>missing_tensor</c>, <c>shape_mismatch</c> or <c>bad_dtype</c>.</exception>
    public TensorEntry Require(string name, params IReadOnlyList<long> shape)
    {
        var entry = Find(name) ?? throw new CheckpointException(CheckpointErrors.MissingTensor, $"The weights have no tensor '{name}'.");
        if (!entry.Shape.SequenceEqual(shape)) throw new CheckpointException(CheckpointErrors.ShapeMismatch, $"{entry.Describe()} should have the shape [{string.Join(", ", shape)}].");
        if (!entry.IsFloat) throw new CheckpointException(CheckpointErrors.BadDtype, $"{entry.Describe()} is a weight: it must be F32, F16 or BF16.");
        return entry;
    }

    /// <inheritdoc cref="SafetensorsFile.Read"/>
    public void Read(TensorEntry entry, long from, Span<byte> target) => tensors[entry.Name].File.Read(entry, from, target);

    /// <inheritdoc cref="SafetensorsFile.CheckFinite(TensorEntry)"/>
    public void CheckFinite(TensorEntry entry) => tensors[entry.Name].File.CheckFinite(entry);

    public void Dispose() => files.ForEach(file => file.Dispose());

    private static Checkpoint OpenShards(string folder, Dictionary<string, string> weightMap)
    {
        var files = new Dictionary<string, SafetensorsFile>();
        try
        {
            foreach (var shard in weightMap.Values.Distinct()) CheckPlainName(shard);       // all names before any file is touched
            foreach (var shard in weightMap.Values.Distinct()) files.Add(shard, SafetensorsFile.Open(Path.Combine(folder, shard)));
            var tensors = new Dictionary<string, (SafetensorsFile, TensorEntry)>();
            foreach (var (name, shard) in weightMap)
            {
                if (!files[shard].Entries.TryGetValue(name, out var entry))
                    throw new CheckpointException(CheckpointErrors.BadIndex, $"{IndexFile} puts '{name}' into {shard}, which does not have it.");
                tensors.Add(name, (files[shard], entry));
            }
            foreach (var (shard, file) in files)
                foreach (var name in file.Entries.Keys)
                    if (weightMap.TryGetValue(name, out var other) && other != shard)
                        throw new CheckpointException(CheckpointErrors.BadIndex, $"'{name}' stands in {shard} too, {IndexFile} puts it into {other}.");
            return new Checkpoint([.. files.Values], tensors);
        }
        catch
        {
            foreach (var file in files.Values) file.Dispose();
            throw;
        }
    }

    internal static Dictionary<string, string> WeightMap(string path)
    {
        if (new FileInfo(path).Length > LargestIndex) throw new CheckpointException(CheckpointErrors.BadIndex, $"{Path.GetFileName(path)} is larger than {LargestIndex} bytes.");
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path), new JsonDocumentOptions { AllowDuplicateProperties = false });
            if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object)
                throw new CheckpointException(CheckpointErrors.BadIndex, $"{Path.GetFileName(path)} has no object 'weight_map'.");
            return map.EnumerateObject().ToDictionary(pair => pair.Name, pair => pair.Value.ValueKind == JsonValueKind.String
                ? pair.Value.GetString()!
                : throw new CheckpointException(CheckpointErrors.BadIndex, $"{Path.GetFileName(path)} gives no file name for '{pair.Name}'."));
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new CheckpointException(CheckpointErrors.BadIndex, $"{Path.GetFileName(path)} is not JSON: {error.Message}", error);
        }
    }

    internal static void CheckPlainName(string shard)
    {
        if (shard.Length == 0 || shard == "." || shard.Contains("..", StringComparison.Ordinal) || shard.AsSpan().ContainsAny("/\\:\0") || Path.IsPathRooted(shard))
            throw new CheckpointException(CheckpointErrors.PathTraversal, $"The index names the shard '{shard}', which is not a plain file name.");
    }
}
