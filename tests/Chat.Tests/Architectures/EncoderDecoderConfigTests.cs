using System.Text;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;

namespace Chat.Tests.Architectures;

public class EncoderDecoderConfigTests
{
    private const string Whole = """{"vocab_size":64,"d_model":32,"d_ff":64,"d_kv":8,"num_heads":4,"num_layers":3,"num_decoder_layers":2,"attn_scale":true,"pad_token_id":5,"eos_token_id":4,"bos_token_id":62}""";

    [Fact]
    public void A_configuration_reads_back_what_it_wrote()
    {
        var config = TinyModel.Config with { Activation = Activation.GeluErf, Dropout = 0.25, Roles = false, Buckets = 16, Epsilon = 1e-5 };
        Assert.Equal(config, Read(config.ToJson()));
    }

    [Theory]
    [InlineData(Activation.GeluTanh, true, false)]
    [InlineData(Activation.Silu, true, true)]
    [InlineData(Activation.Relu, false, true)]
    public void A_t5_configuration_reads_back_what_it_wrote(Activation activation, bool gated, bool tied)
    {
        var config = TinyModel.T5 with { Activation = activation, Gated = gated, Tied = tied, Dropout = 0.25, MaxDistance = 40 };
        Assert.Equal(config, Read(config.ToJson()));
    }

    [Fact]
    public void The_decoders_depth_is_its_key_or_symmetric_or_the_references_default()
    {
        Assert.Equal(2, Read(Whole).DecoderLayers);
        Assert.Equal(3, Read(Whole.Replace("\"num_decoder_layers\":2", "\"num_decoder_layers\":null", StringComparison.Ordinal)).DecoderLayers);
        Assert.Equal(12, Read(Whole.Replace("\"num_decoder_layers\":2,", "", StringComparison.Ordinal)).DecoderLayers);
    }

    [Fact]
    public void Absent_switches_take_the_references_defaults()
    {
        var config = Read(Whole.Replace(",\"attn_scale\":true", "", StringComparison.Ordinal));
        Assert.False(config.AttentionScale);
        Assert.Equal(32, config.Buckets);
        Assert.Equal(Activation.GeluTanh, config.Activation);
        Assert.Equal(62, config.Start);
        Assert.Equal(0.1, config.Dropout);
    }

    [Theory]
    [InlineData("\"d_model\":32", "\"d_model\":0", "d_model")]
    [InlineData("\"d_model\":32,", "", "d_model")]
    [InlineData("\"num_heads\":4", "\"num_heads\":-4", "num_heads")]
    [InlineData("\"num_heads\":4", "\"num_heads\":\"four\"", "num_heads")]
    [InlineData("\"num_layers\":3", "\"num_layers\":1e9", "num_layers")]
    [InlineData("\"vocab_size\":64", "\"vocab_size\":99999999999", "vocab_size")]
    [InlineData("\"attn_scale\":true", "\"attn_scale\":1", "attn_scale")]
    [InlineData("\"attn_scale\":true", "\"gelu\":\"relu\"", "gelu")]
    [InlineData("\"pad_token_id\":5", "\"pad_token_id\":64", "pad_token_id")]
    [InlineData("\"bos_token_id\":62", "\"decoder_start_token_id\":-1", "decoder_start_token_id")]
    public void An_impossible_value_is_named(string from, string to, string key)
    {
        var error = Assert.Throws<CheckpointException>(() => Read(Whole.Replace(from, to, StringComparison.Ordinal)));
        Assert.Equal(CheckpointErrors.BadConfig, error.Kind);
        Assert.Contains($"'{key}'", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{\"d_model\":1,\"d_model\":2}")]
    [InlineData("{\"d_model\":")]
    public void What_is_no_JSON_object_is_refused(string json) => Assert.Equal(CheckpointErrors.BadConfig, Assert.Throws<CheckpointException>(() => Read(json)).Kind);

    private static EncoderDecoderConfig Read(string json) => EncoderDecoderConfig.Read(ConfigFile.Parse(Encoding.UTF8.GetBytes(json), "config.json"));
}
