using System.Text.Json.Nodes;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;

namespace Chat.Tests.Conversations;

public class TranscriptTests
{
    //  m1 ── r1 ┬─ m2 ┬─ r2
    //           │     └─ r3 (interrupted)
    //           └─ m3 ── r4 (refused)
    private static readonly Transcript Sample = new(
    [
        User("m1", null), Reply("r1", "m1"), User("m2", "r1"), Reply("r2", "m2"), Reply("r3", "m2", TurnState.Interrupted, ""),
        User("m3", "r1"), Reply("r4", "m3", TurnState.Refused, ""),
    ]);

    [Fact]
    public void A_new_message_follows_the_newest_reply_unless_it_names_one()
    {
        Assert.Equal(new ReplyDecision.Begin("m9", true, "hi", "r4"), Sample.Send("m9", "hi", null));
        Assert.Equal(new ReplyDecision.Begin("m9", true, "hi", "r2"), Sample.Send("m9", "hi", "r2"));
        Assert.Equal(new ReplyDecision.Begin("m9", true, "hi", null), new Transcript([]).Send("m9", "hi", null));
        Assert.Equal(ChatError.NotFound, Assert.Throws<ChatException>(() => Sample.Send("m9", "hi", "m1")).Error);
    }

    [Fact]
    public void A_known_message_gives_its_newest_reply_or_a_new_one_where_that_was_interrupted()
    {
        Assert.Equal(new ReplyDecision.Replay(Sample.Find("r1")!), Sample.Send("m1", "text m1", null));
        Assert.Equal(new ReplyDecision.Begin("m2", false, "text m2", "r1"), Sample.Send("m2", "text m2", null));
        Assert.Equal(new ReplyDecision.Replay(Sample.Find("r4")!), Sample.Send("m3", "text m3", null));
        Assert.Equal(ChatError.Conflict, Assert.Throws<ChatException>(() => Sample.Send("m1", "other", null)).Error);
        Assert.Equal(ChatError.Conflict, Assert.Throws<ChatException>(() => Sample.Send("r1", "text r1", null)).Error);
    }

    [Fact]
    public void An_edit_stands_beside_the_edited_message()
    {
        Assert.Equal(new ReplyDecision.Begin("m9", true, "better", "r1"), Sample.Edit("m2", "m9", "better"));
        Assert.Equal(new ReplyDecision.Replay(Sample.Find("r4")!), Sample.Edit("m2", "m3", "text m3"));
        Assert.Equal(ChatError.Conflict, Assert.Throws<ChatException>(() => Sample.Edit("m2", "m3", "other")).Error);
        Assert.Equal(ChatError.Conflict, Assert.Throws<ChatException>(() => Sample.Edit("m2", "m1", "text m1")).Error);
        Assert.Equal(ChatError.NotFound, Assert.Throws<ChatException>(() => Sample.Edit("r1", "m9", "x")).Error);
    }

    [Fact]
    public void A_regeneration_is_heard_once_a_request()
    {
        Assert.Equal(new ReplyDecision.Begin("m1", false, "text m1", null), Sample.Regenerate("r1", null, null));
        Assert.Equal(new ReplyDecision.Replay(Sample.Find("r2")!), Sample.Regenerate("r1", "r2", "r1"));
        Assert.Equal(new ReplyDecision.Begin("m2", false, "text m2", "r1"), Sample.Regenerate("r2", "r3", "r2"));
        Assert.Equal(ChatError.Conflict, Assert.Throws<ChatException>(() => Sample.Regenerate("r2", "r3", "r1")).Error);
    }

    [Fact]
    public void The_dialogue_is_the_branch_without_exchanges_that_were_refused_or_empty()
    {
        Assert.Equal(["text m1", "text r1", "text m2", "text r2"], Sample.DialogueBefore("r2").Select(m => m.Text));
        Assert.Equal(["text m1", "text r1"], Sample.DialogueBefore("r3").Select(m => m.Text));
        Assert.Equal([ChatRole.User, ChatRole.Assistant], Sample.DialogueBefore("r4").Select(m => m.Role));
        Assert.Empty(Sample.DialogueBefore(null));
    }

    [Fact]
    public void A_page_ends_before_a_turn_and_has_at_most_two_hundred()
    {
        var many = new Transcript([.. Enumerable.Range(0, 300).Select(i => User($"m{i}", null))]);

        Assert.Equal(["m2", "r2"], Sample.Page("r3", 2).Select(t => t.Id));
        Assert.Equal(200, many.Page(null, 1000).Count);
        Assert.Equal("m299", many.Page(null, 1)[0].Id);
        Assert.Empty(many.Page("m0", 10));
        Assert.Equal(ChatError.Invalid, Assert.Throws<ChatException>(() => many.Page(null, 0)).Error);
    }

    [Fact]
    public void A_title_never_ends_in_half_a_character()
    {
        Assert.Equal(new string('x', 60), Conversation.TitleOf(new string('x', 61)));
        Assert.Equal(new string('x', 59), Conversation.TitleOf(new string('x', 59) + "🐉"));
        Assert.Equal("short", Conversation.TitleOf("short"));
    }

    [Theory]
    [InlineData("#wrong #short not helpful #late", new[] { "wrong", "short" })]
    [InlineData("no reasons", new string[0])]
    [InlineData("# #语言错误 x", new string[0])]
    [InlineData("#语言错误", new[] { "语言错误" })]
    [InlineData(null, new string[0])]
    public void Reasons_are_the_leading_hash_words(string? comment, string[] reasons) => Assert.Equal(reasons, RatedReply.ReasonsOf(comment));

    [Fact]
    public void Another_strategy_drops_the_options_of_the_one_it_replaces()
    {
        var bot = new ReplyOptions { Model = "a", Decoding = new JsonObject { ["strategy"] = "beam", ["beams"] = 4, ["temperature"] = 1 } };

        var warmer = new ReplyOptions { Decoding = new JsonObject { ["temperature"] = 0.5 } }.Over(bot);
        var other = new ReplyOptions { Model = "b", Decoding = new JsonObject { ["strategy"] = "greedy" } }.Over(bot);

        Assert.Equal("""{"strategy":"beam","beams":4,"temperature":0.5}""", warmer.Decoding!.ToJsonString());
        Assert.Equal(("b", """{"strategy":"greedy"}"""), (other.Model, other.Decoding!.ToJsonString()));
        Assert.Equal("a", warmer.Model);
    }

    private static Turn User(string id, string? follows) =>
        new() { Tenant = "", Id = id, Role = ChatRole.User, Text = $"text {id}", State = TurnState.Stop, ReplyTo = follows, CreatedAt = default };

    private static Turn Reply(string id, string message, TurnState state = TurnState.Stop, string? text = null) =>
        new() { Tenant = "", Id = id, Role = ChatRole.Assistant, Text = text ?? $"text {id}", State = state, ReplyTo = message, CreatedAt = default };
}
