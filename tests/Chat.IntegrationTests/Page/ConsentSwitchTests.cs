using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>Where the tenant trains with chats, an entry of a conversation's menu says whether this one may be used.</summary>
[Collection(nameof(PageCollection))]
public sealed class ConsentSwitchTests(Browser browser)
{
    [Theory, InlineData("en-GB", ColorScheme.Light, "Allow use for training", "More actions"), InlineData("zh-CN", ColorScheme.Dark, "允许用于训练", "更多操作")]
    public async Task The_owner_agrees_and_takes_it_back_with_the_keyboard(string locale, ColorScheme theme, string entry, string more)
    {
        await using var server = await Browser.StartServerAsync([("Training:Tenants:0", "default"), ("Limits:Enabled", "false")]);
        using var http = server.Http();
        await using var visit = await browser.VisitAsync(new() { Locale = locale, ColorScheme = theme }, server);
        await visit.AskAsync("May this be learnt from?");
        var box = visit.Page.GetByRole(AriaRole.Menuitemcheckbox, new() { Name = entry, Exact = true });

        await OpenAsync();
        await Expect(box).ToHaveAttributeAsync("aria-checked", "false");
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync($"consent-{locale[..2]}-{theme}".ToLowerInvariant());
        await PressAsync();
        await Expect(visit.Page.Locator("#notice")).ToContainTextAsync(locale == "en-GB" ? "may be used for training" : "可以用于训练");
        await Expect(visit.Button(more)).ToBeFocusedAsync();
        Assert.Contains("May this be learnt from?", await http.GetStringAsync("/api/training/export"), StringComparison.Ordinal);

        await visit.ReloadAsync();
        await OpenAsync();
        await Expect(box).ToHaveAttributeAsync("aria-checked", "true");
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync($"consent-given-{locale[..2]}-{theme}".ToLowerInvariant());
        await PressAsync();
        await Expect(visit.Page.Locator("#notice")).ToContainTextAsync(locale == "en-GB" ? "is not used for training" : "不会用于训练");
        Assert.Equal("", await http.GetStringAsync("/api/training/export"));

        async Task OpenAsync()
        {
            await visit.Button(more).FocusAsync();
            await visit.Page.Keyboard.PressAsync("Enter");
        }

        async Task PressAsync()
        {
            await visit.Page.Keyboard.PressAsync("ArrowDown");
            await visit.Page.Keyboard.PressAsync("ArrowDown");
            await Expect(box).ToBeFocusedAsync();
            await visit.Page.Keyboard.PressAsync("Enter");
        }
    }

    [Fact]
    public async Task Where_nobody_trains_there_is_no_such_entry_and_the_server_is_asked_once()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Nothing to agree to.");

        for (var i = 0; i < 2; i++)
        {
            await visit.Button("More actions").ClickAsync();
            await Expect(visit.Page.GetByRole(AriaRole.Menuitem)).ToHaveCountAsync(3);
            await Expect(visit.Page.GetByRole(AriaRole.Menuitemcheckbox)).ToHaveCountAsync(0);
            await visit.Page.Keyboard.PressAsync("Escape");
        }

        Assert.Single(visit.Requests, url => Regex.IsMatch(url, "/consent$"));
    }
}
