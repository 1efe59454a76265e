using System.Text.Json;
using Chat.IntegrationTests.Page;

namespace Chat.IntegrationTests.Node;

/// <summary>The hub as npm's @microsoft/signalr sees it, in both protocols: the same keys, the same words.</summary>
[Collection(nameof(PageCollection))]
public sealed class HubClientTests(Browser browser)
{
    private const string Tale = "Long ago, 很久以前, there was a road that nobody had walked to its end.";

    [Theory, InlineData("json"), InlineData("messagepack")]
    public async Task A_client_starts_sends_cuts_attaches_stops_and_reads_back(string protocol)
    {
        var server = browser.Server;
        server.Say("good morning", "Good morning to you.", "A fine morning.");
        server.Say("good evening", "Good evening.");
        server.Say("tell me", Tale);
        server.Say("never end", Tale);
        var hold = server.HoldAt("tell me", 10);
        server.HoldAt("never end", 6);

        var seen = await NodeScript.RunAsync("hub.mjs", [server.Origin, protocol], line => { if (line == "attached") hold.LetGo(); });

        Assert.Equal(["conversationId", "createdAt", "title"], seen.GetProperty("started").EnumerateObject().Select(p => p.Name).Order());
        AssertReply(seen.GetProperty("sent"), "Good morning to you.", "stop");
        Assert.Equal(seen.GetProperty("sent").GetRawText(), seen.GetProperty("sentAgain").GetRawText());
        Assert.Contains("HubException: conflict: ", seen.GetProperty("conflict").GetString());
        Assert.Contains("HubException: busy: ", seen.GetProperty("busy").GetString());
        AssertReply(seen.GetProperty("cut"), Tale, "stop");
        Assert.Equal(seen.GetProperty("cut").GetRawText(), seen.GetProperty("replayed").GetRawText());
        Assert.Equal(0, seen.GetProperty("beyond").GetArrayLength());

        var stopped = seen.GetProperty("stopped");
        AssertReply(stopped, TextOf(stopped), "stopped");
        Assert.StartsWith(TextOf(stopped), Tale);
        Assert.InRange(stopped.GetArrayLength(), seen.GetProperty("shownWhenStopped").GetInt32(), seen.GetProperty("shownWhenStopped").GetInt32() + 3);
        AssertReply(seen.GetProperty("regenerated"), "A fine morning.", "stop");
        AssertReply(seen.GetProperty("edited"), "Good evening.", "stop");

        AssertHistory(seen, TextOf(stopped));
        var errors = seen.GetProperty("errors");
        Assert.Contains("HubException: not_found: ", errors.GetProperty("unknown").GetString());
        Assert.Contains("HubException: invalid: ", errors.GetProperty("limit").GetString());
        Assert.Contains("HubException: invalid: ", errors.GetProperty("rating").GetString());
        Assert.Contains("HubException: invalid: ", errors.GetProperty("option").GetString());
        Assert.Contains("HubException: too_large: ", errors.GetProperty("long").GetString());
    }

    private static void AssertHistory(JsonElement seen, string stoppedText)
    {
        var turns = seen.GetProperty("history").GetProperty("turns").EnumerateArray().ToArray();
        Assert.Equal(["createdAt", "id", "replyTo", "role", "state", "text"], turns[0].EnumerateObject().Select(p => p.Name).Order());
        Assert.Equal(
            [("user", "good morning"), ("assistant", "Good morning to you."), ("user", "tell me"), ("assistant", Tale), ("user", "never end"), ("assistant", stoppedText),
             ("assistant", "A fine morning."), ("user", "good evening"), ("assistant", "Good evening.")],
            turns.Select(turn => (turn.GetProperty("role").GetString()!, turn.GetProperty("text").GetString()!)));
        var sent = seen.GetProperty("sent")[0].GetProperty("replyId").GetString();
        Assert.Equal([null, "m1", sent, "m2"], turns.Take(4).Select(turn => turn.GetProperty("replyTo").GetString()));
        Assert.Equal("m1", turns[6].GetProperty("replyTo").GetString());
        Assert.Null(turns[7].GetProperty("replyTo").GetString());
        Assert.Equal("stopped", turns[5].GetProperty("state").GetString());
        Assert.Equal(turns[^2..].Select(turn => turn.GetRawText()), seen.GetProperty("lastTwo").GetProperty("turns").EnumerateArray().Select(turn => turn.GetRawText()));
    }

    /// <summary>Started, deltas, finished, with sequences from 1 without a gap; the deltas are the text.</summary>
    private static void AssertReply(JsonElement events, string text, string finishReason)
    {
        var all = events.EnumerateArray().ToArray();
        Assert.Equal(Enumerable.Range(1, all.Length), all.Select(e => e.GetProperty("sequence").GetInt32()));
        Assert.Equal("started", all[0].GetProperty("type").GetString());
        Assert.All(all[1..^1], e => Assert.Equal("delta", e.GetProperty("type").GetString()));
        Assert.Equal("finished", all[^1].GetProperty("type").GetString());
        Assert.Equal(finishReason, all[^1].GetProperty("finishReason").GetString());
        Assert.Single(all.Select(e => e.GetProperty("replyId").GetString()).Distinct());
        Assert.Equal(text, TextOf(events));
    }

    private static string TextOf(JsonElement events) => string.Concat(events.EnumerateArray().Where(e => e.GetProperty("type").GetString() == "delta").Select(e => e.GetProperty("text").GetString()));
}
