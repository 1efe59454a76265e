using System.Net.Sockets;
using System.Text.RegularExpressions;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Microsoft.AspNetCore.Connections;

namespace Chat.Api.Operations;

/// <summary>Why the server did not start: one sentence on the error stream and a failing exit code, where somebody can act on it; all of the rest with its stack.</summary>
internal static partial class StartFailure
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
        if (causes.Any(c => c.Message.StartsWith("Unable to configure HTTPS endpoint", StringComparison.Ordinal)))
            return "ASPNETCORE_URLS asks for https, and there is no certificate. Name one (Kestrel__Certificates__Default__Path and __Password), or listen on http behind a proxy that has one.";
        if (causes.Select(c => WrongType().Match(c.Message)).FirstOrDefault(m => m.Success) is { } setting)
            return $"{setting.Groups["name"].Value} is '{setting.Groups["value"].Value}'; it must be {Expected(setting.Groups["type"].Value)}.";
        if (causes.Select(c => WrongLevel().Match(c.Message)).FirstOrDefault(m => m.Success) is { } level)
            return $"Logging has the level '{level.Groups["value"].Value}'; it must be one of {string.Join(", ", Enum.GetNames<LogLevel>())}.";
        return failure is InvalidOperationException or GenerationException or ChatException or UnknownPluginException or CheckpointException or InvalidDataException or DllNotFoundException
            ? string.Join(' ', causes.Where(c => c is not (AggregateException or ArgumentException)).Select(Line).Distinct())
            : null;
    }

    /// <summary>What a setting of the type takes, as the settings' binder names the type.</summary>
    private static string Expected(string type) => AppDomain.CurrentDomain.GetAssemblies().Select(a => a.GetType(type)).FirstOrDefault(t => t is not null) switch
    {
        { IsEnum: true } options => "one of " + string.Join(", ", Enum.GetNames(options)),
        var found when found == typeof(bool) => "true or false",
        var found when found == typeof(int) => "a whole number",
        _ => "a number",
    };

    [GeneratedRegex("^Failed to convert configuration value '(?<value>.*)' at '(?<name>.*)' to type '(?<type>.*)'", RegexOptions.Singleline)]
    private static partial Regex WrongType();

    [GeneratedRegex("^Configuration value '(?<value>.*)' is not supported", RegexOptions.Singleline)]
    private static partial Regex WrongLevel();

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
