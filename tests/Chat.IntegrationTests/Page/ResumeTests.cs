using System.Collections.Concurrent;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>A reply outlives the page and the connection that asked for it.</summary>
[Collection(nameof(PageCollection))]
public sealed class ResumeTests(Browser browser)
{
    private readonly ChatServer server = browser.Server;

    [Fact]
    public async Task A_reload_in_mid_reply_shows_the_whole_reply_in_the_end()
    {
        server.Say("Sing the long song.", "First verse, 第一节。 Second verse, 第二节。 And the last of all.");
        var hold = server.HoldAt("Sing the long song.", 6);
        await using var visit = await browser.VisitAsync();
        await visit.SendAsync("Sing the long song.");
        await Expect(visit.Replies).ToContainTextAsync("First verse");

        await visit.ReloadAsync();

        await Expect(visit.Replies).ToContainTextAsync("First verse");
        await Expect(visit.Stop).ToBeEnabledAsync();
        hold.LetGo();
        await visit.FinishedAsync();
        Assert.Equal("First verse, 第一节。 Second verse, 第二节。 And the last of all.", await visit.Replies.TextContentAsync());
    }

    [Fact]
    public async Task Cuts_in_mid_reply_lose_and_double_nothing()
    {
        const string Tale = "The storm broke over 韦德林 and the road was lost in the rain. 老国王说：『走吧』, and so they went, on and on, until the 🐉 slept.";
        server.Say("Tell it through a storm.", Tale);
        var hold = server.HoldAt("Tell it through a storm.", 4);
        await using var visit = await browser.VisitAsync();
        var sockets = await RouteSocketAsync(visit);
        await visit.SendAsync("Tell it through a storm.");
        await Expect(visit.Replies).Not.ToBeEmptyAsync();

        for (var cut = 1; cut <= 6; cut++)
        {
            await sockets.Last().CloseAsync();
            hold.LetPast(4 + 5 * cut);
            await Until.TrueAsync(() => sockets.Count == cut + 1);
            // A socket is there before the page is connected; cut again before that, it would count as a failed attempt and the page wait ever longer.
            await Expect(visit.Page.Locator("#notice")).ToBeHiddenAsync();
        }
        hold.LetGo();

        await visit.FinishedAsync();
        Assert.Equal(Tale, await visit.Replies.TextContentAsync());
    }

    [Fact]
    public async Task Without_a_connection_a_message_waits_and_is_sent_once_when_it_is_back()
    {
        server.Say("Anyone there?", "Here again.");
        await using var visit = await browser.VisitAsync();
        var isUp = false;
        await RouteSocketAsync(visit, () => isUp);

        await Expect(visit.Page.Locator("#notice")).ToContainTextAsync("No connection. Trying again in");
        await visit.SendAsync("Anyone there?");
        await Expect(visit.Page.Locator("[data-role=assistant] .state")).ToContainTextAsync("Will be sent as soon as the connection is back.");
        await Expect(visit.Page.Locator("#notice")).ToContainTextAsync("No connection. Trying again in");
        await visit.ScreenshotAsync("offline-en-light");
        await visit.AssertAccessibleAsync();
        isUp = true;
        // In one step: the countdown may end, and the button go, between looking and clicking.
        await visit.Page.EvaluateAsync("() => [...document.querySelectorAll('#notice button')].find(b => b.textContent === 'Connect now')?.click()");

        await Expect(visit.Replies).ToHaveTextAsync("Here again.");
        await Expect(visit.Page.Locator("#notice")).ToBeHiddenAsync();
        Assert.Single(server.Models.Requests, r => r.Messages[^1].Text == "Anyone there?");
    }

    [Fact]
    public async Task A_message_that_waits_for_a_connection_can_be_taken_back()
    {
        await using var visit = await browser.VisitAsync();
        await RouteSocketAsync(visit, () => false);
        await visit.SendAsync("Never mind.");
        await Expect(visit.Questions).ToHaveCountAsync(1);

        await visit.Page.Keyboard.PressAsync("Escape");

        await Expect(visit.Questions).ToHaveCountAsync(0);
        await Expect(visit.Box).ToHaveValueAsync("Never mind.");
    }

    [Fact]
    public async Task A_draft_survives_a_reload_and_stays_with_its_conversation()
    {
        await using var visit = await browser.VisitAsync();
        await visit.AskAsync("A first message.");
        await visit.Box.FillAsync("half a thought");

        await visit.ReloadAsync();

        await Expect(visit.Box).ToHaveValueAsync("half a thought");
        await visit.Button("New chat").ClickAsync();
        await Expect(visit.Box).ToBeEmptyAsync();
    }

    [Fact]
    public async Task A_reply_goes_on_while_another_conversation_is_on_show()
    {
        server.Say("The slow one.", "Slow and steady wins.");
        var hold = server.HoldAt("The slow one.", 2);
        await using var visit = await browser.VisitAsync();
        await visit.SendAsync("The slow one.");
        await Expect(visit.Conversations).ToHaveCountAsync(1);
        await visit.Button("New chat").ClickAsync();
        await Expect(visit.Box).ToBeEmptyAsync();
        await visit.AskAsync("The quick one.");

        hold.LetGo();
        await visit.Conversations.Filter(new() { HasText = "The slow one." }).ClickAsync();

        await Expect(visit.Replies).ToHaveTextAsync("Slow and steady wins.");
    }

    /// <summary>Puts the test between page and server and starts the page's connection anew; refused while <paramref name="isUp"/> says no.</summary>
    private static async Task<ConcurrentQueue<IWebSocketRoute>> RouteSocketAsync(Visit visit, Func<bool>? isUp = null)
    {
        var sockets = new ConcurrentQueue<IWebSocketRoute>();
        await visit.Page.RouteWebSocketAsync("**/hubs/chat", async socket =>
        {
            if (isUp is not null && !isUp())
            {
                await socket.CloseAsync();
                return;
            }
            socket.ConnectToServer();
            sockets.Enqueue(socket);
        });
        await visit.ReloadAsync();
        return sockets;
    }
}
