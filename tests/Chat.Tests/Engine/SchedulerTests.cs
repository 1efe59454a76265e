using Chat.Models.Decoding;
using Chat.Models.Engine;
using CsCheck;

namespace Chat.Tests.Engine;

/// <summary>Order, shares and bookkeeping of the scheduler, without any model.</summary>
public sealed class SchedulerTests
{
    private static readonly ByteTokenizer Tokenizer = new();
    private static readonly TokenTable Tokens = TokenTable.From(Tokenizer, Tokenizer.VocabularySize);

    [Fact]
    public void Priority_comes_first_then_the_tenant_that_had_least_then_who_came_first()
    {
        var scheduler = new Scheduler(rows: 1, queueLimit: 100);
        Sequence[] all = [Request("a"), Request("a"), Request("b"), Request("c", priority: 1), Request("b")];
        foreach (var sequence in all) scheduler.TryEnqueue(sequence);
        var order = new List<Sequence>();
        while (scheduler.Next(_ => true) is { } next)
        {
            Assert.True(scheduler.TryAdmit(next));
            scheduler.Charge(next, 10);
            scheduler.Release(next);
            order.Add(next);
        }
        Assert.Equal([all[3], all[0], all[2], all[1], all[4]], order);
    }

    [Fact]
    public void A_tenant_that_was_idle_has_saved_nothing_up()
    {
        var scheduler = new Scheduler(rows: 1, queueLimit: 100);
        for (var i = 0; i < 50; i++) Serve(scheduler, Request("busy"), 100);
        Sequence[] late = [.. Enumerable.Range(0, 6).Select(i => Request(i < 3 ? "busy" : "idle"))];
        foreach (var sequence in late) scheduler.TryEnqueue(sequence);
        var order = new List<string>();
        while (scheduler.Next(_ => true) is { } next)
        {
            scheduler.TryAdmit(next);
            scheduler.Charge(next, 100);
            scheduler.Release(next);
            order.Add(next.Tenant);
        }
        Assert.Equal(["busy", "idle", "busy", "idle", "busy", "idle"], order);
    }

    [Fact]
    public void Tenants_that_always_want_more_are_served_alike_whatever_they_ask_for()
    {
        // The bound of the paper: two backlogged tenants differ by no more than what fits the batch at once, twice.
        Gen.Select(Gen.Int[1, 5], Gen.Int[1, 40].Array[2, 4]).Sample((rows, sizes) =>
        {
            var scheduler = new Scheduler(rows, queueLimit: 1_000);
            var served = new double[sizes.Length];
            var running = new List<(Sequence Sequence, int Left)>();
            void Ask(int tenant) => scheduler.TryEnqueue(Request($"{tenant}"));
            for (var tenant = 0; tenant < sizes.Length; tenant++)
                for (var i = 0; i <= rows; i++) Ask(tenant);
            for (var step = 0; step < 400; step++)
            {
                while (scheduler.Next(_ => true) is { } next && scheduler.TryAdmit(next))
                {
                    var tenant = int.Parse(next.Tenant, System.Globalization.CultureInfo.InvariantCulture);
                    running.Add((next, sizes[tenant]));
                    Ask(tenant);
                }
                Assert.Equal(rows, running.Count);
                for (var i = running.Count - 1; i >= 0; i--)
                {
                    var (sequence, left) = running[i];
                    scheduler.Charge(sequence, 1);
                    served[int.Parse(sequence.Tenant, System.Globalization.CultureInfo.InvariantCulture)]++;
                    running[i] = (sequence, left - 1);
                    if (left > 1) continue;
                    scheduler.Release(sequence);
                    running.RemoveAt(i);
                }
                Assert.InRange(served.Max() - served.Min(), 0, 2 * rows * sizes.Max());
            }
        }, iter: 50);
    }

    [Fact]
    public void The_weakest_makes_room_paused_ones_first_and_then_the_newest()
    {
        var scheduler = new Scheduler(rows: 4, queueLimit: 100);
        Sequence[] running = [Request("a", priority: 1), Request("a"), Request("a"), Request("a")];
        foreach (var sequence in running)
        {
            scheduler.TryEnqueue(sequence);
            scheduler.TryAdmit(sequence);
        }
        Assert.Equal(running[3], scheduler.Victim());
        running[1].IsPaused = true;
        Assert.Equal(running[1], scheduler.Victim());
        Assert.Equal([running[1]], scheduler.VictimsFor(Request("b"))!);
        Assert.Equal([running[1], running[3], running[2]], scheduler.VictimsFor(Request("b", priority: 1))!);
        running[1].IsPaused = false;
        Assert.Null(scheduler.VictimsFor(Request("b")));
        Assert.Equal([running[3], running[2], running[1]], scheduler.VictimsFor(Request("b", priority: 1, width: 3))!);
        Assert.Null(scheduler.VictimsFor(Request("b", priority: 1, width: 4)));

        scheduler.SetBack(running[3]);
        Assert.Equal((1, 0.75), (scheduler.Waiting, scheduler.Usage));
        var late = Request("a");
        scheduler.TryEnqueue(late);
        Assert.Empty(scheduler.VictimsFor(late)!);                                          // a row is free
        Assert.Equal(running[3], scheduler.Next(_ => true));                                // its place is that of its arrival
        Assert.Equal(late, scheduler.Next(s => s != running[3]));
    }

    private static void Serve(Scheduler scheduler, Sequence sequence, double tokens)
    {
        scheduler.TryEnqueue(sequence);
        scheduler.TryAdmit(sequence);
        scheduler.Charge(sequence, tokens);
        scheduler.Release(sequence);
    }

    private static Sequence Request(string tenant, int priority = 0, int width = 1) => new()
    {
        Search = new Nothing(), Width = width, Context = [5], Emitted = [], Text = new(Tokens, []), Arrived = 0, Tenant = tenant, Priority = priority,
    };

    private sealed class Nothing : ISearch
    {
        public void Step(Span<float> scores, SearchStep step) { }
    }
}
