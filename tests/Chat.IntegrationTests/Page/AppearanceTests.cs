using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>Two languages, two themes, two sizes: each is usable, accessible by axe-core's rules, and photographed for people to look at.</summary>
[Collection(nameof(PageCollection))]
public sealed class AppearanceTests(Browser browser)
{
    private const string Rich = "好的，反向 KL 散度会让学生模型**寻找众数**。\n\n1. 学生自己采样 `y ~ q`\n2. 教师给每个词元打分\n\n```csharp\nvar kl = (q * (q.log() - p.log())).sum();\n```\n\n"
        + "| model | win rate |\n|---|---|\n| student | 0.53 |\n\nIn short: *mode seeking* trades diversity for precision. See https://example.com/kl.";

    [Theory]
    [InlineData("en-GB", ColorScheme.Light), InlineData("en-GB", ColorScheme.Dark), InlineData("zh-CN", ColorScheme.Light), InlineData("zh-CN", ColorScheme.Dark)]
    public async Task The_page_is_accessible_empty_and_with_a_conversation(string locale, ColorScheme theme)
    {
        browser.Server.Say("反向 KL 是什么？", Rich);
        var name = $"{locale[..2]}-{theme}".ToLowerInvariant();
        await using var visit = await browser.VisitAsync(new() { Locale = locale, ColorScheme = theme });
        await Expect(visit.Page.Locator(".starter")).ToHaveCountAsync(4);
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync($"empty-{name}");

        await visit.AskAsync("反向 KL 是什么？");
        await visit.Page.Locator(".bar button[aria-pressed]").Last.ClickAsync();
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync($"conversation-{name}");

        await visit.Page.Locator("#more").ClickAsync();
        await visit.AssertAccessibleAsync();
        await visit.Page.Keyboard.PressAsync("Escape");
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync($"settings-{name}");
    }

    [Theory, InlineData(ColorScheme.Light), InlineData(ColorScheme.Dark)]
    public async Task On_a_phone_the_list_is_a_drawer_and_everything_can_be_touched(ColorScheme theme)
    {
        const string Question = "反向 KL 散度是什么，它为什么会让学生模型寻找众数，而不是覆盖教师的全部分布？";
        browser.Server.Say(Question, Rich);
        await using var visit = await browser.VisitAsync(new()
        {
            Locale = "zh-CN", ColorScheme = theme, ViewportSize = new() { Width = 390, Height = 844 }, IsMobile = true, HasTouch = true, DeviceScaleFactor = 2,
        });
        var name = $"phone-zh-{theme}".ToLowerInvariant();
        await visit.ScreenshotAsync($"empty-{name}");
        await visit.AskAsync(Question);
        await Expect(visit.Conversations).ToBeHiddenAsync();
        await visit.AssertAccessibleAsync();
        await AssertTouchableAsync(visit);
        await visit.ScreenshotAsync($"conversation-{name}");
        Assert.Equal("390 390", await visit.Page.EvaluateAsync<string>("`${document.documentElement.scrollWidth} ${innerWidth}`")); // what is too wide widens the window
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync($"settings-{name}");
        await visit.Page.Keyboard.PressAsync("Escape");

        await visit.Button("打开对话列表").ClickAsync();

        await Expect(visit.Conversations).ToBeVisibleAsync();
        await Expect(visit.Button("关闭对话列表")).ToBeFocusedAsync();
        await visit.AssertAccessibleAsync();
        await AssertTouchableAsync(visit);
        await visit.ScreenshotAsync($"drawer-{name}");
        await visit.Page.Keyboard.PressAsync("Escape");
        await Expect(visit.Conversations).ToBeHiddenAsync();
        await Expect(visit.Button("打开对话列表")).ToBeFocusedAsync();
    }

