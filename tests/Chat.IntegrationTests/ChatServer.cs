using Chat.Domain.Generation;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Chat.IntegrationTests;

public enum Store { Garnet, Redis }

/// <summary>
/// The whole product on a real Kestrel and a real store, over a model whose words the test sets, or over real ones where the settings name a
/// <c>Models:Folder</c>. An error in its log fails the test when the server goes.
/// </summary>
public sealed class ChatServer : IAsyncDisposable
{
    private readonly WebApplicationFactory<Program> factory;
    private readonly RedisServer? redis;
    private readonly bool ownsRedis;
    private readonly string folder;

    private ChatServer(WebApplicationFactory<Program> factory, ServerLog log, string folder, RedisServer? redis, bool ownsRedis)
    {
        (this.factory, Log, this.folder, this.redis, this.ownsRedis) = (factory, log, folder, redis, ownsRedis);
        factory.UseKestrel();
        factory.StartServer();
        Address = new(factory.Services.GetRequiredService<Microsoft.AspNetCore.Hosting.Server.IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.Single());
    }

    /// <summary>The model whose words the test sets.</summary>
    public FakeChatModels Models => (FakeChatModels)Services.GetRequiredService<IChatModels>();

    public ServerLog Log { get; }

    private bool MayLogErrors { get; init; }

    public Uri Address { get; }

    /// <summary>The address without a slash at its end.</summary>
    public string Origin => Address.GetLeftPart(UriPartial.Authority);

    public IServiceProvider Services => factory.Services;

    /// <param name="sharedRedis">A Redis that the test owns, for two servers on one store.</param>
    /// <param name="dataFolder">Garnet's folder where the test chooses it.</param>
    /// <param name="mayLogErrors">For a test that breaks what the server stands on.</param>
    public static async Task<ChatServer> StartAsync(Store store, RedisServer? sharedRedis = null, string? dataFolder = null, bool mayLogErrors = false, params (string Key, string Value)[] settings)
    {
        var folder = dataFolder ?? Directory.CreateTempSubdirectory("chat-test-").FullName;
        var redis = store == Store.Redis ? sharedRedis ?? await RedisServer.StartAsync() : null;
        var log = new ServerLog();
        var factory = new WebApplicationFactory<Program>().WithWebHostBuilder(host =>
        {
            host.UseSetting("urls", "http://127.0.0.1:0");
            host.UseSetting("Data:Folder", folder);
            if (redis is not null) host.UseSetting("ConnectionStrings:Redis", redis.Configuration);
            foreach (var (key, value) in settings) host.UseSetting(key, value);
            host.ConfigureLogging(logs => logs.ClearProviders().AddProvider(log));
            if (settings.All(s => s.Key != "Models:Folder")) host.ConfigureTestServices(services => services.AddSingleton<IChatModels>(new FakeChatModels()));
        });
        return new(factory, log, folder, redis, ownsRedis: sharedRedis is null) { MayLogErrors = mayLogErrors };
    }

    /// <param name="token">A bearer token; none = the user anonymous.</param>
    public async Task<ChatClient> ConnectAsync(bool messagePack = false, string? token = null)
    {
        var builder = new HubConnectionBuilder().WithUrl(new Uri(Address, "hubs/chat"), http =>
        {
            if (token is not null) http.AccessTokenProvider = () => Task.FromResult<string?>(token);
        });
        if (messagePack) builder.AddMessagePackProtocol(o => o.SerializerOptions = MessagePack.MessagePackSerializerOptions.Standard.WithResolver(MessagePack.Resolvers.ContractlessStandardResolver.Instance));
        var connection = builder.Build();
        await connection.StartAsync();
        return new(connection, messagePack);
    }

    public HttpClient Http(string? token = null)
    {
        var client = new HttpClient { BaseAddress = Address };
        if (token is not null) client.DefaultRequestHeaders.Authorization = new("Bearer", token);
        return client;
    }

    /// <summary>The replies to a message, one after the other; the last one again and again.</summary>
    public void Say(string to, params IEnumerable<string> words) => Models.Say(to, words);

    /// <summary>Keeps the reply to a message from getting past a token until it is let go, or fails.</summary>
    public Hold HoldAt(string to, int token) => Models.HoldAt(to, token);

    /// <summary>A connection of the test's own to the store.</summary>
    public Task<ConnectionMultiplexer> OpenStoreAsync() => ConnectionMultiplexer.ConnectAsync(redis?.Configuration ?? $"!{Path.Combine(folder, "store", "garnet.sock")}");

    /// <summary>The names of all keys of the store that match a pattern.</summary>
    public async Task<IReadOnlyList<string>> KeysAsync(string pattern)
    {
        await using var connection = await OpenStoreAsync();
        return [.. connection.GetServers()[0].Keys(pattern: pattern).Select(k => (string)k!)];
    }

    public async ValueTask DisposeAsync()
    {
        await factory.DisposeAsync();
        if (ownsRedis && redis is not null) await redis.DisposeAsync();
        if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        if (!MayLogErrors) Assert.Empty(Log.Errors);
    }
}
