using Chat.Models.Libtorch;
using TorchSharp;
using Xunit;

namespace Chat.Tests.Libtorch;

public class ComputeDeviceTests
{
    [Fact]
    public void The_CPU_is_always_there() => Assert.Equal(DeviceType.CPU, ComputeDevice.Open("cpu").type);

    [Theory]
    [InlineData("gpu")]
    [InlineData("cuda:99")]
    [InlineData("meta")]
    [InlineData("")]
    public void What_is_not_there_is_named_with_what_could_be(string name)
    {
        var error = Assert.Throws<ArgumentException>(() => ComputeDevice.Open(name));
        Assert.StartsWith($"'{name}' is not to be had here: cpu, or cuda", error.Message);
    }
}
