using System.CommandLine;
using Chat.PeerBenchmark;

var folder = new Argument<string>("folder") { Description = "Folder of the synthetic model." };
var write = new Command("model", "Writes the synthetic model (3 GB in all), where it is not there yet.") { folder };
write.SetAction(result => SyntheticModel.Write(result.GetValue(folder)!));
return await new RootCommand("Chat's kernels against LLamaSharp's llama.cpp, on the same random weights.") { write, Duel.Command() }.Parse(args).InvokeAsync();
