using System.Runtime.CompilerServices;
using Chat.Models.Libtorch;

namespace Chat.Training.Methods;

/// <summary>Code here may call torch before it touches Chat.Models, which is what says where libtorch lies.</summary>
internal static class LibtorchFirst
{
    [ModuleInitializer]
    internal static void Register() => LibtorchLoader.Register();
}
