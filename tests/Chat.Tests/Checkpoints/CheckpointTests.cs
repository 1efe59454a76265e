using Chat.Models.Checkpoints;

namespace Chat.Tests.Checkpoints;

public sealed class CheckpointTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Each_broken_folder_has_its_kind_of_error()
    {
        foreach (var one in Golden.Read("families/broken/load-check.json")["cases"]!.AsArray())
        {
            var error = Record.Exception(() => ModelFamilies.Check(Golden.At($"families/broken/{one!["folder"]}")));
            if ((bool)one!["expected"]!["ok"]!) Assert.Null(error);
            else Assert.Contains(Assert.IsType<CheckpointException>(error).Kind, one["expected"]!["kinds"]!.AsArray().Select(kind => (string)kind!));
        }
    }

    [Theory]
    [InlineData("config.json", "missing_file")]
    [InlineData("model.safetensors", "missing_file")]
    public void An_absent_file_is_named(string name, string kind)
    {
        Copy("good");
        File.Delete(folder.At(name));
        var error = Assert.Throws<CheckpointException>(() => ModelFamilies.Check(folder.Path));
        Assert.Equal(kind, error.Kind);
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_absent_shard_is_a_missing_file()
    {
        Copy("sharded_good");
        File.Delete(folder.At("model-00002-of-00002.safetensors"));
        Assert.Equal("missing_file", Kind());
    }

    [Theory]
    [InlineData("""{"weight_map":""", "bad_index")]
    [InlineData("""[]""", "bad_index")]
    [InlineData("""{"metadata":{}}""", "bad_index")]
    [InlineData("""{"weight_map":{"lm_head.weight":7}}""", "bad_index")]
    [InlineData("""{"weight_map":{"no.such.weight":"model-00001-of-00002.safetensors"}}""", "bad_index")]
    [InlineData("""{"weight_map":{"lm_head.weight":"/etc/passwd"}}""", "path_traversal")]
    [InlineData("""{"weight_map":{"lm_head.weight":"a\\b.safetensors"}}""", "path_traversal")]
    [InlineData("""{"weight_map":{"lm_head.weight":".."}}""", "path_traversal")]
    [InlineData("""{"weight_map":{"lm_head.weight":""}}""", "path_traversal")]
    [InlineData("""{"weight_map":{}}""", "missing_tensor")]
    public void A_bad_index_has_its_kind_of_error(string index, string kind)
    {
        Copy("sharded_good");
        File.WriteAllText(folder.At("model.safetensors.index.json"), index);
        Assert.Equal(kind, Kind());
    }

    [Fact]
    public void The_single_file_is_read_when_both_are_there()
    {
        Copy("good");
        File.WriteAllText(folder.At("model.safetensors.index.json"), "not read");
        ModelFamilies.Check(folder.Path);
    }

    [Theory]
    [InlineData("\"num_attention_heads\": 2", "\"num_attention_heads\": 0", "bad_config")]
    [InlineData("\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "bad_config")]
    [InlineData("\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", "bad_config")]
    [InlineData("\"vocab_size\": 16", "\"vocab_size\": \"16\"", "bad_config")]
    [InlineData("\"vocab_size\": 16", "\"vocab_size\": 17", "shape_mismatch")]
    [InlineData("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1000000", "missing_tensor")]
    [InlineData("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 10000000", "bad_config")]
    [InlineData("\"model_type\": \"llama\"", "\"model_type\": \"rwkv\"", "unsupported")]
    [InlineData("\"model_type\": \"llama\"", "\"model_type\": 3", "bad_config")]
    [InlineData("\"rope_theta\": 10000.0", "\"rope_theta\": 10000.0, \"rope_scaling\": {\"rope_type\": \"spiral\"}", "unsupported")]
    [InlineData("\"rope_theta\": 10000.0", "\"rope_theta\": 10000.0, \"rope_scaling\": 3", "bad_config")]
    public void A_configuration_that_cannot_be_has_its_kind_of_error(string from, string to, string kind)
    {
        Copy("good");
        var config = File.ReadAllText(folder.At("config.json"));
        Assert.Contains(from, config, StringComparison.Ordinal);
        File.WriteAllText(folder.At("config.json"), config.Replace(from, to, StringComparison.Ordinal));
        Assert.Equal(kind, Kind());
    }

    [Fact]
    public void Without_a_model_type_the_architecture_tells_the_family()
    {
        Copy("good");
        var config = File.ReadAllText(folder.At("config.json")).Replace("\"model_type\": \"llama\", ", "", StringComparison.Ordinal);
        Assert.DoesNotContain("model_type", config, StringComparison.Ordinal);
        File.WriteAllText(folder.At("config.json"), config);
        ModelFamilies.Check(folder.Path);
        File.WriteAllText(folder.At("config.json"), config.Replace("LlamaForCausalLM", "RwkvModel", StringComparison.Ordinal));
        Assert.Equal("unsupported", Kind());
        File.WriteAllText(folder.At("config.json"), config.Replace("[\"LlamaForCausalLM\"]", "7", StringComparison.Ordinal));
        Assert.Equal("bad_config", Kind());
    }

    private string Kind() => Assert.Throws<CheckpointException>(() => ModelFamilies.Check(folder.Path)).Kind;

    private void Copy(string broken)
    {
        foreach (var file in Directory.EnumerateFiles(Golden.At($"families/broken/{broken}"))) File.Copy(file, folder.At(Path.GetFileName(file)));
    }
}
