using System.Collections.Concurrent;
using Deque.AxeCore.Playwright;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>
/// One user on the page. However the visit goes, at its end the page must have asked nobody but its own server, and have written no error or
/// breach of its security policy to the console.
/// </summary>
public sealed class Visit : IAsyncDisposable
{
    private readonly IBrowserContext context;
    private readonly string address;
    private readonly ConcurrentQueue<string> problems = new();

    private Visit(IBrowserContext context, IPage page, string address)
    {
        this.context = context;
        this.address = address;
        Page = page;
        page.Request += (_, request) => Requests.Enqueue(request.Url);
        page.WebSocket += (_, socket) => Requests.Enqueue(socket.Url.Replace("ws://", "http://"));
        page.PageError += (_, error) => problems.Enqueue(error);
        page.Console += (_, message) =>
        {
            if (message.Type == "error") problems.Enqueue($"{message.Text} [{message.Location}]");
        };
    }

    public IPage Page { get; }

    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>Problems that this visit provokes on purpose, by a part of their text.</summary>
    public List<string> Expected { get; } = [];

    public ILocator Box => Page.GetByRole(AriaRole.Textbox).Last;

    public ILocator Stop => Page.GetByRole(AriaRole.Button, new() { NameRegex = new("^(Stop|停止)$") });

    public ILocator Replies => Page.Locator("[data-role=assistant] [data-text]");

    public ILocator Questions => Page.Locator("[data-role=user] [data-text]");

    public ILocator Conversations => Page.Locator("#list a");

    public static async Task<Visit> OpenAsync(IBrowser browser, string address, BrowserNewContextOptions options)
    {
        options.Locale ??= "en-GB";
        options.ColorScheme ??= ColorScheme.Light;
        options.ViewportSize ??= new() { Width = 1280, Height = 860 };
        var context = await browser.NewContextAsync(options);
        context.SetDefaultTimeout(60_000);
        await context.GrantPermissionsAsync(["clipboard-read", "clipboard-write"]);
        var visit = new Visit(context, await context.NewPageAsync(), address);
        await visit.GoAsync();
        return visit;
    }

    public async Task GoAsync(string path = "/")
    {
        await Page.GotoAsync(address + path);
        await ReadyAsync();
    }

    public async Task ReloadAsync()
    {
        await Page.ReloadAsync();
        await ReadyAsync();
    }

    public async Task SendAsync(string text)
    {
        await Box.FillAsync(text);
        await Box.PressAsync("Enter");
    }

    /// <summary>Sends and waits for the reply's end.</summary>
    public async Task AskAsync(string text)
    {
        var before = await Replies.CountAsync();
        await SendAsync(text);
        await Expect(Replies).ToHaveCountAsync(before + 1);
        await FinishedAsync();
    }

    public Task FinishedAsync() => Expect(Stop).ToBeHiddenAsync(new() { Timeout = 60_000 });

    public ILocator Button(string name) => Page.GetByRole(AriaRole.Button, new() { Name = name, Exact = true });

    /// <summary>All rules of axe-core, over everything on show.</summary>
    public async Task AssertAccessibleAsync()
    {
        var result = await Page.RunAxe();
        Assert.True(result.Violations.Length == 0, string.Join("\n", result.Violations.Select(v => $"{v.Id}: {v.Help} {string.Join(", ", v.Nodes.Select(n => n.Html))}")));
    }

    /// <summary>For people to look at: artifacts/screenshots beside the test assembly.</summary>
    public Task ScreenshotAsync(string name) =>
        Page.ScreenshotAsync(new() { Path = Path.Combine(AppContext.BaseDirectory, "artifacts", "screenshots", $"{name}.png"), Animations = ScreenshotAnimations.Disabled });

    public async ValueTask DisposeAsync()
    {
        await context.DisposeAsync();
        Assert.All(Requests, url => Assert.StartsWith(address + "/", url + "/", StringComparison.Ordinal));
        var unexpected = problems.Where(problem => !Expected.Any(problem.Contains)).ToArray();
        Assert.True(unexpected.Length == 0, string.Join("\n", unexpected));
    }

    private Task ReadyAsync() => Expect(Page.Locator("#new span")).Not.ToBeEmptyAsync();
}
