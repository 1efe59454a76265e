using System.Net;
using System.Net.Sockets;
using Chat.Api.Hosts;

namespace Chat.IntegrationTests.Hosts;

/// <summary>Hosts that are found by a name.</summary>
public sealed class HostDiscoveryTests : TwoHosts
{
    [Fact]
    public async Task Hosts_behind_a_name_come_and_go_with_its_addresses()
    {
        await using var c = await FakeHost.StartAsync($"http://127.0.0.2:{A.Address.Port}");
        IPAddress[] addresses = [IPAddress.Loopback];
        var asked = new List<string>();
        var models = Gateway(new HostsOptions { Dns = [$"http://hosts.test:{A.Address.Port}"], PollSeconds = 0.05, DnsSeconds = 0.05 }, resolve: (name, _) =>
        {
            asked.Add(name);
            return Task.FromResult(Volatile.Read(ref addresses));
        });
        await models.StartAsync(CancellationToken.None);
        Assert.Equal([A.Name], models.Hosts.Select(h => h.Name));

        // A reply is in its middle there when the address goes and another one comes.
        var mayEnd = new TaskCompletionSource();
        A.Before = (place, _) => place < 3 ? Task.CompletedTask : mayEnd.Task;
        var hearing = HearAsync(models, Request());
        await HeardThree.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Volatile.Write(ref addresses, [IPAddress.Parse("127.0.0.2")]);
        await Until.TrueAsync(() => models.Hosts.Any(h => h.Name == c.Name && h.IsUp) && models.Hosts.Single(h => h.Name == A.Name).IsLeaving);
        await HearAsync(models, Request());
        Assert.Equal((1, 1), (A.Requests.Count, c.Requests.Count));

        // Back before it was gone, and gone for good.
        Volatile.Write(ref addresses, [IPAddress.Loopback, IPAddress.Parse("127.0.0.2")]);
        await Until.TrueAsync(() => models.Hosts.All(h => !h.IsLeaving));
        Assert.Equal([A.Name, c.Name], models.Hosts.Select(h => h.Name));
        Volatile.Write(ref addresses, [IPAddress.Parse("127.0.0.2")]);
        await Until.TrueAsync(() => models.Hosts.Any(h => h.IsLeaving));
        mayEnd.SetResult();
        Assert.Equal("abcdef", Text(await hearing));
        await Until.TrueAsync(() => models.Hosts.Count == 1);
        Assert.Equal([c.Name], models.Hosts.Select(h => h.Name));
        Assert.All(asked, name => Assert.Equal("hosts.test", name));
    }

    [Fact]
    public async Task A_name_that_cannot_be_looked_up_keeps_its_hosts_beside_those_that_are_named()
    {
        var fails = false;
        var asked = 0;
        var models = Gateway(new HostsOptions { Dns = [$"http://hosts.test:{A.Address.Port}"], Addresses = [B.Address.OriginalString], PollSeconds = 0.05, DnsSeconds = 0.05 }, resolve: (_, _) =>
        {
            Interlocked.Increment(ref asked);
            return Volatile.Read(ref fails) ? throw new SocketException((int)SocketError.HostNotFound) : Task.FromResult<IPAddress[]>([IPAddress.Loopback]);
        });
        await models.StartAsync(CancellationToken.None);
        Volatile.Write(ref fails, true);
        var before = Volatile.Read(ref asked);
        await Until.TrueAsync(() => Volatile.Read(ref asked) > before + 2);

        Assert.Equal([A.Name, B.Name], models.Hosts.Select(h => h.Name).OrderBy(n => n != A.Name));
        Assert.All(models.Hosts, h => Assert.False(h.IsLeaving));
        Assert.Equal("abcdef", Text(await HearAsync(models, Request())));
    }
}
