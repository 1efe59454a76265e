using System.Text.Json;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>What people do with one conversation, in a real browser.</summary>
[Collection(nameof(PageCollection))]
public sealed class ConversationTests(Browser browser)
{
    private readonly ChatServer server = browser.Server;

    [Fact]
    public async Task Enter_sends_and_the_reply_shows_while_it_is_being_made()
    {
        server.Say("Where is the king?", "The king rests in Weldyn, behind three walls.");
        var hold = server.HoldAt("Where is the king?", 4);
        await using var visit = await browser.VisitAsync();

        await visit.SendAsync("Where is the king?");

        await Expect(visit.Questions).ToHaveTextAsync("Where is the king?");
        await Expect(visit.Replies).ToHaveTextAsync(new System.Text.RegularExpressions.Regex("^The king r?e?s?$"));
        await Expect(visit.Stop).ToBeEnabledAsync();
        await Expect(visit.Box).ToBeEmptyAsync();
        hold.LetGo();
        await visit.FinishedAsync();
        Assert.Equal("The king rests in Weldyn, behind three walls.", await visit.Replies.TextContentAsync());
        await Expect(visit.Page.Locator("#status")).ToHaveTextAsync("Reply complete.");
        await Expect(visit.Page.Locator("#thread")).ToHaveAttributeAsync("aria-live", "off");
    }

    [Fact]
    public async Task Shift_Enter_starts_a_line_and_the_Enter_of_an_input_method_sends_nothing()
    {
        await using var visit = await browser.VisitAsync();

        await visit.Box.PressSequentiallyAsync("one");
        await visit.Box.PressAsync("Shift+Enter");
        await visit.Box.PressSequentiallyAsync("two");
        await visit.Box.EvaluateAsync("box => box.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))");

        await Expect(visit.Box).ToHaveValueAsync("one\ntwo");
        await Expect(visit.Questions).ToHaveCountAsync(0);
        await visit.Box.PressAsync("Enter");
        await Expect(visit.Questions).ToHaveCountAsync(1);
        Assert.Equal("one\ntwo", await visit.Questions.TextContentAsync());
    }

    [Theory, InlineData("button"), InlineData("Escape")]
    public async Task Stop_keeps_what_was_shown(string by)
    {
        var question = $"Tell me all, {by}.";
        server.Say(question, "A very long tale that nobody wants to hear to its end.");
        server.HoldAt(question, 5);
        await using var visit = await browser.VisitAsync();
        await visit.SendAsync(question);
        await Expect(visit.Replies).ToContainTextAsync("A very");

        if (by == "button") await visit.Stop.ClickAsync(); else await visit.Page.Keyboard.PressAsync("Escape");

        await visit.FinishedAsync();
        var shown = await visit.Replies.TextContentAsync();
        Assert.StartsWith("A very", shown);
        await Expect(visit.Page.Locator(".state")).ToContainTextAsync(["", "Stopped."]);
        await visit.ReloadAsync();
        await Expect(visit.Replies).ToHaveTextAsync(shown!);
        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToHaveTextAsync("Stopped.");
    }

    [Fact]
    public async Task Regenerate_adds_a_version_and_each_can_be_seen()
    {
        server.Say("Who guards the ford?", "Konrad does.", "The elves do.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Who guards the ford?");

        await visit.Button("Regenerate").ClickAsync();

        await Expect(visit.Replies).ToHaveTextAsync("The elves do.");
        await Expect(visit.Page.Locator(".versions")).ToHaveTextAsync("2/2");
        await visit.Button("Previous version").ClickAsync();
        await Expect(visit.Replies).ToHaveTextAsync("Konrad does.");
        await Expect(visit.Page.Locator(".versions")).ToHaveTextAsync("1/2");
        await Expect(visit.Button("Previous version")).ToBeDisabledAsync();
    }

