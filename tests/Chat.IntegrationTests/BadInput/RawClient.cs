using System.Net.Sockets;
using System.Text;

namespace Chat.IntegrationTests.BadInput;

/// <summary>Bytes over a bare socket, for what no HTTP client would send.</summary>
internal static class RawClient
{
    /// <summary>Sends the head as Latin-1 and the body as UTF-8, reads until the answer's head is whole or the server closes, and goes away.</summary>
    public static async Task<string> SendAsync(Uri server, string head, string body = "")
    {
        using var client = new TcpClient();
        await client.ConnectAsync(server.Host, server.Port);
        var stream = client.GetStream();
        await stream.WriteAsync((byte[])[.. Encoding.Latin1.GetBytes(head), .. Encoding.UTF8.GetBytes(body)]);
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var answer = new StringBuilder();
        var buffer = new byte[4096];
        while (!answer.ToString().Contains("\r\n\r\n", StringComparison.Ordinal))
        {
            var read = await stream.ReadAsync(buffer, deadline.Token);
            if (read == 0) break;
            answer.Append(Encoding.Latin1.GetString(buffer, 0, read));
        }
        return answer.ToString();
    }
}
