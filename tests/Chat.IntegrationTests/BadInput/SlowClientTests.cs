using System.Net.Sockets;
using System.Text;

namespace Chat.IntegrationTests.BadInput;

/// <summary>Clients that drip are thrown out; the limits are lowered here, their kind is the product's.</summary>
public sealed class SlowClientTests
{
    [Theory]
    [InlineData("GET /api/conversations HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")]
    [InlineData("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"model\":\"")]
    [InlineData("PATCH /api/conversations/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"title\":\"")]
    [InlineData("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;")]
    public async Task A_client_that_drips_is_thrown_out(string begin)
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: [("Limits:HeaderSeconds", "2"), ("Limits:BodyGraceSeconds", "2")]);
        using var client = new TcpClient();
        await client.ConnectAsync(server.Address.Host, server.Address.Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes(begin));
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));

        var closed = ReadToEndAsync(stream, deadline.Token);
        while (!closed.IsCompleted)
        {
            try { await stream.WriteAsync("a"u8.ToArray(), deadline.Token); }
            catch (IOException) { break; }
            await Task.WhenAny(closed, Task.Delay(200, deadline.Token));
        }

        Assert.Matches("^(HTTP/1.1 4|$)", await closed);
    }

    private static async Task<string> ReadToEndAsync(NetworkStream stream, CancellationToken cancellation)
    {
        var answer = new StringBuilder();
        var buffer = new byte[4096];
        try
        {
            for (int read; (read = await stream.ReadAsync(buffer, cancellation)) > 0;) answer.Append(Encoding.ASCII.GetString(buffer, 0, read));
        }
        catch (IOException) { }
        return answer.ToString();
    }
}
