using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Gguf;
using Chat.Models.Modules;
using Chat.Tests.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Gguf;

/// <summary>What the export wrote, read back. That llama.cpp computes the same logits from it was tried by hand (BENCHMARKS.md).</summary>
public sealed class GgufExportTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly TorchSharp.DisposeScope scope = NewDisposeScope();
    private readonly IDisposable gradients = no_grad();

    public void Dispose()
    {
        gradients.Dispose();
        scope.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void Qwens_weights_are_written_as_they_are()
    {
        using var model = Save(TinyDecoder.Families["qwen2"]);
        var file = Export(GgufType.F32);
        Assert.Equal("qwen2", file.Keys["general.architecture"]);
        Assert.Equal(2u, file.Keys["qwen2.attention.head_count_kv"]);
        Assert.Equal(6u, file.Keys["qwen2.rope.dimension_count"]);
        Assert.Equal(1e6f, file.Keys["qwen2.rope.freq_base"]);
        Assert.Equal(3u, file.Keys["qwen2.context_length"]);                                // no longer than the window it cannot express
        Same(model, "model.embed_tokens.weight", file, "token_embd.weight");
        Same(model, "model.layers.2.self_attn.q_proj.weight", file, "blk.2.attn_q.weight");
        Same(model, "model.layers.2.self_attn.k_proj.bias", file, "blk.2.attn_k.bias");
        Same(model, "model.layers.1.mlp.down_proj.weight", file, "blk.1.ffn_down.weight");
        Same(model, "model.norm.weight", file, "output_norm.weight");
        Assert.DoesNotContain("output.weight", file.Tensors.Keys);
        Assert.Equal(DecoderWeights.Needed(model.Config).Count(), file.Tensors.Count);
    }

    [Fact]
    public void Gpt2s_queries_keys_and_values_stand_in_one_tensor()
    {
        using var model = Save(TinyDecoder.Families["gpt2"] with { LayerScale = false });
        var file = Export(GgufType.F32);
        Same(model, "model.embed_positions.weight", file, "position_embd.weight");
        Same(model, "model.layers.0.post_attention_layernorm.bias", file, "blk.0.ffn_norm.bias");
        foreach (var kind in new[] { "weight", "bias" })
            Assert.Equal("qkv".SelectMany(part => Weight(model, $"model.layers.1.self_attn.{part}_proj.{kind}").Floats()), file.Tensors[$"blk.1.attn_qkv.{kind}"].Numbers);
        Assert.Equal([48, 16], file.Tensors["blk.1.attn_qkv.weight"].Shape);
    }

    [Theory]
    [InlineData("llama")]
    [InlineData("llama3")]
    [InlineData("linear")]
    public void Llamas_heads_turned_by_neighbours_score_as_ours_turned_by_halves(string family)
    {
        using var model = Save(TinyDecoder.Families[family]);
        var (file, config) = (Export(GgufType.F32), model.Config);
        float[] x = [.. Enumerable.Range(0, config.Width).Select(i => MathF.Sin(i + 1))];
        double[] plain = (config.Rotary! with { Scaling = null }).Frequencies(config.HeadWidth);
        double[] theirs = file.Tensors.TryGetValue("rope_freqs.weight", out var factors) ? [.. plain.Zip(factors.Numbers, (frequency, factor) => frequency / factor)] : plain;
        Assert.Equal(config.Rotary!.Scaling is not null, file.Tensors.ContainsKey("rope_freqs.weight"));
        for (var head = 0; head < config.KeyValueHeads; head++)
        {
            double Score(float[] q, float[] k, Func<double[], int, double[]> turn) => turn(Head(q, x, head), 7).Zip(turn(Head(k, x, head), 3), (a, b) => a * b).Sum();
            var ours = Score(Weight(model, "model.layers.0.self_attn.q_proj.weight").Floats(), Weight(model, "model.layers.0.self_attn.k_proj.weight").Floats(), Halves(config.Rotary!.Frequencies(config.HeadWidth)));
            Assert.Equal(ours, Score(file.Tensors["blk.0.attn_q.weight"].Numbers, file.Tensors["blk.0.attn_k.weight"].Numbers, Neighbours(theirs)), 1e-4 * Math.Abs(ours) + 1e-4);
        }

        double[] Head(float[] weight, float[] input, int head) => [.. Enumerable.Range(head * config.HeadWidth, config.HeadWidth).Select(row => input.Select((value, i) => (double)value * weight[row * input.Length + i]).Sum())];
    }

    [Fact]
    public void Halves_and_bytes_come_back_within_their_rounding_and_vectors_stay_exact()
    {
        using var model = Save(TinyDecoder.Llama with { Width = 32, FeedForward = 64, HeadWidth = 8 });
        var weight = Weight(model, "model.layers.0.mlp.down_proj.weight").Floats();
        var half = Export(GgufType.F16).Tensors["blk.0.ffn_down.weight"];
        Assert.Equal(1, half.Type);
        Assert.Equal(weight.Select(value => (float)(Half)value), half.Numbers);

        var file = Export(GgufType.Q8_0);
        Assert.Equal(8, file.Tensors["blk.0.ffn_down.weight"].Type);
        foreach (var (block, back) in weight.Chunk(32).Zip(file.Tensors["blk.0.ffn_down.weight"].Numbers.Chunk(32)))
        {
            var step = block.Max(Math.Abs) / 127;
            for (var i = 0; i < 32; i++) Assert.InRange(back[i] - block[i], -0.6f * step, 0.6f * step);
        }
        Assert.Equal(0, file.Tensors["blk.0.attn_norm.weight"].Type);
        Same(model, "model.layers.0.input_layernorm.weight", file, "blk.0.attn_norm.weight");
    }

    [Fact]
    public void Four_bits_come_back_within_their_rounding_and_words_keep_eight()
    {
        using var model = Save(TinyDecoder.Llama with { Width = 32, FeedForward = 64, HeadWidth = 8, Tied = false });
        var file = Export(GgufType.Q4_0);
        Assert.Equal(2u, file.Keys["general.file_type"]);
        Assert.Equal([8, 8], new[] { "token_embd.weight", "output.weight" }.Select(name => file.Tensors[name].Type));
        Assert.Equal(2, file.Tensors["blk.0.ffn_down.weight"].Type);
        foreach (var (block, back) in Weight(model, "model.layers.0.mlp.down_proj.weight").Floats().Chunk(32).Zip(file.Tensors["blk.0.ffn_down.weight"].Numbers.Chunk(32)))
        {
            // Codes go from −8 to 7: a number at the other end may miss by a whole step.
            var step = block.Max(Math.Abs) / 8;
            for (var i = 0; i < 32; i++) Assert.InRange(back[i] - block[i], -1.01f * step, 1.01f * step);
            Assert.True(block.Zip(back, (a, b) => Math.Abs(a - b)).Count(error => error > 0.51f * step) <= 2);
        }
    }

    [Fact]
    public void Rows_that_make_no_whole_blocks_are_written_as_halves()
    {
        using var model = Save(TinyDecoder.Llama);
        Assert.Equal(1, Export(GgufType.Q8_0).Tensors["blk.0.ffn_down.weight"].Type);
    }

    [Fact]
    public void The_vocabulary_and_the_chat_template_travel_with_the_weights()
    {
        using var model = Save(TinyDecoder.Families["gpt2"] with { LayerScale = false, VocabularySize = 310 });
        File.Copy(Golden.At("families/tokenizers/a/tokenizer.json"), folder.At("tokenizer.json"));
        File.WriteAllText(folder.At("tokenizer_config.json"), """{"chat_template":[{"name":"tool_use","template":"x"},{"name":"default","template":"{{ messages }}"}],"bos_token":{"content":"<s>"},"eos_token":null}""");
        var file = Export(GgufType.F16);
        Assert.Equal("gpt-2", file.Keys["tokenizer.ggml.pre"]);
        Assert.Equal("{{ messages }}", file.Keys["tokenizer.chat_template"]);
        var tokens = (object[])file.Keys["tokenizer.ggml.tokens"];
        Assert.Equal(310, tokens.Length);
        Assert.Equal("[PAD309]", tokens[309]);
        Assert.Equal(5, ((object[])file.Keys["tokenizer.ggml.token_type"])[309]);
        Assert.Equal(3, ((object[])file.Keys["tokenizer.ggml.token_type"])[301]);
    }

    [Fact]
    public void What_the_format_cannot_say_is_refused()
    {
        using (Save(TinyDecoder.Families["gpt2"])) Assert.Equal(CheckpointErrors.Unsupported, Assert.Throws<CheckpointException>(() => Export(GgufType.F32)).Kind);
        using (Save(TinyDecoder.Families["yarn"])) Assert.Equal(CheckpointErrors.Unsupported, Assert.Throws<CheckpointException>(() => Export(GgufType.F32)).Kind);
        using (Save(TinyDecoder.Llama with { Activation = Activation.Relu })) Assert.Contains("Relu", Assert.Throws<CheckpointException>(() => Export(GgufType.F32)).Message, StringComparison.Ordinal);
        Assert.Contains("gpt2", Assert.Throws<CheckpointException>(() => GgufExport.Write(Golden.At("families/models/t5_a"), folder.At("x"), GgufType.F32)).Message, StringComparison.Ordinal);
    }

    private Decoder Save(DecoderConfig config)
    {
        var model = TinyDecoder.Build(config);
        DecoderWeights.Save(model, folder.At("model.safetensors"));
        File.WriteAllText(folder.At("config.json"), DecoderConfigFile.ToJson(config));
        return model;
    }

    private GgufReader Export(GgufType type)
    {
        GgufExport.Write(folder.Path, folder.At("model.gguf"), type);
        return new GgufReader(folder.At("model.gguf"));
    }

    private static Tensor Weight(Decoder model, string name) => model.get_parameter(name)!;

    private static void Same(Decoder model, string name, GgufReader file, string theirs)
    {
        Assert.Equal(Weight(model, name).shape, file.Tensors[theirs].Shape);
        Assert.Equal(Weight(model, name).Floats(), file.Tensors[theirs].Numbers);
    }

    private static Func<double[], int, double[]> Halves(double[] frequencies) => (head, position) => Turned(head, position, frequencies, pair => (pair, pair + head.Length / 2));

    private static Func<double[], int, double[]> Neighbours(double[] frequencies) => (head, position) => Turned(head, position, frequencies, pair => (2 * pair, 2 * pair + 1));

    private static double[] Turned(double[] head, int position, double[] frequencies, Func<int, (int, int)> places)
    {
        var turned = new double[head.Length];
        for (var pair = 0; pair < frequencies.Length; pair++)
        {
            var ((a, b), angle) = (places(pair), position * frequencies[pair]);
            (turned[a], turned[b]) = (head[a] * Math.Cos(angle) - head[b] * Math.Sin(angle), head[b] * Math.Cos(angle) + head[a] * Math.Sin(angle));
        }
        return turned;
    }
}
