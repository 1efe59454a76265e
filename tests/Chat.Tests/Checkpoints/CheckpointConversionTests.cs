using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;

namespace Chat.Tests.Checkpoints;

public class CheckpointConversionTests
{
    private static readonly string Model = Golden.At("eva/models/m1");

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(4, false)]
    [InlineData(2, true)]
    public void EVAs_megatron_files_become_the_weights_that_the_Hugging_Face_branch_has(int ranks, bool rolesSplit)
    {
        using var folder = new TemporaryFolder();
        var source = Directory.CreateDirectory(folder.At("eva/222500")).Parent!.FullName;
        File.WriteAllText(Path.Combine(source, "latest_checkpointed_iteration.txt"), "222500\n");
        WriteRanks(Path.Combine(source, "222500"), ranks, rolesSplit);

        CheckpointConversion.Convert(source, folder.At("model"), PublishedConfig(folder), Path.Combine(Model, "vocab.txt"));

        AssertSameWeights(folder.At("model"));
        var opened = ModelFolder.Open(folder.At("model"));
        Assert.Equal(ModelFolder.Open(Model).Config with { MaxContext = opened.Config.MaxContext, MaxReply = opened.Config.MaxReply }, opened.Config);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_Hugging_Face_folder_keeps_its_names_and_files(bool shards)
    {
        using var folder = new TemporaryFolder();
        var source = Directory.CreateDirectory(folder.At("hf")).FullName;
        foreach (var name in new[] { "config.json", "vocab.txt" }) File.Copy(Path.Combine(Model, name), Path.Combine(source, name));
        var tensors = Read("model.safetensors").Select(tensor => new WrittenTensor(tensor.Name, "FloatStorage", tensor.Shape, tensor.Bytes, 4)).ToArray();
        if (shards)
        {
            var files = new[] { "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin" };
            TorchFileWriter.Write(Path.Combine(source, files[0]), tensors[..20]);
            TorchFileWriter.Write(Path.Combine(source, files[1]), tensors[20..]);
            var map = new JsonObject(tensors.Select((tensor, i) => KeyValuePair.Create(tensor.Name, (JsonNode?)files[i < 20 ? 0 : 1])));
            File.WriteAllText(Path.Combine(source, "pytorch_model.bin.index.json"), new JsonObject { ["weight_map"] = map }.ToJsonString());
        }
        else
        {
            TorchFileWriter.Write(Path.Combine(source, "pytorch_model.bin"), tensors);
        }

        Directory.CreateDirectory(folder.At("model.part"));
        File.WriteAllText(folder.At("model.part/tokenizer.json"), "of a conversion that was killed");
        Assert.Equal(tensors.Length, CheckpointConversion.Convert(source, folder.At("model")));
        Assert.Equal(["config.json", "model.safetensors", "vocab.txt"], Directory.EnumerateFiles(folder.At("model")).Select(Path.GetFileName).Order(StringComparer.Ordinal));

        AssertSameWeights(folder.At("model"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(Model, "config.json")), File.ReadAllBytes(folder.At("model/config.json")));
        Assert.Equal(ModelFolder.Open(Model).Description.Parameters, ModelFolder.Open(folder.At("model")).Description.Parameters);
    }

    [Fact]
    public void What_cannot_be_converted_leaves_no_folder_and_says_why()
    {
        using var folder = new TemporaryFolder();
        var source = Directory.CreateDirectory(folder.At("eva")).FullName;
        Assert.Contains("pytorch_model.bin", Error().Message, StringComparison.Ordinal);
        WriteRanks(source, 2, false);
        Assert.Contains("--config", Error().Message, StringComparison.Ordinal);
        Assert.Contains("--vocab", Error(PublishedConfig(folder)).Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(source, "mp_rank_00_model_states.pt"));
        Assert.Contains("rank 0", Error(PublishedConfig(folder)).Message, StringComparison.Ordinal);
        File.Move(Path.Combine(source, "mp_rank_01_model_states.pt"), Path.Combine(source, "mp_rank_00_model_states.pt"));     // half a model
        Assert.Equal(CheckpointErrors.ShapeMismatch, Error(PublishedConfig(folder), Path.Combine(Model, "vocab.txt")).Kind);
        File.WriteAllText(Path.Combine(source, "latest_checkpointed_iteration.txt"), "../elsewhere");
        Assert.Equal(CheckpointErrors.PathTraversal, Error(PublishedConfig(folder)).Kind);
        Assert.Equal(["config.json", "eva"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Throws<IOException>(() => CheckpointConversion.Convert(source, source));

        CheckpointException Error(string? config = null, string? vocabulary = null) => Assert.Throws<CheckpointException>(() => CheckpointConversion.Convert(source, folder.At("model"), config, vocabulary));
    }

    /// <summary>The golden configuration with only the keys of the published Megatron ones.</summary>
    private static string PublishedConfig(TemporaryFolder folder)
    {
        var published = JsonNode.Parse(File.ReadAllText(Golden.At("eva/published/eva2.0_base_model_config.json")))!.AsObject();
        var tiny = JsonNode.Parse(File.ReadAllText(Path.Combine(Model, "config.json")))!.AsObject();
        foreach (var key in published.Select(pair => pair.Key).ToArray()) if (tiny.ContainsKey(key)) published[key] = tiny[key]!.DeepClone();
        if (tiny["relative_attention_num_buckets"] is { } buckets) published["relative_attention_num_buckets"] = buckets.DeepClone();
        File.WriteAllText(folder.At("config.json"), published.ToJsonString());
        return folder.At("config.json");
    }

    /// <summary>The golden Megatron weights as model-parallel files, split as the reference's change_mp.py splits.</summary>
    private static void WriteRanks(string folder, int ranks, bool rolesSplit)
    {
        var tensors = Read("megatron.safetensors").ToArray();
        for (var rank = 0; rank < ranks; rank++)
            TorchFileWriter.Write(Path.Combine(folder, $"mp_rank_{rank:00}_model_states.pt"), tensors.Select(tensor => Part(tensor, rank)), "module", writer =>
            {
                writer.Text("optimizer");
                writer.Raw((byte)'N');
            });

        WrittenTensor Part((string Name, long[] Shape, byte[] Bytes) tensor, int rank)
        {
            var (name, shape, bytes) = tensor;
            if (shape.Length != 2 || (name.Contains("role_embeds", StringComparison.Ordinal) && !rolesSplit)) return new WrittenTensor(name, "FloatStorage", shape, bytes, 4);
            var groups = name.Contains("project.weight", StringComparison.Ordinal) ? 3 : name.Contains("project_kv.weight", StringComparison.Ordinal) ? 2
                : new[] { "project_q.", "word_embeds.", "wi_0.", "wi_1.", "lm_head." }.Any(part => name.Contains(part, StringComparison.Ordinal)) ? 1 : 0;
            // Columns are a view of the whole storage, as torch saves a slice.
            if (groups == 0) return new WrittenTensor(name, "FloatStorage", [shape[0], shape[1] / ranks], bytes, 4, rank * (shape[1] / ranks), [shape[1], 1]);
            var piece = (int)(shape[0] / ranks / groups * shape[1] * 4);
            return new WrittenTensor(name, "FloatStorage", [shape[0] / ranks, shape[1]], [.. Enumerable.Range(0, groups).SelectMany(group => bytes.Skip((group * ranks + rank) * piece).Take(piece))], 4);
        }
    }

    private static IEnumerable<(string Name, long[] Shape, byte[] Bytes)> Read(string file)
    {
        using var checkpoint = Checkpoint.OpenFile(Path.Combine(Model, file));
        foreach (var entry in checkpoint.Entries)
        {
            var bytes = new byte[entry.End - entry.Begin];
            checkpoint.Read(entry, 0, bytes);
            yield return (entry.Name, [.. entry.Shape], bytes);
        }
    }

    private static void AssertSameWeights(string folder)
    {
        using Checkpoint expected = Checkpoint.OpenFolder(Model), actual = Checkpoint.OpenFolder(folder);
        var config = ModelFolder.Open(Model).Config;
        var needed = EvaWeights.Locate(config, expected).Weights.ToArray();
        Assert.Equal(needed.Select(weight => weight.Name), EvaWeights.Locate(config, actual).Weights.Select(weight => weight.Place.Name));
        foreach (var weight in needed) Assert.Equal(weight.ReadFloats(expected), EvaWeights.Locate(config, actual).Weights.Single(other => other.Name == weight.Name).ReadFloats(actual));
    }
}
