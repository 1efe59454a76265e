namespace Chat.IntegrationTests;

public sealed class GarnetServer() : SharedServer(Store.Garnet);

public sealed class RedisBackedServer() : SharedServer(Store.Redis);

/// <summary>One server without rate limits for the tests of a class, which run one after the other; each has conversations of its own.</summary>
public abstract class SharedServer(Store store, params (string Key, string Value)[] settings) : IAsyncLifetime
{
    public ChatServer Server { get; private set; } = null!;

    /// <summary>The user anonymous.</summary>
    public HttpClient Http { get; private set; } = null!;

    public virtual async ValueTask InitializeAsync()
    {
        Server = await ChatServer.StartAsync(store, settings: [("Limits:Enabled", "false"), .. settings]);
        Http = Server.Http();
    }

    public virtual ValueTask DisposeAsync()
    {
        Http.Dispose();
        return Server.DisposeAsync();
    }
}
