using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using static Chat.IntegrationTests.OpenAi.Completions;

namespace Chat.IntegrationTests.OpenAi;

public sealed class ChatCompletionsTests : IClassFixture<ChatCompletionsTests.FilteredServer>
{
    public sealed class FilteredServer() : SharedServer(Store.Garnet, ("Safety:Words:0", "forbidden"), ("Safety:Masked:0", "darn"));

    private readonly FakeChatModels models;
    private readonly HttpClient client;

    public ChatCompletionsTests(FilteredServer shared)
    {
        (models, client) = (shared.Server.Models, shared.Http);
        models.Forget();
    }

    private static string ContentOf(JsonObject completion, int index = 0) => completion["choices"]![index]!["message"]!["content"]!.GetValue<string>();

    private static string ContentOf(IEnumerable<JsonObject> chunks, int index = 0) => string.Concat(ChoicesOf(chunks, index).Select(c => c["delta"]!["content"]?.GetValue<string>()));

    private static IEnumerable<JsonObject> ChoicesOf(IEnumerable<JsonObject> chunks, int index = 0) =>
        chunks.SelectMany(c => c["choices"]!.AsArray()).Select(c => c!.AsObject()).Where(c => c["index"]!.GetValue<int>() == index);

    private static byte[] BytesOf(JsonNode? logprobs) => [.. logprobs!["content"]!.AsArray().SelectMany(t => t!["bytes"]!.AsArray()).Select(b => b!.GetValue<byte>())];

    [Fact]
    public async Task A_plain_answer_has_the_shape_that_clients_know()
    {
        models.Script = _ => "Aye, 你好 🐉.";

        var answer = await client.AnswerAsync(Ask("hello", ("seed", 1)));

        Assert.Equal("chat.completion", answer["object"]!.GetValue<string>());
        Assert.StartsWith("chatcmpl-", answer["id"]!.GetValue<string>());
        Assert.Equal("fake", answer["model"]!.GetValue<string>());
        Assert.Equal("""[{"index":0,"message":{"content":"Aye, 你好 🐉.","refusal":null,"role":"assistant"},"logprobs":null,"finish_reason":"stop"}]""", Plain(answer["choices"]!));
        var usage = answer["usage"]!;
        Assert.Equal(5, usage["prompt_tokens"]!.GetValue<int>());
        Assert.Equal(usage["prompt_tokens"]!.GetValue<int>() + usage["completion_tokens"]!.GetValue<int>(), usage["total_tokens"]!.GetValue<int>());
    }

