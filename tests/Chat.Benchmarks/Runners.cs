using System.CommandLine;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using TorchSharp;

namespace Chat.Benchmarks;

/// <summary>The ways a model folder can be run, by the names that commands take: torch's types and the kernels' formats.</summary>
internal static class Runners
{
    public static readonly string[] Names = ["torch-float32", "torch-float16", "torch-bfloat16", .. Enum.GetNames<WeightFormat>().Select(name => name.ToLowerInvariant())];

    public static Option<string[]> Option(params string[] usual)
    {
        var option = new Option<string[]>("--runners") { Description = $"The first is what the others are compared with. Known: {string.Join(", ", Names)}.", DefaultValueFactory = _ => usual, AllowMultipleArgumentsPerToken = true };
        option.AcceptOnlyFromAmong(Names);
        return option;
    }

    /// <param name="team">Who computes on the kernels.</param>
    public static IRunner Create(string name, ModelFolder folder, int rows, Team team)
    {
        if (!Enum.TryParse<WeightFormat>(name, ignoreCase: true, out var format)) return ServedModel.OnTorch(folder, torch.CPU, Enum.Parse<torch.ScalarType>(name["torch-".Length..], ignoreCase: true)).CreateRunner(rows);
        return ServedModel.OnKernels(folder, format, team).CreateRunner(rows);
    }

    /// <exception cref="ArgumentException">The folder holds another kind of model.</exception>
    public static DecoderConfig DecoderConfigOf(string path)
    {
        var file = ConfigFile.Load(Path.Combine(path, ModelFolder.ConfigFileName));
        return DecoderConfigFile.Families.TryGetValue(ModelFamilies.Of(file), out var family) ? DecoderConfigFile.Read(file, family) : throw new ArgumentException($"{path} holds no decoder-only model.");
    }
}
