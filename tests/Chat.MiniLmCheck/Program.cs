using System.CommandLine;
using Chat.MiniLmCheck;
using Chat.Models.Libtorch;

LibtorchLoader.Register();
var root = new RootCommand("MiniLM's published weights on Chat's kernels, against ONNX Runtime. Run in the repository's root.") { Agreement.Command(), Agreement.GoldenCommand(), Duel.Command() };
return await root.Parse(args).InvokeAsync();