    private static string Plain(JsonNode node) => node.ToJsonString(new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.Create(System.Text.Unicode.UnicodeRanges.All) }).Replace("\\uD83D\\uDC09", "🐉");

    [Theory]
    [InlineData(1), InlineData(2), InlineData(3), InlineData(40), InlineData(-5)]
    public async Task Under_one_seed_the_streamed_text_is_the_plain_text(long seed)
    {
        var plain = await client.AnswerAsync(Ask("hello", ("seed", seed)));
        var streamed = await client.StreamAsync(Ask("hello", ("seed", seed)));

        Assert.Equal(ContentOf(plain), ContentOf(streamed));
        Assert.True(streamed.Count > 5);
        Assert.Equal("assistant", streamed[0]["choices"]![0]!["delta"]!["role"]!.GetValue<string>());
        Assert.All(streamed, chunk => Assert.Equal("chat.completion.chunk", chunk["object"]!.GetValue<string>()));
        Assert.Equal("stop", ChoicesOf(streamed).Last()["finish_reason"]!.GetValue<string>());
        Assert.All(ChoicesOf(streamed).SkipLast(1), c => Assert.Null(c["finish_reason"]));
    }

    [Fact]
    public async Task Choices_are_numbered_and_each_has_its_own_words()
    {
        var plain = await client.AnswerAsync(Ask("hello", ("seed", 9), ("n", 3)));
        var streamed = await client.StreamAsync(Ask("hello", ("seed", 9), ("n", 3)));

        Assert.Equal([0, 1, 2], plain["choices"]!.AsArray().Select(c => c!["index"]!.GetValue<int>()));
        Assert.Equal(3, plain["choices"]!.AsArray().Select(c => c!["message"]!["content"]!.GetValue<string>()).Distinct().Count());
        for (var i = 0; i < 3; i++) Assert.Equal(ContentOf(plain, i), ContentOf(streamed, i));
        Assert.Equal(5, plain["usage"]!["prompt_tokens"]!.GetValue<int>());
    }

    [Fact]
    public async Task Options_reach_the_model_under_its_own_names()
    {
        await client.AnswerAsync(Ask("hello", ("temperature", 0.5), ("top_p", 0.9), ("seed", 3), ("max_tokens", 20), ("stop", "##"), ("frequency_penalty", 1), ("presence_penalty", -1),
            ("logit_bias", new JsonObject { ["12"] = -100 }), ("decoding", new JsonObject { ["strategy"] = "sample", ["topK"] = 7, ["temperature"] = 1.5 })));

        Assert.True(models.Requests.TryDequeue(out var request));
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse("""
            {"strategy":"sample","topK":7,"temperature":0.5,"topP":0.9,"frequencyPenalty":1,"presencePenalty":-1,"seed":3,"stop":["##"],"logitBias":{"12":-100},"maxTokens":20}
            """), request.Decoding), request.Decoding!.ToJsonString());
    }

    [Fact]
    public async Task Messages_reach_the_model_in_order_with_their_roles_and_parts_joined()
    {
        var body = Ask();
        body["messages"] = JsonNode.Parse("""
            [{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
             {"role":"assistant","content":null},{"role":"user","content":"bye","name":"ann"}]
            """);

        await client.AnswerAsync(body);

        Assert.True(models.Requests.TryDequeue(out var request));
        Assert.Equal([new(ChatRole.System, "Be brief."), new(ChatRole.User, "ab"), new(ChatRole.Assistant, ""), new(ChatRole.User, "bye")], request.Messages);
    }

    [Fact]
    public async Task The_token_limit_ends_a_reply_with_length()
    {
        models.Script = _ => "one two three four five six";

        var answer = await client.AnswerAsync(Ask("hello", ("max_completion_tokens", 3)));

        Assert.Equal("length", answer["choices"]![0]!["finish_reason"]!.GetValue<string>());
        Assert.Equal(3, answer["usage"]!["completion_tokens"]!.GetValue<int>());
    }

    [Fact]
    public async Task Usage_is_streamed_only_when_asked_for_and_agrees_with_the_plain_one()
    {
        var plain = await client.AnswerAsync(Ask("hello", ("seed", 4), ("n", 2)));
        var without = await client.StreamAsync(Ask("hello", ("seed", 4), ("n", 2)));
        var with = await client.StreamAsync(Ask("hello", ("seed", 4), ("n", 2), ("stream_options", new JsonObject { ["include_usage"] = true })));

        Assert.All(without, chunk => Assert.False(chunk.ContainsKey("usage")));
        Assert.All(with.SkipLast(1), chunk => Assert.True(chunk.ContainsKey("usage") && chunk["usage"] is null));
        Assert.Empty(with[^1]["choices"]!.AsArray());
        Assert.True(JsonNode.DeepEquals(plain["usage"], with[^1]["usage"]));
    }

    [Theory]
    [InlineData("Aye, 你好 🐉 said the dragon.")]
    [InlineData("darn, write to jo.doe@example.com or call 13800138000 now 你好")]
    [InlineData("🐉🐉darn🐉🐉 darn darn")]
    [InlineData("")]
    public async Task The_bytes_of_the_log_probabilities_are_the_content(string script)
    {
        models.Script = _ => script;

        var plain = await client.AnswerAsync(Ask("hello", ("logprobs", true), ("top_logprobs", 2)));
        var streamed = await client.StreamAsync(Ask("hello", ("logprobs", true), ("top_logprobs", 2)));

        Assert.Equal(ContentOf(plain), Encoding.UTF8.GetString(BytesOf(plain["choices"]![0]!["logprobs"])));
        Assert.Equal(ContentOf(plain), ContentOf(streamed));
        Assert.Equal(BytesOf(plain["choices"]![0]!["logprobs"]), ChoicesOf(streamed).Where(c => c["logprobs"] is not null).SelectMany(c => BytesOf(c["logprobs"])));
        Assert.DoesNotContain("example", plain.ToJsonString());
        Assert.DoesNotContain("138001", plain.ToJsonString());
    }

    [Fact]
    public async Task Log_probabilities_are_the_models_and_alternatives_as_many_as_asked_for()
    {
        models.Script = _ => "plain words only";

        var answer = await client.AnswerAsync(Ask("hello", ("logprobs", true), ("top_logprobs", 3)));

        var entries = answer["choices"]![0]!["logprobs"]!["content"]!.AsArray();
        Assert.Equal(answer["usage"]!["completion_tokens"]!.GetValue<int>(), entries.Count);
        Assert.Equal(entries.Select((_, i) => -0.25 * (i % 7)), entries.Select(e => e!["logprob"]!.GetValue<double>()));
        Assert.All(entries, e => Assert.Equal(["aye", "nay", "龙"], e!["top_logprobs"]!.AsArray().Select(t => t!["token"]!.GetValue<string>())));
    }

    [Fact]
    public async Task An_alternative_that_the_filters_forbid_is_left_out()
    {
        models.Script = _ => "plain words";
        models.Alternatives = [" forbidden", "fine"];

        var answer = await client.AnswerAsync(Ask("hello", ("logprobs", true), ("top_logprobs", 2)));

        Assert.DoesNotContain("forbidden", answer.ToJsonString());
        Assert.Contains("fine", answer.ToJsonString());
    }

    [Fact]
    public async Task A_refused_message_is_answered_by_a_refusal_and_never_reaches_the_model()
    {
        var plain = await client.AnswerAsync(Ask("say forbidden things", ("n", 2)));
        var streamed = await client.StreamAsync(Ask("say forbidden things"));

        Assert.Empty(models.Requests);
        Assert.All(plain["choices"]!.AsArray(), c => Assert.Equal("content_filter", c!["finish_reason"]!.GetValue<string>()));
        Assert.Null(plain["choices"]![0]!["message"]!["content"]);
        Assert.NotEmpty(plain["choices"]![0]!["message"]!["refusal"]!.GetValue<string>());
        Assert.Equal("content_filter", ChoicesOf(streamed).Last()["finish_reason"]!.GetValue<string>());
    }

    [Fact]
    public async Task Masked_input_reaches_the_model_masked()
    {
        await client.AnswerAsync(Ask("call 13800138000, darn"));

        Assert.True(models.Requests.TryDequeue(out var request));
        Assert.Equal("call [phone], ***", request.Messages[0].Text);
    }

    [Fact]
    public async Task A_refused_reply_ends_before_the_refused_word_in_both_forms()
    {
        models.Script = _ => "the word is forbidden and so on for a while";

        var plain = await client.AnswerAsync(Ask());
        var streamed = await client.StreamAsync(Ask());

        Assert.Equal("the word is ", ContentOf(plain));
        Assert.Equal("content_filter", plain["choices"]![0]!["finish_reason"]!.GetValue<string>());
        Assert.Equal("the word is ", ContentOf(streamed));
        Assert.Equal("content_filter", ChoicesOf(streamed).Last()["finish_reason"]!.GetValue<string>());
    }

    [Theory]
    [InlineData(1, false), InlineData(3, false), InlineData(1, true), InlineData(3, true)]
    public async Task A_caller_who_goes_away_frees_the_model(int choices, bool isStreamed)
    {
        var reached = new TaskCompletionSource();
        models.BeforeToken = async (_, i, cancellation) =>
        {
            if (i < 2) return;
            reached.TrySetResult();
            await Task.Delay(Timeout.Infinite, cancellation);
        };
        using var leave = new CancellationTokenSource();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = JsonContent.Create(Ask("hello there", ("n", choices), ("stream", isStreamed))) };
        models.Script = _ => "a b c d e f g h i";
        var asked = client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, leave.Token);
        await reached.Task.WaitAsync(TimeSpan.FromSeconds(60));

        if (isStreamed) (await asked).Dispose();
        else
        {
            await leave.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asked);
        }

        await Until.TrueAsync(() => models.Running == 0);
    }

    [Fact]
    public async Task A_busy_model_is_429_with_the_time_to_come_again()
    {
        models.BeforeToken = (_, _, _) => throw new GenerationException(GenerationError.Busy, "The queue is full.") { RetryAfter = TimeSpan.FromSeconds(2.5) };

        foreach (var isStreamed in new[] { false, true })
        {
            using var response = await client.PostAsJsonAsync("/v1/chat/completions", Ask("hello", ("stream", isStreamed)));

            Assert.Equal(HttpStatusCode.TooManyRequests, response.StatusCode);
            Assert.Equal(TimeSpan.FromSeconds(3), response.Headers.RetryAfter!.Delta);
            var error = (await response.Content.ReadFromJsonAsync<JsonObject>())!["error"]!;
            Assert.Equal("The queue is full.", error["message"]!.GetValue<string>());
            Assert.Equal("rate_limit_exceeded", error["code"]!.GetValue<string>());
        }
    }

    [Fact]
    public async Task A_model_that_fails_in_mid_reply_ends_the_stream_with_an_error_and_no_done()
    {
        models.BeforeToken = (_, i, _) => i < 5 ? Task.CompletedTask : throw new GenerationException(GenerationError.Unavailable, "The model host is gone.");

        using var streamed = await client.PostAsJsonAsync("/v1/chat/completions", Ask("hello", ("stream", true)));
        using var plain = await client.PostAsJsonAsync("/v1/chat/completions", Ask());

        var events = (await streamed.Content.ReadAsStringAsync()).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("The model host is gone.", JsonNode.Parse(events[^1][6..])!["error"]!["message"]!.GetValue<string>());
        Assert.DoesNotContain("data: [DONE]", events);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, plain.StatusCode);
    }

    [Fact]
    public async Task Models_are_listed_the_default_one_first_and_found_by_id()
    {
        var list = await client.GetFromJsonAsync<JsonObject>("/v1/models");
        var one = await client.GetFromJsonAsync<JsonObject>("/v1/models/fake-small");

        Assert.Equal("list", list!["object"]!.GetValue<string>());
        Assert.Equal(["fake", "fake-small"], list["data"]!.AsArray().Select(m => m!["id"]!.GetValue<string>()));
        Assert.True(JsonNode.DeepEquals(list["data"]![1], one));
        Assert.Equal("model", one!["object"]!.GetValue<string>());
    }
}
