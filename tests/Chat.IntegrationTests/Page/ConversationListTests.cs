using System.Text.Json;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>The list at the side: find, name, take away, take along.</summary>
[Collection(nameof(PageCollection))]
public sealed class ConversationListTests(Browser browser)
{
    [Fact]
    public async Task A_conversation_is_listed_under_today_with_its_first_words_and_opens_again()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("The first of them.");
        await visit.Button("New chat").ClickAsync();
        await visit.AskAsync("The second of them.");

        await Expect(visit.Conversations).ToHaveTextAsync(["The second of them.", "The first of them."]);
        await Expect(visit.Page.Locator("#list h2")).ToHaveTextAsync("Today");
        await visit.Conversations.Last.ClickAsync();

        await Expect(visit.Questions).ToHaveTextAsync(["The first of them."]);
        await Expect(visit.Conversations.Last).ToHaveAttributeAsync("aria-current", "page");
        await visit.ReloadAsync();
        await Expect(visit.Questions).ToHaveTextAsync(["The first of them."]);
    }

    [Fact]
    public async Task Search_finds_words_of_title_and_text_and_says_when_there_are_none()
    {
        browser.Server.Say("What do elves eat?", "Mostly waybread.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("What do elves eat?");
        await visit.Button("New chat").ClickAsync();
        await visit.AskAsync("请对下联：春风得意马蹄疾");
        await Expect(visit.Conversations).ToHaveCountAsync(2);

        await visit.Page.Keyboard.PressAsync("Escape");
        await visit.Box.BlurAsync();
        await visit.Page.Keyboard.PressAsync("/");
        var search = visit.Page.GetByRole(AriaRole.Searchbox);
        await Expect(search).ToBeFocusedAsync();
        await search.FillAsync("春风");
        await Expect(visit.Conversations).ToHaveTextAsync(["请对下联：春风得意马蹄疾"]);
        await search.FillAsync("WAYBREAD");
        await Expect(visit.Conversations).ToHaveTextAsync(["What do elves eat?"]);
        await search.FillAsync("dragonfly");
        await Expect(visit.Page.Locator("#list")).ToHaveTextAsync("Nothing found for “dragonfly”.");
        await search.FillAsync("");
        await Expect(visit.Conversations).ToHaveCountAsync(2);
    }

    [Fact]
    public async Task Rename_changes_list_heading_and_tab()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("A dull beginning.");

        await visit.Button("More actions for “A dull beginning.”").ClickAsync();
        await visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Rename" }).ClickAsync();
        var box = visit.Page.GetByLabel("New title");
        await Expect(box).ToHaveValueAsync("A dull beginning.");
        await box.FillAsync("A better title");
        await box.PressAsync("Enter");

        await Expect(visit.Conversations).ToHaveTextAsync(["A better title"]);
        await Expect(visit.Page.GetByRole(AriaRole.Heading, new() { Level = 1 })).ToHaveTextAsync("A better title");
        await Expect(visit.Page).ToHaveTitleAsync("A better title · Chat");
    }

    [Fact]
    public async Task Delete_asks_first_and_then_erases()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Forget this.");
        var address = visit.Page.Url;

        await visit.Button("More actions").ClickAsync();
        await visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Delete" }).ClickAsync();
        await Expect(visit.Page.Locator("#confirm-text")).ToHaveTextAsync("“Forget this.” and all its messages will be erased. This cannot be undone.");
        await visit.Button("Cancel").ClickAsync();
        await Expect(visit.Conversations).ToHaveCountAsync(1);

        await visit.Button("More actions").ClickAsync();
        await visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Delete" }).ClickAsync();
        await visit.Button("Delete").ClickAsync();

        await Expect(visit.Conversations).ToHaveCountAsync(0);
        await Expect(visit.Page.Locator("#thread")).ToContainTextAsync("Hello. What shall we talk about?");
        var gone = await visit.Page.APIRequest.GetAsync($"{browser.Server.Origin}/api/conversations/{new Uri(address).Fragment[1..]}");
        Assert.Equal(404, gone.Status);
    }

    [Fact]
    public async Task A_conversation_can_be_deleted_while_its_reply_runs()
    {
        browser.Server.Say("Do not stop.", "On and on and on and on.");
        browser.Server.HoldAt("Do not stop.", 3);
        await using var visit = await browser.VisitAsync();
        await visit.SendAsync("Do not stop.");
        await Expect(visit.Replies).ToContainTextAsync("On");

        await visit.Button("More actions").ClickAsync();
        await visit.Page.Keyboard.PressAsync("Escape");
        await Expect(visit.Stop).ToBeEnabledAsync();
        await visit.Button("More actions").ClickAsync();
        await visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Delete" }).ClickAsync();
        await visit.Button("Delete").ClickAsync();

        await Expect(visit.Page.Locator(".starter")).ToHaveCountAsync(4);
        await Expect(visit.Stop).ToBeHiddenAsync();
        await Expect(visit.Page.Locator("#notice")).ToBeHiddenAsync();
    }

    [Fact]
    public async Task Export_downloads_the_conversation()
    {
        browser.Server.Say("Write this down.", "It is written.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Write this down.");

        await visit.Button("More actions").ClickAsync();
        var download = await visit.Page.RunAndWaitForDownloadAsync(() => visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Export" }).ClickAsync());

        using var export = JsonDocument.Parse(await File.ReadAllTextAsync((await download.PathAsync())!));
        Assert.Contains("It is written.", export.RootElement.GetRawText());
    }

    [Fact]
    public async Task A_long_list_goes_on_by_itself_and_for_the_keyboard_at_a_button()
    {
        await using var visit = await browser.VisitAsync();
        await visit.Page.EvaluateAsync("""
            async () => {
              const hub = new signalR.HubConnectionBuilder().withUrl('hubs/chat').build();
              await hub.start();
              for (let i = 0; i < 130; i++) await hub.invoke('StartConversation', null);
            }
            """);
        await visit.ReloadAsync();
        await Expect(visit.Conversations).ToHaveCountAsync(50);

        await visit.Button("Show more").FocusAsync(); // which brings it into sight
        await Expect(visit.Conversations).ToHaveCountAsync(100);
        await Expect(visit.Conversations.Nth(50)).ToBeFocusedAsync();
        await visit.Page.Locator("#list").EvaluateAsync("list => { list.scrollTop = list.scrollHeight; }");

        await Expect(visit.Conversations).ToHaveCountAsync(130);
        await Expect(visit.Button("Show more")).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task What_is_deleted_leaves_nothing_in_the_browser_and_the_focus_in_the_message_box()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Forget me too.");
        await visit.Box.FillAsync("a draft that goes as well");

        await visit.Button("More actions").FocusAsync();
        foreach (var key in new[] { "Enter", "ArrowUp", "Enter" }) await visit.Page.Keyboard.PressAsync(key);
        await Expect(visit.Page.Locator("#confirm")).ToBeVisibleAsync();
        await visit.Page.Keyboard.PressAsync("Escape");
        await Expect(visit.Button("More actions")).ToBeFocusedAsync();
        foreach (var key in new[] { "Enter", "ArrowUp", "Enter" }) await visit.Page.Keyboard.PressAsync(key);
        await visit.Button("Delete").PressAsync("Enter");

        await Expect(visit.Conversations).ToHaveCountAsync(0);
        await Expect(visit.Box).ToBeFocusedAsync();
        await Expect(visit.Box).ToBeEmptyAsync();
        Assert.Empty(await visit.Page.EvaluateAsync<string[]>("Object.keys(localStorage)"));
    }

    [Fact]
    public async Task A_question_that_was_closed_before_does_not_answer_the_next_one()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Ask me twice.");
        // A busy browser tells of a closing late: here once the dialog is open again.
        await visit.Page.EvaluateAsync("addEventListener('close', (event) => event.stopImmediatePropagation(), { capture: true, once: true })");
        await AskToDeleteAsync(visit);
        await visit.Page.Keyboard.PressAsync("Escape");
        await Expect(visit.Page.Locator("#confirm")).ToBeHiddenAsync();

        await AskToDeleteAsync(visit);
        await visit.Page.Locator("#confirm").EvaluateAsync("dialog => dialog.dispatchEvent(new Event('close'))");
        await visit.Button("Delete").ClickAsync();

        await Expect(visit.Conversations).ToHaveCountAsync(0);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task A_list_that_was_read_before_a_change_does_not_undo_it(bool isNew)
    {
        await using var visit = await browser.VisitAsync();
        if (!isNew) await visit.AskAsync("Forget me while you read.");
        var (isRead, let, isGiven) = (new TaskCompletionSource(), new TaskCompletionSource(), new TaskCompletionSource());
        await visit.Page.RouteAsync("**/api/conversations?*", async route =>
        {
            var old = await route.FetchAsync();
            isRead.TrySetResult();
            await let.Task;
            try { await route.FulfillAsync(new() { Response = old }); }
            catch (PlaywrightException) { }     // the page has given it up
            isGiven.TrySetResult();
        }, new() { Times = 1 });
        await visit.Page.EvaluateAsync("document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))");     // reads the list again
        await isRead.Task;

        if (isNew)
        {
            await visit.AskAsync("Here since you read.");
            await Expect(visit.Conversations).ToHaveCountAsync(1);
        }
        else
        {
            await AskToDeleteAsync(visit);
            await visit.Button("Delete").ClickAsync();
            await Expect(visit.Conversations).ToHaveCountAsync(0);
        }
        let.SetResult();
        await isGiven.Task;
        await visit.Page.EvaluateAsync("fetch('api/bots').then((answer) => answer.text())");     // comes behind the list

        await Expect(visit.Conversations).ToHaveCountAsync(isNew ? 1 : 0);
    }

    private static async Task AskToDeleteAsync(Visit visit)
    {
        await visit.Button("More actions").ClickAsync();
        await visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Delete" }).ClickAsync();
        await Expect(visit.Page.Locator("#confirm")).ToBeVisibleAsync();
    }

    [Fact]
    public async Task The_menu_is_worked_with_the_keyboard_alone()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Keys only.");

        await visit.Button("More actions").FocusAsync();
        await visit.Page.Keyboard.PressAsync("Enter");
        await Expect(visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Rename" })).ToBeFocusedAsync();
        await visit.Page.Keyboard.PressAsync("ArrowUp");
        await Expect(visit.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Delete" })).ToBeFocusedAsync();
        await visit.Page.Keyboard.PressAsync("Escape");

        await Expect(visit.Page.GetByRole(AriaRole.Menu)).ToHaveCountAsync(0);
        await Expect(visit.Button("More actions")).ToBeFocusedAsync();
    }
}
