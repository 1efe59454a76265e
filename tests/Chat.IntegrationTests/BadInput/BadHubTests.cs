using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.BadInput;

/// <summary>What the hub answers to calls that nobody should make: a clear error of the form «code: sentence», nothing stored, nothing said to the model.</summary>
public sealed class BadHubTests(BadHubTests.Talk talk) : IClassFixture<BadHubTests.Talk>
{
    /// <summary>A conversation with one message "m1" and its reply, both encodings, and somebody else's conversation.</summary>
    public sealed class Talk() : SharedServer(Store.Garnet, Tokens.Settings)
    {
        public ChatClient Json { get; private set; } = null!;
        public ChatClient Pack { get; private set; } = null!;
        public string Conversation { get; private set; } = "";
        public string Reply { get; private set; } = "";
        public string Theirs { get; private set; } = "";
        public string TheirReply { get; private set; } = "";

        public override async ValueTask InitializeAsync()
        {
            await base.InitializeAsync();
            Json = await Server.ConnectAsync();
            Pack = await Server.ConnectAsync(messagePack: true);
            await using var somebodyElse = await Server.ConnectAsync(token: Tokens.For("somebody-else"));
            (Conversation, Reply) = await BeginAsync(Json);
            (Theirs, TheirReply) = await BeginAsync(somebodyElse);
        }

        private static async Task<(string Conversation, string Reply)> BeginAsync(ChatClient client)
        {
            var conversation = await client.StartAsync();
            var events = await client.Send(conversation, "m1", "hello").AllAsync();
            return (conversation, events[0].ReplyId);
        }

        public override async ValueTask DisposeAsync()
        {
            await Json.DisposeAsync();
            await Pack.DisposeAsync();
            await base.DisposeAsync();
        }
    }

    private static string Repeat(string text, int count) => string.Concat(Enumerable.Repeat(text, count));

    private static string Send(string conversation = "{c}", string message = "\"x\"", string text = "\"hi\"", string replyTo = "null", string options = "null") =>
        $$"""[{"conversationId":"{{conversation}}","messageId":{{message}},"text":{{text}},"replyTo":{{replyTo}},"options":{{options}}}]""";

    private static string Decoding(string decoding) => Send(options: $$"""{"model":null,"decoding":{{decoding}}}""");

