using Microsoft.Playwright;

namespace Chat.IntegrationTests.Page;

/// <summary>One headless Chromium for all page tests, with the server that it visits.</summary>
public sealed class Browser : IAsyncLifetime
{
    private IPlaywright? playwright;
    private IBrowser? chromium;
    private ChatServer? server;

    /// <summary>A safety rule refuses texts with this word.</summary>
    public const string ForbiddenWord = "xyzzy";

    /// <summary>Every visit is another user, so tests share the server; each has messages of its own, and sets the words that answer them.</summary>
    public ChatServer Server => server!;

    public async ValueTask InitializeAsync()
    {
        Assertions.SetDefaultExpectTimeout(60_000); // the machine may be busy with the other tests
        server = await StartServerAsync(("Limits:Enabled", "false"));
        playwright = await Playwright.CreateAsync();
        chromium = await playwright.Chromium.LaunchAsync(new()
        {
            ExecutablePath = "/usr/bin/chromium",
            Timeout = 120_000,
            Args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        });
    }

    public static async Task<ChatServer> StartServerAsync(params (string Key, string Value)[] settings)
    {
        var server = await ChatServer.StartAsync(Store.Garnet, settings:
            [("Safety:Words:0", ForbiddenWord), ("Bots:0:name", "chat"), ("Bots:1:name", "guide"), ("Bots:1:greeting", "I know every road."), .. settings]);
        server.Models.Script = _ => "I hear you.";
        return server;
    }

    /// <summary>Opens the page as a user who was never here.</summary>
    public Task<Visit> VisitAsync(BrowserNewContextOptions? options = null, ChatServer? server = null) => Visit.OpenAsync(chromium!, (server ?? Server).Origin, options ?? new());

    public async ValueTask DisposeAsync()
    {
        if (chromium is not null) await chromium.DisposeAsync();
        playwright?.Dispose();
        if (server is not null) await server.DisposeAsync();
    }
}

[CollectionDefinition(nameof(PageCollection))]
public sealed class PageCollection : ICollectionFixture<Browser>;
