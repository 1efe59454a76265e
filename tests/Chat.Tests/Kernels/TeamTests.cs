using Chat.Models.Kernels;

namespace Chat.Tests.Kernels;

public sealed class TeamTests
{
    [Theory]
    [InlineData(1), InlineData(2), InlineData(4)]
    public void Every_chunk_of_every_run_is_done_once_before_the_run_ends(int size)
    {
        using var team = new Team(size);
        var times = new int[300];
        var chunksOfRun = new Random(1);
        var chunks = 0;
        Action<int, int> count = (chunk, thread) =>
        {
            Assert.InRange(thread, 0, size - 1);
            Interlocked.Increment(ref times[chunk]);
        };
        for (var run = 0; run < 3_000; run++)
        {
            Array.Clear(times);
            chunks = chunksOfRun.Next(times.Length + 1);
            team.Run(chunks, count);
            for (var i = 0; i < times.Length; i++) Assert.Equal(i < chunks ? 1 : 0, times[i]);
        }
    }

    [Fact]
    public async Task Callers_from_several_threads_all_get_their_own_work_done()
    {
        using var team = new Team(3);
        var sums = await Task.WhenAll(Enumerable.Range(0, 4).Select(caller => Task.Run(() =>
        {
            var done = 0;
            for (var run = 0; run < 500; run++) team.Run(10, (chunk, _) => Interlocked.Add(ref done, chunk + caller));
            return done;
        })));

        Assert.Equal(Enumerable.Range(0, 4).Select(caller => 500 * (45 + 10 * caller)), sums);
    }

    [Fact]
    public void Workers_that_parked_come_back()
    {
        using var team = new Team(2);
        var threads = new HashSet<int>();
        var deadline = TimeProvider.System.GetTimestamp();
        // The worker is asleep before the first run and between some later ones; in the end it must have taken a chunk.
        while (threads.Count < 2)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(deadline) < TimeSpan.FromSeconds(60), "The worker never came.");
            team.Run(64, (_, thread) =>
            {
                lock (threads) threads.Add(thread);
                Thread.SpinWait(1_000);
            });
        }
    }

    [Fact]
    public void More_chunks_than_a_run_can_count_are_refused()
    {
        using var team = new Team(2);
        Assert.Throws<ArgumentOutOfRangeException>(() => team.Run(Team.MostChunks + 1, (_, _) => { }));
    }
}
