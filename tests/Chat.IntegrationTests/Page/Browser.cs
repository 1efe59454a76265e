using Microsoft.Playwright;

namespace Chat.IntegrationTests.Page;

/// <summary>One headless Chromium for all page tests, with the server that it visits.</summary>
public sealed class Browser : IAsyncLifetime
{
    private IPlaywright? playwright;
    private IBrowser? chromium;
    private PageServer? server;

    public PageServer Server => server!;

    public async ValueTask InitializeAsync()
    {
        Assertions.SetDefaultExpectTimeout(15_000); // the machine may be busy with the other tests
        server = await PageServer.StartAsync(("Limits:Enabled", "false"));
        playwright = await Playwright.CreateAsync();
        chromium = await playwright.Chromium.LaunchAsync(new()
        {
            ExecutablePath = "/usr/bin/chromium",
            Args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        });
    }

    /// <summary>Opens the page as a user who was never here.</summary>
    public Task<Visit> VisitAsync(BrowserNewContextOptions? options = null, PageServer? server = null) => Visit.OpenAsync(chromium!, (server ?? Server).Address, options ?? new());

    public async ValueTask DisposeAsync()
    {
        if (chromium is not null) await chromium.DisposeAsync();
        playwright?.Dispose();
        if (server is not null) await server.DisposeAsync();
    }
}

[CollectionDefinition(nameof(PageCollection))]
public sealed class PageCollection : ICollectionFixture<Browser>;
