using System.Collections.Concurrent;
using Chat.Domain.Generation;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Page;

/// <summary>
/// The product on a real Kestrel, with a model that answers each message with the words that a test has set for it. Every visit is another user,
/// so tests share one server.
/// </summary>
public class PageServer : WebApplicationFactory<Program>
{
    private readonly string data = Directory.CreateTempSubdirectory("chat-page-").FullName;
    private readonly ConcurrentDictionary<string, ConcurrentQueue<string>> replies = new();
    private readonly ConcurrentDictionary<string, Hold> holds = new();

    public PageServer()
    {
        Models.Script = request => replies.TryGetValue(request.Messages[^1].Text, out var queue)
            ? queue.Count > 1 && queue.TryDequeue(out var next) ? next : queue.First()
            : "I hear you.";
        Models.BeforeToken = (request, token, cancellation) =>
            holds.TryGetValue(request.Messages[^1].Text, out var hold) ? hold.WaitAsync(token, cancellation) : Task.CompletedTask;
        UseKestrel(0);
        StartServer();
        Address = ClientOptions.BaseAddress.ToString().TrimEnd('/');
    }

    public FakeChatModels Models { get; } = new();

    public string Address { get; }

    /// <summary>Settings beside the defaults of a development server.</summary>
    protected virtual IEnumerable<(string Key, string Value)> Settings => [("Limits:Enabled", "false")];

    /// <summary>The replies to a message, one after the other; the last one again and again.</summary>
    public void Say(string to, params IEnumerable<string> words) => replies[to] = new(words);

    /// <summary>Keeps the reply to a message from getting past a token until it is let go.</summary>
    public Hold HoldAt(string to, int token) => holds[to] = new(token);

    protected override void ConfigureWebHost(IWebHostBuilder builder)
    {
        builder.UseEnvironment("Development").UseSetting("Data:Folder", data);
        foreach (var (key, value) in Settings) builder.UseSetting(key, value);
        builder.ConfigureLogging(logging => logging.ClearProviders());
        builder.ConfigureTestServices(services =>
        {
            services.RemoveAll<IChatModels>();
            services.AddSingleton<IChatModels>(Models);
            services.AddSingleton<IStartupFilter>(new LetGo(this));
        });
    }

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        if (disposing) Directory.Delete(data, recursive: true);
        GC.SuppressFinalize(this);
    }

    public sealed class Hold(int token)
    {
        private readonly TaskCompletionSource released = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void LetGo() => released.TrySetResult();

        internal Task WaitAsync(int at, CancellationToken cancellation) => at < token ? Task.CompletedTask : released.Task.WaitAsync(cancellation);
    }

    /// <summary>A route for clients in other processes: lets a held reply go.</summary>
    private sealed class LetGo(PageServer server) : IStartupFilter
    {
        public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
        {
            app.Map("/let-go", branch => branch.Run(context =>
            {
                server.holds[context.Request.Query["to"]!].LetGo();
                return Task.CompletedTask;
            }));
            next(app);
        };
    }
}
