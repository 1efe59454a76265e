using Chat.Domain.Generation;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>What can come instead of a whole reply: each state says what happened and what can be done.</summary>
[Collection(nameof(PageCollection))]
public sealed class StatesTests(Browser browser)
{
    private readonly ChatServer server = browser.Server;

    [Fact]
    public async Task A_refused_message_says_so_and_the_conversation_goes_on()
    {
        await using var visit = await browser.VisitAsync();
        await visit.SendAsync($"Tell me about {Browser.ForbiddenWord}.");

        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToHaveTextAsync(
            "This is not something I can answer. A safety rule stopped this reply. You can say it differently. Edit the message");
        await visit.Button("Edit the message").ClickAsync();
        await Expect(visit.Page.GetByRole(AriaRole.Textbox, new() { Name = "Edit the message" })).ToBeFocusedAsync();
        await visit.Page.Keyboard.PressAsync("Escape");
        await visit.AskAsync("Then of something else.");
        await Expect(visit.Replies.Last).ToHaveTextAsync("I hear you.");
        await visit.ReloadAsync();
        await Expect(visit.Page.Locator("[data-role=assistant] .state").First).ToContainTextAsync("This is not something I can answer.");
    }

    [Fact]
    public async Task A_reply_that_safety_ends_keeps_the_words_before_it()
    {
        server.Say("Say the word.", $"The word is this: {Browser.ForbiddenWord}, and more.");
        await using var visit = await browser.VisitAsync();

        await visit.SendAsync("Say the word.");

        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToContainTextAsync("A safety rule stopped this reply.");
        Assert.StartsWith("The word is", await visit.Replies.TextContentAsync());
        Assert.DoesNotContain(Browser.ForbiddenWord, await visit.Page.ContentAsync());
    }

    [Fact]
    public async Task A_model_that_fails_leaves_its_words_and_a_way_to_try_again()
    {
        server.Say("Hold the bridge.", "We held it until the end came, and then ", "We held it.");
        var hold = server.HoldAt("Hold the bridge.", 6);
        await using var visit = await browser.VisitAsync();
        await visit.SendAsync("Hold the bridge.");
        await Expect(visit.Replies).ToContainTextAsync("We held");

        hold.Fail(new GenerationException(GenerationError.Unavailable, "The model is gone."));

        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToContainTextAsync("The reply was interrupted. What arrived is kept.");
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync("interrupted-en-light");
        server.HoldAt("Hold the bridge.", int.MaxValue);
        await visit.Button("Try again").ClickAsync();
        await Expect(visit.Replies).ToHaveTextAsync("We held it.");
    }

    [Fact]
    public async Task A_reply_at_its_length_limit_says_so()
    {
        server.Say("Count to a hundred.", "One, two, three, four, five, six, seven.");
        await using var visit = await browser.VisitAsync();
        await visit.Page.Locator("#tune").ClickAsync();
        await visit.Page.GetByLabel("Longest reply, in tokens").FillAsync("3");
        await visit.Button("Done").ClickAsync();

        await visit.AskAsync("Count to a hundred.");

        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToHaveTextAsync("The reply reached its length limit.");
    }

    [Fact]
    public async Task While_nothing_has_come_yet_the_page_shows_that_it_waits()
    {
        var hold = server.HoldAt("Think first.", 0);
        await using var visit = await browser.VisitAsync();

        await visit.SendAsync("Think first.");

        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToHaveTextAsync("Thinking…");
        await visit.ScreenshotAsync("waiting-en-light");
        await visit.AssertAccessibleAsync();
        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToHaveTextAsync("Still waiting: the model is busy.");
        hold.LetGo();
        await Expect(visit.Replies).ToHaveTextAsync("I hear you.");
    }

    [Fact]
    public async Task Over_the_limit_the_page_counts_down_and_keeps_the_message()
    {
        await using var limited = await Browser.StartServerAsync(("Limits:MessagesPerMinute", "1"));
        await using var visit = await browser.VisitAsync(server: limited);
        await visit.AskAsync("The one that is free.");

        await visit.SendAsync("One too many.");

        var state = visit.Page.Locator("[data-role=user] .state").Last;
        await Expect(state).ToContainTextAsync(new System.Text.RegularExpressions.Regex(@"Too many messages at once\. You can go on in (1 second|\d+ seconds)\."));
        await Expect(visit.Button("Try again")).ToBeDisabledAsync();
        await visit.AssertAccessibleAsync();
        await visit.ScreenshotAsync("limited-en-light");
        await visit.Button("Back to the box").ClickAsync();
        await Expect(visit.Box).ToHaveValueAsync("One too many.");
        await Expect(visit.Questions).ToHaveCountAsync(1);
    }

    [Fact]
    public async Task A_message_that_is_too_long_stays_in_the_box()
    {
        await using var visit = await browser.VisitAsync();
        await visit.Box.FillAsync(new string('x', 20_001));

        await visit.Box.PressAsync("Enter");

        await Expect(visit.Page.Locator("#notice")).ToContainTextAsync("at most 20,000 characters");
        await Expect(visit.Page.Locator("#composer")).ToHaveAttributeAsync("data-count", "20,001 of 20,000 characters");
        await Expect(visit.Questions).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task An_unknown_conversation_leads_back_to_the_beginning()
    {
        await using var visit = await browser.VisitAsync();
        visit.Expected.Add("404");

        await visit.GoAsync("/#nothing-of-mine");
        await visit.ReloadAsync();

        await Expect(visit.Page.Locator(".starter")).ToHaveCountAsync(4);
        Assert.Equal("", new Uri(visit.Page.Url).Fragment.TrimStart('#'));
    }
}