    /// <summary>Name, method, arguments as JSON ({c}, {r}: our conversation and reply; {tc}, {tr}: somebody else's), code and, behind it, what the sentence must say.</summary>
    public static TheoryData<string, string, string, string> Calls => new()
    {
        { "options of a string", "StartConversation", "[\"x\"]", "invalid" },
        { "options of a number", "StartConversation", "[5]", "invalid" },
        { "two options to start with", "StartConversation", "[null,null]", "invalid" },
        { "a method that is none", "Nothing", "[]", "invalid" },
        { "an unknown model to start with", "StartConversation", """[{"model":"gpt-4"}]""", "invalid" },
        { "an unknown strategy to start with", "StartConversation", """[{"decoding":{"strategy":"beem"}}]""", "invalid" },
        { "an unknown option to start with", "StartConversation", """[{"decoding":{"warmth":1}}]""", "invalid" },

        { "a message that is a string", "Send", "[\"hi\"]", "invalid" },
        { "a message that is null", "Send", "[null]", "invalid" },
        { "a message that is an array", "Send", "[[]]", "invalid" },
        { "an empty message object", "Send", "[{}]", "invalid messageId" },
        { "text empty", "Send", Send(text: "\"\""), "invalid text" },
        { "text null", "Send", Send(text: "null"), "invalid text" },
        { "text of white space", "Send", Send(text: "\" \\n\\u3000\\t \""), "invalid text" },
        { "text a number", "Send", Send(text: "5"), "invalid text" },
        { "text an object", "Send", Send(text: "{}"), "invalid text" },
        { "text an array", "Send", Send(text: "[\"a\"]"), "invalid text" },
        { "text of 20,001 characters", "Send", Send(text: $"\"{Repeat("x", 20_001)}\""), "too_large 20000" },
        { "text of 20,001 Chinese characters", "Send", Send(text: $"\"{Repeat("长", 20_001)}\""), "too_large" },
        { "messageId empty", "Send", Send(message: "\"\""), "invalid messageId" },
        { "messageId null", "Send", Send(message: "null"), "invalid messageId" },
        { "messageId a number", "Send", Send(message: "7"), "invalid" },
        { "messageId an object", "Send", Send(message: "{}"), "invalid messageId" },
        { "messageId with a zero", "Send", Send(message: "\"a\\u0000b\""), "invalid messageId" },
        { "messageId of 129 characters", "Send", Send(message: $"\"{Repeat("m", 129)}\""), "invalid messageId" },
        { "messageId with a line end", "Send", Send(message: "\"a\\nb\""), "invalid" },
        { "messageId of another text", "Send", Send(message: "\"m1\"", text: "\"goodbye\""), "conflict" },
        { "conversation unknown", "Send", Send(conversation: "nowhere"), "not_found" },
        { "conversation empty", "Send", Send(conversation: ""), "invalid|not_found" },
        { "conversation with key signs", "Send", Send(conversation: "a}:turns"), "invalid|not_found" },
        { "conversation with braces", "Send", Send(conversation: "a}b{c"), "not_found" },
        { "conversation null", "Send", """[{"conversationId":null,"messageId":"x","text":"hi","replyTo":null,"options":null}]""", "invalid conversationId" },
        { "conversation with a star", "Send", Send(conversation: "*"), "invalid|not_found" },
        { "somebody else's conversation", "Send", Send(conversation: "{tc}"), "not_found" },
        { "replyTo unknown", "Send", Send(replyTo: "\"nothing\""), "not_found" },
        { "replyTo a number", "Send", Send(replyTo: "5"), "invalid" },
        { "replyTo a message", "Send", Send(replyTo: "\"m1\""), "not_found|invalid" },
        { "replyTo somebody else's reply", "Send", Send(replyTo: "\"{tr}\""), "not_found" },
        { "options a string", "Send", Send(options: "\"fast\""), "invalid" },
        { "options an array", "Send", Send(options: "[]"), "invalid" },
        { "model unknown", "Send", Send(options: """{"model":"gpt-4"}"""), "invalid fake, fake-small" },
        { "model a number", "Send", Send(options: """{"model":4}"""), "invalid" },
        { "decoding a string", "Send", Decoding("\"greedy\""), "invalid" },
        { "decoding an array", "Send", Decoding("[1]"), "invalid" },
        { "strategy unknown", "Send", Decoding("""{"strategy":"beem"}"""), "invalid greedy, sample" },
        { "strategy a number", "Send", Decoding("""{"strategy":1}"""), "invalid" },
        { "strategy in other case", "Send", Decoding("""{"strategy":"Greedy"}"""), "invalid" },
        { "option unknown", "Send", Decoding("""{"warmth":0.5}"""), "invalid temperature" },
        { "temperature negative", "Send", Decoding("""{"temperature":-1}"""), "invalid temperature" },
        { "temperature above 2", "Send", Decoding("""{"temperature":2.5}"""), "invalid" },
        { "temperature a string", "Send", Decoding("""{"temperature":"hot"}"""), "invalid" },
        { "topP 0", "Send", Decoding("""{"topP":0}"""), "invalid" },
        { "topP above 1", "Send", Decoding("""{"topP":1.5}"""), "invalid" },
        { "topK negative", "Send", Decoding("""{"topK":-3}"""), "invalid" },
        { "topK not whole", "Send", Decoding("""{"topK":2.5}"""), "invalid" },
        { "topK an object", "Send", Decoding("""{"topK":{}}"""), "invalid" },
        { "seed not whole", "Send", Decoding("""{"seed":0.5}"""), "invalid" },
        { "seed a string", "Send", Decoding("""{"seed":"1"}"""), "invalid" },
        { "maxTokens 0", "Send", Decoding("""{"maxTokens":0}"""), "invalid" },
        { "maxTokens negative", "Send", Decoding("""{"maxTokens":-10}"""), "invalid" },
        { "maxTokens not whole", "Send", Decoding("""{"maxTokens":1.25}"""), "invalid" },
        { "minTokens negative", "Send", Decoding("""{"minTokens":-1}"""), "invalid" },
        { "stop a number", "Send", Decoding("""{"stop":3}"""), "invalid" },
        { "an arm", "Send", Send(options: """{"arm":"b"}"""), "invalid arm" },
        { "a pack", "Send", Send(options: """{"pack":"p"}"""), "invalid pack" },
        { "a soft prompt", "Send", Send(options: """{"softPrompt":"p"}"""), "invalid softPrompt" },
        { "a safety profile", "Send", Send(options: """{"safetyProfile":"p"}"""), "invalid safetyProfile" },
        { "another bot", "Send", Send(options: """{"bot":"other"}"""), "invalid bot" },
        { "repetitionPenalty 0", "Send", Decoding("""{"repetitionPenalty":0}"""), "invalid" },

        { "attach to an unknown reply", "Attach", """["{c}","nothing",0]""", "not_found" },
        { "attach to a message", "Attach", """["{c}","m1",0]""", "not_found" },
        { "attach in an unknown conversation", "Attach", """["nowhere","{r}",0]""", "not_found" },
        { "attach to somebody else's reply", "Attach", """["{tc}","{tr}",0]""", "not_found" },
        { "attach to their reply through our conversation", "Attach", """["{c}","{tr}",0]""", "not_found" },
        { "attach after -1", "Attach", """["{c}","{r}",-1]""", "invalid" },
        { "attach after a string", "Attach", """["{c}","{r}","0"]""", "invalid" },
        { "attach after a fraction", "Attach", """["{c}","{r}",1.5]""", "invalid" },
        { "attach to null", "Attach", """["{c}",null,0]""", "invalid|not_found" },
        { "attach with too few arguments", "Attach", """["{c}","{r}"]""", "invalid" },

        { "stop an unknown reply", "Stop", """["{c}","nothing"]""", "not_found" },
        { "stop somebody else's reply", "Stop", """["{tc}","{tr}"]""", "not_found" },
        { "stop null", "Stop", """[null,null]""", "invalid|not_found" },
        { "stop in null", "Stop", """[null,"{r}"]""", "invalid" },
        { "stop in an unknown conversation", "Stop", """["nowhere","{r}"]""", "not_found" },
        { "stop with too few arguments", "Stop", """["{c}"]""", "invalid" },
        { "stop with too many arguments", "Stop", """["{c}","{r}",1]""", "invalid" },

        { "regenerate an unknown reply", "Regenerate", """["{c}","nothing","q1",null]""", "not_found" },
        { "regenerate a message", "Regenerate", """["{c}","m1","q1",null]""", "not_found" },
        { "regenerate somebody else's reply", "Regenerate", """["{tc}","{tr}","q1",null]""", "not_found" },
        { "regenerate without requestId", "Regenerate", """["{c}","{r}",null,null]""", "invalid" },
        { "regenerate with requestId empty", "Regenerate", """["{c}","{r}","",null]""", "invalid" },
        { "regenerate with an unknown option", "Regenerate", """["{c}","{r}","q1",{"decoding":{"warmth":1}}]""", "invalid" },
        { "regenerate with options of a string", "Regenerate", """["{c}","{r}","q1","x"]""", "invalid" },

        { "edit an unknown message", "Edit", """["{c}","nothing","m9","hi"]""", "not_found" },
        { "edit a reply", "Edit", """["{c}","{r}","m9","hi"]""", "not_found" },
        { "edit somebody else's message", "Edit", """["{tc}","m1","m9","hi"]""", "not_found" },
        { "edit to nothing", "Edit", """["{c}","m1","m9",""]""", "invalid" },
        { "edit to null", "Edit", """["{c}","m1","m9",null]""", "invalid" },
        { "edit to too much", "Edit", $$"""["{c}","m1","m9","{{Repeat("x", 20_001)}}"]""", "too_large" },
        { "edit under the id of another text", "Edit", """["{c}","m1","m1","other"]""", "conflict" },
        { "edit without new id", "Edit", """["{c}","m1",null,"hi"]""", "invalid" },

        { "rate an unknown reply", "Rate", """["{c}","nothing","up",null]""", "not_found" },
        { "rate in an unknown conversation", "Rate", """["nowhere","{r}","up",null]""", "not_found" },
        { "rate a message", "Rate", """["{c}","m1","up",null]""", "not_found" },
        { "rate somebody else's reply", "Rate", """["{tc}","{tr}","up",null]""", "not_found" },
        { "rate meh", "Rate", """["{c}","{r}","meh",null]""", "invalid" },
        { "rate in other case", "Rate", """["{c}","{r}","Up",null]""", "invalid" },
        { "rate 1", "Rate", """["{c}","{r}",1,null]""", "invalid" },
        { "a comment of 2,001 characters", "Rate", $$"""["{c}","{r}","up","{{Repeat("c", 2001)}}"]""", "too_large" },
        { "a comment that is an array", "Rate", """["{c}","{r}","up",[]]""", "invalid" },

        { "choose where no pair is", "Choose", """["{c}","pair",null]""", "not_found" },
        { "choose a reply where no pair is", "Choose", """["{c}","pair","{r}"]""", "not_found" },
        { "choose in an unknown conversation", "Choose", """["nowhere","pair","{r}"]""", "not_found" },

        { "a history of 0", "History", """["{c}",null,0]""", "invalid" },
        { "a history of a fraction", "History", """["{c}",null,1.5]""", "invalid" },
        { "a history of null", "History", """["{c}",null,null]""", "invalid" },
        { "a history of a number's", "History", """[7,null,10]""", "invalid" },
        { "a history of -5", "History", """["{c}",null,-5]""", "invalid" },
        { "a history of a string", "History", """["{c}",null,"10"]""", "invalid" },
        { "a history of too many to count", "History", """["{c}",null,99999999999]""", "invalid" },
        { "a history before nothing", "History", """["{c}","nothing",10]""", "not_found" },
        { "somebody else's history", "History", """["{tc}",null,10]""", "not_found" },
        { "the history of nowhere", "History", """["nowhere",null,10]""", "not_found" },
    };

