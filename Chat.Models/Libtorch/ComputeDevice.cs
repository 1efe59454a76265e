using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Models.Libtorch;

/// <summary>What computes, by the name that settings and options give it.</summary>
public static class ComputeDevice
{
    public const string Cpu = "cpu";

    /// <summary>Loads libtorch.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c>, <c>cuda:1</c> ….</param>
    /// <exception cref="ArgumentException">No such name, or no such GPU here; the message begins with the name.</exception>
    /// <exception cref="DllNotFoundException">There is no libtorch.</exception>
    public static Device Open(string name)
    {
        LibtorchLoader.Require();
        try
        {
            var named = device(name);
            if (named.type == DeviceType.CPU || (named.type == DeviceType.CUDA && cuda.is_available() && named.index < cuda.device_count())) return named;
        }
        catch (Exception e) when (e is ArgumentException or FormatException or InvalidOperationException) { }
        throw new ArgumentException($"'{name}' is not to be had here: cpu, or cuda, cuda:1 … where a CUDA libtorch (CHAT_LIBTORCH) finds such a GPU.");
    }
}
