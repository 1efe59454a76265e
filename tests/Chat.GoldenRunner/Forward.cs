using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;

namespace Chat.GoldenRunner;

/// <summary>Forward passes: the family of the model folder decides who computes.</summary>
internal static class Forward
{
    public static JsonNode Run(Arguments arguments, JsonNode input)
    {
        var config = ConfigFile.Load(Path.Combine(arguments.Model, ModelFolder.ConfigFileName));
        var family = ModelFamilies.Of(config);
        if (DecoderConfigFile.Families.TryGetValue(family, out var decoder)) return DecoderForward.Run(arguments, DecoderConfigFile.Read(config, decoder), input);
        if (family != ModelFamilies.Bert) return EncoderDecoderForward.Run(arguments, input);
        return arguments.Runner == Arguments.Kernels ? EncoderKernels.Run(arguments, EncoderConfig.Read(config), input) : EncoderForward.Run(arguments, EncoderConfig.Read(config), input);
    }
}
