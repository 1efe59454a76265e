using System.Collections.Concurrent;
using Chat.Api.Operations;
using Chat.Domain.Plugins;
using Chat.Domain.Safety;
using Chat.Safety;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Operations;

public sealed class SafetySetupTests
{
    private sealed class Lines : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<(LogLevel Level, string Text)> All { get; } = [];
        public ILogger CreateLogger(string categoryName) => this;
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;
        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            All.Enqueue((logLevel, formatter(state, exception)));
        public void Dispose() { }
    }

    private static SafetyPolicy Policy(Lines? lines = null, params (string Key, string Value)[] settings)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Configuration.AddInMemoryCollection(settings.ToDictionary(s => s.Key, s => (string?)s.Value));
        builder.Logging.ClearProviders().SetMinimumLevel(LogLevel.Trace);
        if (lines is not null) builder.Logging.AddProvider(lines);
        builder.AddPlugins().AddSafety();
        return builder.Build().Services.GetRequiredService<SafetyPolicy>();
    }

    [Fact]
    public void The_audit_names_rule_and_place_and_holds_the_text_at_trace_only()
    {
        var lines = new Lines();
        var policy = Policy(lines, ("Safety:Words:0", "secretword"));

        policy.Check("to a.person@example.com, my secretword", "message-1");
        var gate = policy.OpenGate("reply-1");
        gate.Push("the secretword again");
        gate.Complete();

        var above = lines.All.Where(l => l.Level > LogLevel.Trace).ToList();
        Assert.DoesNotContain(above, l => l.Text.Contains("secretword") || l.Text.Contains("example.com"));
        Assert.Contains(above, l => l.Text == "Safety Input message-1: Refuse by words at 28..38");
        Assert.Contains(above, l => l.Text == "Safety Input message-1: Mask by email at 3..23");
        Assert.Contains(above, l => l.Text == "Safety Output reply-1: Refuse by words at 4..14");
        Assert.Contains(lines.All, l => l.Level == LogLevel.Trace && l.Text.Contains("secretword"));
    }

    [Fact]
    public void An_unknown_filter_fails_the_start_and_the_known_ones_are_listed()
    {
        var error = Assert.Throws<UnknownPluginException>(() => Policy(null, ("Safety:Filters:0", "wordz")));

        Assert.Equal("No safety plugin 'wordz'. Known: email, phone, words.", error.Message);
    }

    [Fact]
    public void Configuration_chooses_filters_and_words()
    {
        var wordsOnly = Policy(null, ("Safety:Filters:0", "words"), ("Safety:ShippedWords", "false"), ("Safety:Masked:0", "小王"), ("Safety:Allow:0", "小王子"));

        Assert.Equal("*** reads 小王子, a@b.co, shit", wordsOnly.Check("小王 reads 小王子, a@b.co, shit", "m").Cleared.Text);
        Assert.Equal(Verdict.Mask, Policy().Check("a@b.co", "m").Verdict);
        Assert.Equal(Verdict.Mask, Policy().Check("shit", "m").Verdict);
    }
}
