using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.DependencyInjection;

namespace Chat.IntegrationTests.Conversations;

/// <summary>SignalR's stateful reconnect: the client neither asks again nor attaches, and yet misses nothing.</summary>
public sealed class CutLineTests
{
    private const string Words = "one two three four five six seven eight nine ten eleven twelve";

    [Theory, InlineData(false), InlineData(true)]
    public async Task A_client_with_stateful_reconnect_loses_nothing_when_its_line_is_cut(bool messagePack)
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        server.Say("count", Words);
        var hold = server.HoldAt("count", 8);
        await using var proxy = new Proxy(server.Address);
        var builder = new HubConnectionBuilder().WithUrl(new Uri(proxy.Address, "hubs/chat")).WithAutomaticReconnect().WithStatefulReconnect();
        if (messagePack) builder.AddMessagePackProtocol(o => o.SerializerOptions = MessagePack.MessagePackSerializerOptions.Standard.WithResolver(MessagePack.Resolvers.ContractlessStandardResolver.Instance));
        await using var connection = builder.Build();
        var reconnects = 0;
        connection.Reconnecting += _ => { Interlocked.Increment(ref reconnects); return Task.CompletedTask; };
        await connection.StartAsync();
        var client = new ChatClient(connection, messagePack);
        await using var direct = await server.ConnectAsync();
        var conversation = await client.StartAsync();
        var id = connection.ConnectionId;
        var heard = client.Send(conversation, "m", "count").AllAsync();
        await Until.TrueAsync(async () => (await direct.HistoryAsync(conversation)).Any(t => (string)t["role"]! == "assistant" && (string)t["text"]! != ""));

        // The line is away from the middle of the reply until after its end.
        proxy.Cut();
        hold.LetGo();
        await Until.TrueAsync(async () => (string)(await direct.HistoryAsync(conversation))[1]["state"]! == "stop");
        proxy.Mend();

        var events = await heard;
        Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.Sequence));
        Assert.Equal((Words, "finished"), (events.Text(), events[^1].Type));
        Assert.Equal((id, 0), (connection.ConnectionId, reconnects));
        Assert.Equal(2, (await client.HistoryAsync(conversation)).Count);
    }

    /// <summary>A line to the server that a test can cut. Who calls while it is cut is connected, and heard once it is mended.</summary>
    private sealed class Proxy : IAsyncDisposable
    {
        private readonly TcpListener listener = new(IPAddress.Loopback, 0);
        private readonly Uri server;
        private readonly Task accepting;
        private readonly List<(TcpClient Client, TcpClient Server)> lines = [];
        private volatile TaskCompletionSource open = new();

        public Proxy(Uri server)
        {
            this.server = server;
            open.SetResult();
            listener.Start();
            accepting = AcceptAsync();
        }

        public Uri Address => new($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}");

        public void Cut()
        {
            open = new();
            lock (lines)
            {
                foreach (var (client, upstream) in lines)
                {
                    client.Close();
                    upstream.Close();
                }
                lines.Clear();
            }
        }

        public void Mend() => open.SetResult();

        public async ValueTask DisposeAsync()
        {
            listener.Stop();
            Cut();
            await accepting;
        }

        private async Task AcceptAsync()
        {
            try
            {
                for (; ; ) _ = ServeAsync(await listener.AcceptTcpClientAsync());
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException) { }     // stopped
        }

        private async Task ServeAsync(TcpClient client)
        {
            using var mine = client;
            await open.Task;
            using var upstream = new TcpClient();
            await upstream.ConnectAsync(server.Host, server.Port);
            lock (lines) lines.Add((client, upstream));
            await Task.WhenAny(PassAsync(client, upstream), PassAsync(upstream, client));
        }

        private static async Task PassAsync(TcpClient from, TcpClient to)
        {
            try { await from.GetStream().CopyToAsync(to.GetStream()); }
            catch (Exception e) when (e is IOException or ObjectDisposedException or InvalidOperationException) { }     // cut
        }
    }
}
