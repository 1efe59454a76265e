using System.CommandLine;
using Chat.Benchmarks;
using Chat.Benchmarks.Serving;

var root = new RootCommand("Measurements of Chat. Each prints one line a figure; quote it with the command, the machine and the load.");
root.Subcommands.Add(DecodeSpeed.Command());
root.Subcommands.Add(KernelSpeed.Command());
root.Subcommands.Add(PrefixSpeed.Command());
root.Subcommands.Add(MixedPass.Command());
root.Subcommands.Add(WeightQuality.Command());
root.Subcommands.Add(StrategyCost.Command());
root.Subcommands.Add(SpeculationGain.Command());
root.Subcommands.Add(GateCost.Command());
root.Subcommands.Add(ServeCommand.Command());
root.Subcommands.Add(MemoryGrowth.Command());
root.Subcommands.Add(StartUp.Command());
root.Subcommands.Add(TrainingSpeed.Command());
root.Subcommands.Add(DeviceCheck.Command());
return await root.Parse(args).InvokeAsync();
