using Chat.Models.Architectures;
using Chat.Models.Engine;
using Chat.Tests.Architectures;
using TorchSharp;

namespace Chat.Tests.Engine;

public sealed class TorchRunnerTests : RunnerTests
{
    private protected override IRunner Create(EncoderDecoder model, int rows) => new TorchRunner(model, rows);

    [Fact]
    public void Steps_leave_no_tensor_behind()
    {
        using var model = TinyModel.Build();
        using var runner = new TorchRunner(model, rows: 6);
        void Reply()
        {
            runner.Prefill([new(0, TinyModel.Ids(9, 1), default), new(1, TinyModel.Ids(5, 2), TinyModel.Ids(2, 3))]);
            for (var i = 0; i < 8; i++)
            {
                runner.Decode([0, 1], [7, 8]);
                runner.Fork([(0, 1), (1, 0), (0, 2)]);
            }
            runner.Free(0);
        }
        Reply();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 50; i++) Reply();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }
}
