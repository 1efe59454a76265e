using System.Collections.Concurrent;
using Chat.IntegrationTests.Conversations;

namespace Chat.IntegrationTests.Page;

/// <summary>
/// The product over a model that answers each message with the words that a test has set for it. Every visit is another user, so tests share
/// one server.
/// </summary>
public sealed class PageServer : IAsyncDisposable
{
    /// <summary>A safety rule refuses texts with this word.</summary>
    public const string ForbiddenWord = "xyzzy";

    private readonly ChatServer server;
    private readonly ConcurrentDictionary<string, ConcurrentQueue<string>> replies = new();
    private readonly ConcurrentDictionary<string, Hold> holds = new();

    private PageServer(ChatServer server)
    {
        this.server = server;
        server.Models.Script = request => replies.TryGetValue(request.Messages[^1].Text, out var queue)
            ? queue.Count > 1 && queue.TryDequeue(out var next) ? next : queue.First()
            : "I hear you.";
        server.Models.BeforeToken = (request, token, cancellation) =>
            holds.TryGetValue(request.Messages[^1].Text, out var hold) ? hold.WaitAsync(token, cancellation) : Task.CompletedTask;
    }

    public FakeChatModels Models => server.Models;

    public string Address => server.Address.ToString().TrimEnd('/');

    public static async Task<PageServer> StartAsync(params (string Key, string Value)[] settings) =>
        new(await ChatServer.StartAsync(Store.Garnet, settings:
            [("Safety:Words:0", ForbiddenWord), ("Bots:0:name", "chat"), ("Bots:1:name", "guide"), ("Bots:1:greeting", "I know every road."), .. settings]));

    /// <summary>The replies to a message, one after the other; the last one again and again.</summary>
    public void Say(string to, params IEnumerable<string> words) => replies[to] = new(words);

    /// <summary>Keeps the reply to a message from getting past a token until it is let go, or fails.</summary>
    public Hold HoldAt(string to, int token) => holds[to] = new(token);

    public async ValueTask DisposeAsync()
    {
        var errors = server.Log.Errors;
        await server.DisposeAsync();
        Assert.Empty(errors);
    }

    public sealed class Hold(int token)
    {
        private readonly Lock sync = new();
        private int limit = token;
        private Exception? failure;
        private TaskCompletionSource changed = NewSignal();

        public void LetGo() => LetPast(int.MaxValue);

        /// <summary>Lets the reply go on up to another token.</summary>
        public void LetPast(int next) => Change(() => limit = next);

        public void Fail(Exception error) => Change(() => failure = error);

        internal async Task WaitAsync(int at, CancellationToken cancellation)
        {
            for (; ; )
            {
                Task wait;
                lock (sync)
                {
                    if (at < limit) return;
                    if (failure is not null) throw failure;
                    wait = changed.Task;
                }
                await wait.WaitAsync(cancellation);
            }
        }

        private void Change(Action change)
        {
            TaskCompletionSource signal;
            lock (sync)
            {
                change();
                (signal, changed) = (changed, NewSignal());
            }
            signal.SetResult();
        }

        private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