    [Fact]
    public async Task Edit_branches_and_the_old_branch_stays()
    {
        server.Say("I like red.", "Red it is.");
        server.Say("I like blue.", "Blue it is.");
        server.Say("And green?", "Green too.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("I like red.");
        await visit.AskAsync("And green?");

        await visit.Button("Edit").First.ClickAsync();
        var box = visit.Page.GetByRole(AriaRole.Textbox, new() { Name = "Edit the message" });
        await Expect(box).ToBeFocusedAsync();
        await Expect(box).ToHaveValueAsync("I like red.");
        await box.FillAsync("I like blue.");
        await box.PressAsync("Enter");

        await Expect(visit.Replies).ToHaveTextAsync(["Blue it is."]);
        await visit.Button("Previous version").ClickAsync();
        await Expect(visit.Questions).ToHaveTextAsync(["I like red.", "And green?"]);
        await Expect(visit.Replies).ToHaveTextAsync(["Red it is.", "Green too."]);
    }

    [Fact]
    public async Task A_message_follows_the_branch_on_show()
    {
        server.Say("Count.", "One.", "Uno.");
        server.Say("Go on.", "Two.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Count.");
        await visit.Button("Regenerate").ClickAsync();
        await Expect(visit.Replies).ToHaveTextAsync("Uno.");
        await visit.FinishedAsync();
        await visit.Button("Previous version").ClickAsync();

        await visit.AskAsync("Go on.");

        await Expect(visit.Replies).ToHaveTextAsync(["One.", "Two."]);
        Assert.Equal(["Count.", "One.", "Go on."], server.Models.Requests.Last(r => r.Messages[^1].Text == "Go on.").Messages.Select(m => m.Text));
    }

    [Fact]
    public async Task A_rating_carries_its_reasons_as_words_and_can_be_taken_back()
    {
        server.Say("Are you sure?", "Quite.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Are you sure?");

        await visit.Button("Not helpful").ClickAsync();
        await visit.Button("Off topic").ClickAsync();
        await visit.Button("Rude").ClickAsync();
        await visit.Page.GetByRole(AriaRole.Textbox, new() { Name = "Anything to add?" }).FillAsync("too short");
        await visit.Button("Send feedback").ClickAsync();

        await Expect(visit.Page.Locator("#status")).ToHaveTextAsync("Thank you for the feedback.");
        await Expect(visit.Button("Not helpful")).ToHaveAttributeAsync("aria-pressed", "true");
        Assert.Contains("#off-topic #rude too short", await ExportAsync(visit));
        await visit.ReloadAsync();
        await Expect(visit.Button("Not helpful")).ToHaveAttributeAsync("aria-pressed", "true");
        await visit.Button("Not helpful").ClickAsync();
        await Expect(visit.Button("Not helpful")).ToHaveAttributeAsync("aria-pressed", "false");
    }

    [Fact]
    public async Task Copy_puts_the_reply_on_the_clipboard()
    {
        server.Say("Say it in bold.", "This is **bold**.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Say it in bold.");

        await visit.Button("Copy").Last.ClickAsync();

        await Expect(visit.Page.Locator("#status")).ToHaveTextAsync("Copied.");
        Assert.Equal("This is **bold**.", await visit.Page.EvaluateAsync<string>("navigator.clipboard.readText()"));
    }

    [Fact]
    public async Task The_chosen_model_and_decoding_travel_with_the_message()
    {
        await using var visit = await browser.VisitAsync();
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.Page.GetByLabel("Model", new() { Exact = true }).SelectOptionAsync("fake-small");
        await visit.Page.GetByLabel("Decoding").SelectOptionAsync("greedy");
        await visit.Page.GetByLabel("Temperature").FillAsync("0.3");
        await visit.Page.GetByLabel("Seed").FillAsync("7");
        await visit.Button("Done").ClickAsync();

        await visit.AskAsync("With settings.");

        await Expect(visit.Page.Locator("#model")).ToHaveTextAsync("Chat · Fake small · Greedy");
        var request = server.Models.Requests.Last(r => r.Messages[^1].Text == "With settings.");
        Assert.Equal("fake-small", request.Model);
        Assert.Equal("""{"temperature":0.3,"seed":7,"strategy":"greedy"}""", request.Decoding!.ToJsonString());
    }

    [Fact]
    public async Task Settings_and_the_chosen_branch_outlive_a_reload()
    {
        server.Say("Which one?", "This one.", "That one.");
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Which one?");
        await visit.Button("Regenerate").ClickAsync();
        await Expect(visit.Replies).ToHaveTextAsync("That one.");
        await visit.FinishedAsync();
        await visit.Button("Previous version").ClickAsync();
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.Page.GetByLabel("Model", new() { Exact = true }).SelectOptionAsync("fake-small");
        await visit.Page.GetByLabel("Decoding").SelectOptionAsync("greedy");
        await visit.Page.GetByLabel("Seed").FillAsync("7");
        await Expect(visit.Page.Locator("#set-details")).ToHaveTextAsync("fake-small: 3 parameters, made on Jan 1, 2025.");
        await visit.Button("Done").ClickAsync();

        await visit.ReloadAsync();

        await Expect(visit.Replies).ToHaveTextAsync("This one.");
        await Expect(visit.Page.Locator(".versions")).ToHaveTextAsync("1/2");
        await Expect(visit.Page.Locator("#model")).ToHaveTextAsync("Chat · Fake small · Greedy");
        await visit.AskAsync("With what was kept.");
        var request = server.Models.Requests.Last(r => r.Messages[^1].Text == "With what was kept.");
        Assert.Equal(("fake-small", """{"seed":7,"strategy":"greedy"}""", "This one."), (request.Model, request.Decoding!.ToJsonString(), request.Messages[1].Text));
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.Button("Defaults").ClickAsync();
        await visit.Button("Done").ClickAsync();
        await visit.ReloadAsync();
        await Expect(visit.Page.Locator("#model")).ToHaveTextAsync("Chat");
    }

    [Fact]
    public async Task A_new_conversation_begins_with_the_chosen_bot_and_its_greeting()
    {
        await using var visit = await browser.VisitAsync();
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.Page.GetByLabel("Who answers in a new chat").SelectOptionAsync("guide");
        await visit.Button("Done").ClickAsync();
        await Expect(visit.Page.Locator(".welcome h2")).ToHaveTextAsync("I know every road.");

        await visit.AskAsync("Which way?");

        var summary = await visit.Page.APIRequest.GetAsync($"{server.Origin}/api/conversations/{new Uri(visit.Page.Url).Fragment.TrimStart('#')}");
        Assert.Equal("guide", (await summary.JsonAsync())!.Value.GetProperty("bot").GetString());
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.Button("Defaults").ClickAsync();
        await visit.Button("Done").ClickAsync();
        await visit.ReloadAsync();
        await Expect(visit.Page.Locator("#model")).ToHaveTextAsync("Guide"); // whoever a conversation began with stays
    }

    [Fact]
    public async Task A_long_conversation_loads_its_earlier_messages_on_demand()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("Turn 0.");
        await visit.Page.EvaluateAsync("""
            async id => {
              const hub = new signalR.HubConnectionBuilder().withUrl('hubs/chat').build();
              await hub.start();
              for (let i = 1; i < 105; i++) {
                await new Promise((complete, error) => hub.stream('Send', { conversationId: id, messageId: `turn-${i}`, text: `Turn ${i}.`, replyTo: null, options: null }).subscribe({ next() {}, complete, error }));
              }
            }
            """, new Uri(visit.Page.Url).Fragment.TrimStart('#'));

        await visit.ReloadAsync();

        await Expect(visit.Questions).ToHaveCountAsync(100);
        await Expect(visit.Questions.Last).ToHaveTextAsync("Turn 104.");
        await Expect(visit.Questions.Last).ToBeInViewportAsync();
        await visit.Button("Load earlier messages").ClickAsync();
        await Expect(visit.Questions).ToHaveCountAsync(105);
        await Expect(visit.Questions.First).ToHaveTextAsync("Turn 0.");
        await Expect(visit.Button("Load earlier messages")).ToHaveCountAsync(0);
    }

    private async Task<string> ExportAsync(Visit visit)
    {
        var id = new Uri(visit.Page.Url).Fragment.TrimStart('#');
        var response = await visit.Page.APIRequest.GetAsync($"{server.Origin}/api/conversations/{id}/export");
        using var export = JsonDocument.Parse(await response.TextAsync());
        return export.RootElement.GetRawText();
    }
}
