using System.Text;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;

namespace Chat.Tests.Architectures;

/// <summary>Kinds of rotary positions. The numbers are those of Hugging Face's modeling_rope_utils, its formulas computed in double.</summary>
public sealed class RotaryTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private const string Qwen = """{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768}""";
    private const string GptOss = """{"rope_type":"yarn","factor":32.0,"original_max_position_embeddings":4096,"beta_fast":32.0,"beta_slow":1.0,"truncate":false}""";
    private const string DeepSeek = """{"type":"yarn","factor":40,"original_max_position_embeddings":4096,"beta_fast":32,"beta_slow":1,"mscale":0.707,"mscale_all_dim":1.0}""";

    [Theory]
    [InlineData(Qwen, 128, 1e6, 1.138629436111989, new[] { 0, 23, 24, 30, 39, 40, 63 }, new[] { 1, 0.006978305848598663, 0.005375321490790102, 0.0010643609812470017, 6.490394320837028e-05, 4.445698525097307e-05, 3.102344401879299e-07 })]
    [InlineData(GptOss, 64, 150_000, 1.3465735902799727, new[] { 0, 8, 9, 12, 17, 18, 31 }, new[] { 1, 0.050813274815461475, 0.03170569618466377, 0.006794959489732219, 0.00012931870124506317, 3.8308812373753384e-05, 3.0235114281192144e-07 })]
    [InlineData(DeepSeek, 64, 10_000, 0.9210423553163399, new[] { 0, 10, 16, 22, 31 }, new[] { 1, 0.056234132519034905, 0.0055, 0.0001778279410038922, 3.33380358040831e-06 })]
    [InlineData("""{"type":"linear","factor":8.0}""", 64, 10_000, 1, new[] { 0, 16 }, new[] { 0.125, 0.00125 })]
    [InlineData("""{"rope_type":"dynamic","factor":2.0}""", 64, 10_000, 1, new[] { 0, 1, 16, 31 }, new[] { 1, 0.7498942093324559, 0.01, 0.0001333521432163324 })]
    public void Both_spellings_give_the_frequencies_of_the_reference(string parameters, int headWidth, double theta, double factor, int[] pairs, double[] frequencies)
    {
        foreach (var rotary in new[] { Read($"\"rope_theta\":{theta},\"rope_scaling\":{parameters}", headWidth), Read($"\"rope_parameters\":{parameters[..^1]},\"rope_theta\":{theta}}}", headWidth) })
        {
            Assert.Equal(factor, rotary.AttentionFactor, 1e-14);
            Assert.All(pairs.Zip(frequencies), pair => Assert.Equal(pair.Second, rotary.Frequencies(headWidth)[pair.First], 1e-13 * pair.Second));
        }
    }

    [Fact]
    public void Dynamic_bases_grow_with_the_text_beyond_the_positions_alone()
    {
        var rotary = Read("\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", 64);
        Assert.Equal(new RotaryConfig(10_000).Frequencies(64), rotary.Frequencies(64, 2048));
        Assert.Equal([1, 0.712610545085721, 0.0044221748958707995, 2.744224169082082e-05], new[] { 0, 1, 16, 31 }.Select(pair => rotary.Frequencies(64, 6000)[pair]).ToArray(), (a, b) => Math.Abs(a - b) < 1e-13 * a);

        var config = TinyDecoder.Llama with { MaxPositions = 8, Rotary = new(10_000, new DynamicScaling(3, 8)), HeadWidth = 8 };
        using var model = TinyDecoder.Build(config);
        var text = TinyDecoder.Ids(20, 3);
        // A text of 20 tokens is one of the base 10,000 · (3 · 20/8 − 2)^(8/6); its first 8 are as if nothing were there.
        foreach (var (length, theta) in new[] { (8, 10_000.0), (20, 10_000 * Math.Pow(3 * 20 / 8.0 - 2, 8 / 6.0)) })
        {
            using var plain = TinyDecoder.Build(config with { Rotary = new(theta) });
            TinyModel.Close(plain.Forward(TinyModel.Batch([text[..length]]).Ids), model.Forward(TinyModel.Batch([text[..length]]).Ids));
        }
        Assert.Throws<ArgumentException>(() => new TorchRunner(model, 1, 4, 5));
        DecoderWeights.Save(model, folder.At("model.safetensors"));
        using var checkpoint = Checkpoint.OpenFile(folder.At("model.safetensors"));
        Assert.Throws<ArgumentException>(() => new CpuRunner(config, checkpoint, 1, 4, 5));
        using var runner = new CpuRunner(config, checkpoint, 1, 4, 4);
        TinyModel.Close(model.Forward(TinyModel.Batch([text[..4]]).Ids)[0, 3].Floats(), runner.Prefill([new(0, text.AsMemory(0, 4), default)]), absolute: 2e-4);
    }

    [Theory]
    [InlineData("""{"rope_type":"yarn","original_max_position_embeddings":512}""", 4, 512)]                                      // the ratio of the lengths
    [InlineData("""{"rope_type":"yarn","factor":null,"original_max_position_embeddings":512}""", 4, 512)]
    [InlineData("""{"rope_type":"yarn","factor":3}""", 3, 2048)]                                                               // of the positions it was made for
    public void What_yarn_leaves_out_is_what_the_lengths_say(string parameters, double factor, double original)
    {
        var yarn = Assert.IsType<YarnScaling>(Read($"\"rope_scaling\":{parameters}", 8).Scaling);
        Assert.Equal(new YarnScaling(factor, original, 32, 1, true, 0.1 * Math.Log(factor) + 1), yarn);
    }

    [Fact]
    public void A_given_factor_of_attention_is_taken_and_zero_means_absent() => Assert.Equal(new YarnScaling(2, 100, 32, 2, true, 1.5),
        Read("\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":100,\"attention_factor\":1.5,\"mscale\":3,\"mscale_all_dim\":1,\"beta_fast\":0,\"beta_slow\":2}", 8).Scaling);

    [Theory]
    [InlineData("""{"rope_type":"longrope","factor":2}""", "unsupported")]
    [InlineData("""{"rope_type":"proportional"}""", "unsupported")]
    [InlineData("""{"full_attention":{"rope_type":"default"}}""", "unsupported")]
    [InlineData("""{"rope_type":"linear","factor":2,"partial_rotary_factor":0.5}""", "unsupported")]
    [InlineData("""{"rope_type":"linear"}""", "bad_config")]
    [InlineData("""{"rope_type":"linear","factor":0}""", "bad_config")]
    [InlineData("""{"rope_type":"linear","factor":"4"}""", "bad_config")]
    [InlineData("""{"rope_type":"dynamic","factor":0.5}""", "bad_config")]
    [InlineData("""{"rope_type":"yarn","factor":-1}""", "bad_config")]
    [InlineData("""{"rope_type":"yarn","factor":2,"original_max_position_embeddings":0}""", "bad_config")]
    [InlineData("""{"rope_type":"yarn","factor":2,"truncate":1}""", "bad_config")]
    [InlineData("""{"rope_type":"yarn","factor":2,"attention_factor":0}""", "bad_config")]
    public void Other_kinds_and_impossible_numbers_are_refused(string parameters, string kind)
    {
        var error = Assert.Throws<CheckpointException>(() => Read($"\"rope_parameters\":{parameters}", 8));
        Assert.Equal(kind, error.Kind);
        if (parameters.Contains("longrope", StringComparison.Ordinal)) Assert.Contains("default, linear, dynamic, yarn, llama3", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Heads_of_one_pair_and_a_base_of_one_have_no_such_scaling()
    {
        Assert.Equal(CheckpointErrors.BadConfig, Assert.Throws<CheckpointException>(() => Read("\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", 2)).Kind);
        Assert.Equal(CheckpointErrors.BadConfig, Assert.Throws<CheckpointException>(() => Read("\"rope_theta\":1,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}", 8)).Kind);
    }

    private static RotaryConfig Read(string rotary, int headWidth) => DecoderConfigFile.Read(ConfigFile.Parse(Encoding.UTF8.GetBytes(
        $$"""{"vocab_size":40,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":1,"num_attention_heads":4,"head_dim":{{headWidth}},"max_position_embeddings":2048,{{rotary}}}"""), "config.json"), DecoderFamily.Llama).Rotary!;
}
