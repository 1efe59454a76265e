using Chat.Domain.Generation;
using Chat.Models.Engine;

namespace Chat.Tests.Engine;

/// <summary>When a request comes, after how many steps its caller leaves, and in which steps its reader reads.</summary>
internal sealed record Visit(Sequence Sequence, int Arrives, int CancelsAfter, int ReadsEvery);

/// <summary>Requests in one loop, each by its own schedule.</summary>
internal static class Company
{
    /// <summary>Steps until all requests have ended.</summary>
    /// <param name="longest">Steps that it may take.</param>
    /// <param name="afterStep">Told the number of each step done.</param>
    /// <returns>What each reader heard.</returns>
    public static List<GenerationChunk>[] Hear(GenerationLoop loop, IRunner runner, IReadOnlyList<Visit> visits, int longest, Action<int>? afterStep = null)
    {
        var heard = visits.Select(_ => new List<GenerationChunk>()).ToArray();
        void Read(int i)
        {
            while (visits[i].Sequence.Output.TryRead(out var chunk)) heard[i].Add(chunk);
        }
        for (var step = 0; !visits.All(v => v.Sequence.Output.Completion.IsCompleted); step++)
        {
            Assert.InRange(step, 0, longest);
            for (var i = 0; i < visits.Count; i++)
            {
                var (sequence, arrives, cancels, reads) = visits[i];
                if (arrives == step) loop.Submit(sequence);
                if (cancels < int.MaxValue && arrives + cancels == step) sequence.Cancel(stopped: false);
                if (step % reads == 0) Read(i);
            }
            loop.Step(runner);
            afterStep?.Invoke(step);
        }
        for (var i = 0; i < visits.Count; i++) Read(i);
        return heard;
    }
}