    [Theory, MemberData(nameof(Calls))]
    public async Task A_bad_call_is_an_error_with_a_code_and_stores_nothing(string name, string method, string arguments, string codes)
    {
        var values = JsonNode.Parse(arguments.Replace("{c}", talk.Conversation).Replace("{r}", talk.Reply).Replace("{tc}", talk.Theirs).Replace("{tr}", talk.TheirReply))!.AsArray();
        var (code, part) = codes.Split(' ', 2) is [var first, var rest] ? (first, rest) : (codes, "");
        var before = (await talk.Json.HistoryAsync(talk.Conversation)).Count;
        var heard = talk.Server.Models.Requests.Count;

        foreach (var client in new[] { talk.Json, talk.Pack })
        {
            object?[] copies = [.. values.Select(v => v?.DeepClone())];
            var error = method is "Send" or "Attach" or "Regenerate" or "Edit"
                ? await ChatClient.ErrorOfAsync(client.StreamAsync(method, copies))
                : await ChatClient.ErrorOfAsync(async () => await client.InvokeAsync(method, copies));
            Assert.True(code.Split('|').Any(c => error.StartsWith($"{c}: ", StringComparison.Ordinal)) && error.Contains(part, StringComparison.Ordinal), $"{name}: {error}");
            Assert.True(error.Length > 15 && error.Length < 2000 && !error.Contains("   at "), $"{name}: {error}");
        }

        Assert.Equal(before, (await talk.Json.HistoryAsync(talk.Conversation)).Count);
        Assert.Equal(heard, talk.Server.Models.Requests.Count);
    }

