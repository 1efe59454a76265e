using System.Runtime.CompilerServices;
using Chat.Models.Libtorch;

namespace Chat.Tests.Libtorch;

/// <summary>
/// Tests may make a tensor before they touch Chat.Models. One thread an operation: test classes run side by side already, and libtorch's
/// threads wait for each other by spinning (measured: the runner's tests 44 s with two threads on a busy machine, see BENCHMARKS.md).
/// </summary>
internal static class TestProgram
{
    [ModuleInitializer]
    internal static void Start()
    {
        LibtorchLoader.Register();
        TorchSharp.torch.set_num_threads(1);
    }
}
