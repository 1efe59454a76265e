using Chat.Api.Hosts;
using Chat.Domain.Generation;

namespace Chat.IntegrationTests.Hosts;

public sealed class HostChoiceTests
{
    private static readonly string[] Names = ["one:5090", "two:5090", "three:5090"];

    [Fact]
    public void Idle_hosts_share_prefixes_evenly()
    {
        var counts = new int[3];
        for (ulong prefix = 0; prefix < 3000; prefix++) counts[HostChoice.Choose(Hosts(0, 0, 0), prefix)]++;

        Assert.All(counts, c => Assert.InRange(c, 900, 1100));
    }

    [Fact]
    public void A_host_that_goes_moves_only_its_own_prefixes()
    {
        for (ulong prefix = 0; prefix < 500; prefix++)
        {
            var before = HostChoice.Choose(Hosts(0, 0, 0), prefix);
            var after = HostChoice.Choose(Hosts(0, 0, 0)[..2], prefix);
            if (before < 2) Assert.Equal(before, after);
        }
    }

    [Fact]
    public void No_host_gets_more_than_its_bound_whatever_the_prefix()
    {
        int[] active = [0, 0, 0];
        for (var request = 1; request <= 300; request++)
        {
            active[HostChoice.Choose(Hosts(active), 7)]++;
            Assert.True(active.Max() <= Math.Ceiling(1.25 * request / 3), string.Join(' ', active));
        }
    }

    [Fact]
    public void A_host_of_more_rows_takes_more()
    {
        int[] active = [0, 0];
        for (var request = 0; request < 300; request++)
            active[HostChoice.Choose([new("one:5090", active[0], 8), new("two:5090", active[1], 24)], (ulong)request)]++;

        Assert.InRange(active[1], 200, 300);
    }

    [Fact]
    public void A_conversation_keeps_its_prefix_as_it_grows()
    {
        ChatMessage[] start = [new(ChatRole.System, "s"), new(ChatRole.User, "hello")];
        var prefix = HostChoice.PrefixOf("hash", start);

        Assert.Equal(prefix, HostChoice.PrefixOf("hash", [.. start, new(ChatRole.Assistant, "aye"), new(ChatRole.User, "more")]));
        Assert.NotEqual(prefix, HostChoice.PrefixOf("hash", [new(ChatRole.User, "hello")]));
        Assert.NotEqual(prefix, HostChoice.PrefixOf("other", start));
    }

    private static HostLoad[] Hosts(params int[] active) => [.. active.Select((n, i) => new HostLoad(Names[i], n, 16))];
}
