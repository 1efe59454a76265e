using System.Net.Sockets;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Microsoft.AspNetCore.Connections;

namespace Chat.Api.Operations;

/// <summary>Why the server did not start: one sentence on the error stream and a failing exit code, where somebody can act on it; all of the rest with its stack.</summary>
internal static class StartFailure
{
    public const int ExitCode = 1;

    /// <summary>The host would log the stack of what <see cref="Tell"/> says in a sentence; its critical news stay.</summary>
    public static WebApplicationBuilder AddStartFailure(this WebApplicationBuilder builder)
    {
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.Critical);
        return builder;
    }

    /// <returns>The exit code.</returns>
    public static int Tell(Exception failure, TextWriter errors)
    {
        errors.WriteLine($"Chat did not start: {Sentence(failure) ?? failure.ToString()}");
        return ExitCode;
    }

    /// <summary>What is wrong and what to change; <c>null</c> for what nobody expects, which is ours to mend.</summary>
    internal static string? Sentence(Exception failure)
    {
        var causes = Causes(failure).ToList();
        if (causes.OfType<AddressInUseException>().Any())
            return $"{Line(failure)} Another program listens there; end it, or choose another address: ASPNETCORE_URLS=http://localhost:5081";
        if (causes.OfType<SocketException>().FirstOrDefault(e => e.SocketErrorCode is SocketError.AccessDenied or SocketError.AddressNotAvailable) is { } socket)
            return $"{Line(socket)} This is about the address to listen on (ASPNETCORE_URLS): use one of this machine's, with a port above 1023.";
        return failure is InvalidOperationException or GenerationException or ChatException or UnknownPluginException or InvalidDataException or DllNotFoundException
            ? string.Join(' ', causes.Where(c => c is not (AggregateException or ArgumentException)).Select(Line).Distinct())
            : null;
    }

    private static IEnumerable<Exception> Causes(Exception failure)
    {
        for (var cause = failure; cause is not null; cause = cause.InnerException!) yield return cause;
    }

    private static string Line(Exception failure)
    {
        var line = failure.Message.Split('\n', 2)[0].Trim();
        return line.EndsWith('.') ? line : line + ".";
    }
}
