using System.Diagnostics;

namespace Chat.Tests.Kernels;

/// <summary>The kernels' tests again on machines that lack this one's instructions: in a process in which the runtime may not use them.</summary>
public sealed class OtherMachinesTests
{
    [Theory]
    [InlineData("DOTNET_EnableAVXVNNI"), InlineData("DOTNET_EnableAVX512"), InlineData("DOTNET_EnableAVX2"), InlineData("DOTNET_EnableHWIntrinsic")]
    public async Task The_kernels_pass_their_tests_without(string instructions)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "Chat.Tests.dll"),
            "-class", typeof(MatrixTests).FullName!, "-class", typeof(AttentionTests).FullName!, "-class", typeof(ElementwiseTests).FullName!, "-class", typeof(CpuEncoderTests).FullName!])
        {
            RedirectStandardOutput = true,
            Environment = { [instructions] = "0" },
        };
        using var process = Process.Start(start)!;
        try
        {
            var output = process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync().WaitAsync(TimeSpan.FromMinutes(3));
            Assert.True(process.ExitCode == 0, await output);
            Assert.Matches(@"Total: [1-9]\d+, Errors: 0, Failed: 0", await output);
        }
        finally
        {
            if (!process.HasExited) process.Kill();
        }
    }
}
