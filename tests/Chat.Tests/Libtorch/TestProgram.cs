using System.Runtime.CompilerServices;
using Chat.Models.Libtorch;

namespace Chat.Tests.Libtorch;

/// <summary>Tests may make a tensor before they touch Chat.Models.</summary>
internal static class TestProgram
{
    [ModuleInitializer]
    internal static void Start() => LibtorchLoader.Register();
}
