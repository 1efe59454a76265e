using System.Text.Json;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>Where nobody may come without a token (Production) the page asks for one, and for nothing else.</summary>
[Collection(nameof(PageCollection))]
public sealed class SignInTests(Browser browser) : IAsyncLifetime
{
    private ChatServer server = null!;

    public async ValueTask InitializeAsync() => server = await Browser.StartServerAsync([("environment", "Production"), .. Tokens.Settings]);

    public ValueTask DisposeAsync() => server.DisposeAsync();

    [Theory, InlineData("en-GB", ColorScheme.Light), InlineData("zh-CN", ColorScheme.Dark)]
    public async Task Without_a_token_the_page_asks_for_one_and_does_not_try_again_and_again(string locale, ColorScheme theme)
    {
        await using var visit = await OpenAsync(new() { Locale = locale, ColorScheme = theme });

        await Expect(visit.Page.Locator("#list")).ToContainTextAsync(locale == "en-GB" ? "You are not signed in." : "你还没有登录。");
        await Expect(visit.Page.GetByLabel(locale == "en-GB" ? "Access token" : "访问令牌")).ToBeVisibleAsync();
        await Expect(visit.Page.Locator("#composer")).ToBeHiddenAsync();
        await Expect(visit.Page.Locator("#notice")).ToBeHiddenAsync();
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync($"sign-in-{locale[..2]}-{theme}".ToLowerInvariant());
    }

    [Fact]
    public async Task A_token_opens_the_page_until_its_owner_signs_out()
    {
        await using var visit = await OpenAsync();
        await SignInAsync(visit, $"Bearer {Tokens.For("ada")} ");
        await Expect(visit.Page.GetByLabel("Access token")).ToHaveCountAsync(0);
        await visit.AskAsync("Hello, this is Ada.");
        await Expect(visit.Conversations).ToHaveTextAsync(["Hello, this is Ada."]);
        await visit.Button("More actions").ClickAsync();
        var download = await visit.Page.RunAndWaitForDownloadAsync(() => visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Export" }).ClickAsync());
        using var export = JsonDocument.Parse(await File.ReadAllTextAsync((await download.PathAsync())!));
        Assert.Equal("ada", export.RootElement.GetProperty("conversation").GetProperty("user").GetString());

        await visit.ReloadAsync();
        await Expect(visit.Replies).ToHaveTextAsync(["I hear you."]);
        await visit.Button("Sign out").ClickAsync();

        await Expect(visit.Page.GetByLabel("Access token")).ToBeEmptyAsync();
        await Expect(visit.Replies).ToHaveCountAsync(0);
        await SignInAsync(visit, Tokens.For("bob"));
        await Expect(visit.Page.Locator("#list")).ToHaveTextAsync("Your conversations will be listed here.");
    }

    [Fact]
    public async Task A_token_that_is_not_good_is_said_to_be_so()
    {
        await using var visit = await OpenAsync();

        await SignInAsync(visit, Tokens.For("ada", expires: 1));

        await Expect(visit.Page.Locator(".sign-in [role=alert]")).ToHaveTextAsync("The server did not accept this token. It may be incomplete, or have expired.");
        await Expect(visit.Page.GetByLabel("Access token")).ToBeFocusedAsync();
        await visit.AssertAccessibleAsync();
        Assert.Null(await visit.Page.EvaluateAsync<string?>("sessionStorage.getItem('chat.token')"));
    }

    private async Task<Visit> OpenAsync(BrowserNewContextOptions? options = null)
    {
        var visit = await browser.VisitAsync(options, server);
        visit.Expected.Add("401");
        visit.Expected.Add("WebSocket connection to");
        return visit;
    }

    private static async Task SignInAsync(Visit visit, string token)
    {
        await visit.Page.GetByLabel("Access token").FillAsync(token);
        await visit.Page.GetByLabel("Access token").PressAsync("Enter");
    }
}
