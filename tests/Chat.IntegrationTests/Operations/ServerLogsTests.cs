using System.Collections.Concurrent;
using Chat.Api.Operations;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Operations;

public sealed class ServerLogsTests
{
    [Fact]
    public async Task Addresses_of_requests_are_never_logged_since_they_hold_tokens()
    {
        var logs = new Lines();
        var builder = WebApplication.CreateBuilder();
        builder.Configuration.AddInMemoryCollection([new("urls", "http://127.0.0.1:0"), new("Logging:LogLevel:Default", "Information"), new("Logging:LogLevel:Microsoft.AspNetCore", "Information")]);
        builder.Logging.ClearProviders().AddProvider(logs);
        builder.AddServerLogs();
        await using var app = builder.Build();
        app.MapGet("/hubs/chat", () => "");
        await app.StartAsync(TestContext.Current.CancellationToken);

        using var http = new HttpClient();
        await http.GetStringAsync($"{app.Urls.First()}/hubs/chat?access_token=secret", TestContext.Current.CancellationToken);
        await app.StopAsync(TestContext.Current.CancellationToken);

        Assert.Contains(logs.All, line => line.Contains("Executing endpoint", StringComparison.Ordinal));
        Assert.DoesNotContain(logs.All, line => line.Contains("secret", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(null, false)]
    [InlineData("Information", true)]
    public void What_ASP_NET_does_is_told_only_to_those_who_ask(string? level, bool told)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Configuration.AddInMemoryCollection([.. level is null ? [] : new KeyValuePair<string, string?>[] { new("Logging:LogLevel:Microsoft.AspNetCore", level) }]);
        builder.Logging.ClearProviders().AddProvider(new Lines());
        builder.AddServerLogs();
        using var services = builder.Services.BuildServiceProvider();
        var logs = services.GetRequiredService<ILoggerFactory>();

        Assert.Equal(told, logs.CreateLogger("Microsoft.AspNetCore.Routing").IsEnabled(LogLevel.Information));
        Assert.True(logs.CreateLogger("Microsoft.AspNetCore.Routing").IsEnabled(LogLevel.Warning));
        Assert.True(logs.CreateLogger("Chat.Api.Conversations").IsEnabled(LogLevel.Information));
    }

    private sealed class Lines : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<string> All { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;
        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => All.Enqueue(formatter(state, exception));
        public void Dispose() { }
    }
}
