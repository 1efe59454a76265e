using System.CommandLine;
using Chat.Models.Libtorch;
using TorchSharp;

namespace Chat.Training.Commands;

/// <summary>The option that says what computes.</summary>
internal static class DeviceOption
{
    public static Option<string> Create() => new("--device")
    {
        Description = "What computes: cpu, or cuda, cuda:1 … where a CUDA libtorch finds such a GPU. A run may go on on another device; bit for bit it is repeatable on the CPU only",
        DefaultValueFactory = _ => ComputeDevice.Cpu,
    };

    /// <summary>One name for each device: cuda is the first GPU.</summary>
    public static string Name(string device) => device == "cuda" ? "cuda:0" : device;

    /// <exception cref="ArgumentException">There is none of that name here.</exception>
    public static torch.Device Open(string name)
    {
        try { return ComputeDevice.Open(name); }
        catch (ArgumentException error) { throw new ArgumentException($"--device {error.Message}", error); }
    }
}
