using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Chat.KernelBenchmarks;

// In this process: BenchmarkDotNet would else build a project of its own, without the repository's package versions.
var config = DefaultConfig.Instance.AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance));
return BenchmarkSwitcher.FromAssembly(typeof(MatrixProduct).Assembly).Run(args, config).Any() ? 0 : 1;