    [Fact]
    public async Task On_a_phone_the_newest_turn_alone_shows_what_can_be_done_and_a_tap_or_the_focus_shows_it_elsewhere()
    {
        await using var visit = await browser.VisitAsync(new() { ViewportSize = new() { Width = 390, Height = 844 }, IsMobile = true, HasTouch = true });
        await visit.AskAsync("The older one.");
        await visit.AskAsync("The newer one.");
        Assert.Equal("0 0 0 44", await HeightsAsync());

        await visit.Questions.First.TapAsync();
        Assert.Equal("44 0 0 44", await HeightsAsync());
        await visit.Replies.First.TapAsync();
        Assert.Equal("0 44 0 44", await HeightsAsync());
        await visit.Replies.First.TapAsync();
        await visit.Button("Edit").Last.FocusAsync();
        Assert.Equal("0 0 44 44", await HeightsAsync());

        Task<string> HeightsAsync() => visit.Page.EvaluateAsync<string>("[...document.querySelectorAll('.bar')].map(bar => Math.round(bar.getBoundingClientRect().height)).join(' ')");
    }

    [Fact]
    public async Task The_language_can_be_switched_and_is_remembered()
    {
        await using var visit = await browser.VisitAsync();
        await Expect(visit.Page.Locator("html")).ToHaveAttributeAsync("lang", "en");

        await visit.Button("中文 (switch language)").ClickAsync();

        await Expect(visit.Page.Locator("html")).ToHaveAttributeAsync("lang", "zh-CN");
        await Expect(visit.Button("新对话")).ToBeVisibleAsync();
        await visit.ReloadAsync();
        await Expect(visit.Page.Locator(".starter").First).ToHaveTextAsync("你好！");
        Assert.Empty(await visit.Page.EvaluateAsync<string[]>("Object.keys(localStorage).filter(key => !['chat.language', 'chat.theme', 'chat.draft', 'chat.settings', 'chat.branches'].includes(key))"));
    }

    [Fact]
    public async Task The_theme_can_be_switched_and_is_remembered()
    {
        await using var visit = await browser.VisitAsync();
        var light = await BackgroundAsync(visit);

        await visit.Button("Light or dark").ClickAsync();

        Assert.Equal("rgb(251, 250, 247)", light);
        Assert.Equal("rgb(20, 22, 26)", await BackgroundAsync(visit));
        await visit.ReloadAsync();
        Assert.Equal("rgb(20, 22, 26)", await BackgroundAsync(visit));
    }

    [Fact]
    public async Task The_first_tab_stop_leads_past_the_list_to_the_message_box()
    {
        await using var visit = await browser.VisitAsync();

        await visit.Page.Keyboard.PressAsync("Tab");
        await Expect(visit.Page.GetByRole(AriaRole.Link, new() { Name = "Skip to the message box" })).ToBeFocusedAsync();
        await visit.Page.Keyboard.PressAsync("Enter");

        await Expect(visit.Box).ToBeFocusedAsync();
    }

    [Fact]
    public async Task A_starter_begins_a_conversation()
    {
        browser.Server.Say("Who are you?", "A small model.");
        await using var visit = await browser.VisitAsync();

        await visit.Button("Who are you?").ClickAsync();

        await Expect(visit.Replies).ToHaveTextAsync("A small model.");
    }

    private static Task<string> BackgroundAsync(Visit visit) => visit.Page.EvaluateAsync<string>("getComputedStyle(document.body).backgroundColor");

    private static async Task AssertTouchableAsync(Visit visit)
    {
        var small = await visit.Page.EvaluateAsync<string[]>("""
            [...document.querySelectorAll('button, #list a, textarea')].filter(node => node.checkVisibility({ visibilityProperty: true }))
              .map(node => ({ name: node.ariaLabel ?? node.textContent, box: node.getBoundingClientRect() }))
              .filter(({ box }) => box.height < 43.5 || box.width < 43.5).map(({ name, box }) => `${name} ${box.width} x ${box.height}`)
            """);
        Assert.Empty(small);
    }
}