    [Theory]
    [InlineData(double.NaN), InlineData(double.PositiveInfinity), InlineData(double.NegativeInfinity)]
    public async Task A_number_that_is_none_is_invalid(double value)
    {
        var message = new Dictionary<string, object?>
        {
            ["conversationId"] = talk.Conversation, ["messageId"] = "nan", ["text"] = "hi", ["replyTo"] = null,
            ["options"] = new Dictionary<string, object?> { ["decoding"] = new Dictionary<string, object?> { ["temperature"] = value } },
        };

        var error = await ChatClient.ErrorOfAsync(async () => { await foreach (var _ in Microsoft.AspNetCore.SignalR.Client.HubConnectionExtensions.StreamAsync<object>(talk.Pack.Connection, "Send", message)) { } });

        Assert.StartsWith("invalid: ", error);
        Assert.DoesNotContain(await talk.Json.HistoryAsync(talk.Conversation), t => (string)t["id"]! == "nan");
    }

    [Fact]
    public async Task Somebody_elses_id_is_answered_word_for_word_like_an_unknown_one()
    {
        foreach (var (method, arguments) in new (string, Func<string, string, object?[]>)[]
        {
            ("Attach", (c, r) => [c, r, 0L]), ("Stop", (c, r) => [c, r]), ("Rate", (c, r) => [c, r, "up", null]), ("History", (c, r) => [c, null, 5]), ("Regenerate", (c, r) => [c, r, "q", null]), ("Edit", (c, r) => [c, "m1", "m7", "hi"]),
        })
        {
            async Task<string> ErrorAsync(string conversation, string reply) => method is "Attach" or "Regenerate" or "Edit"
                ? await ChatClient.ErrorOfAsync(talk.Json.StreamAsync(method, arguments(conversation, reply)))
                : await ChatClient.ErrorOfAsync(async () => await talk.Json.InvokeAsync(method, arguments(conversation, reply)));

            Assert.Equal(await ErrorAsync("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"), await ErrorAsync(talk.Theirs, talk.TheirReply));
        }
    }

    [Fact]
    public async Task Unknown_fields_are_ignored()
    {
        var conversation = await talk.Json.StartAsync(new { mood = "fine" });

        var events = await talk.Json.StreamAsync("Send", new { conversationId = conversation, messageId = "m", text = "hi", replyTo = (string?)null, options = new { colour = "blue" }, trace = 7 }).AllAsync();

        Assert.Equal("finished", events[^1].Type);
    }
}
