using System.Globalization;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Chat.IntegrationTests.BadInput;

namespace Chat.IntegrationTests.OpenAi;

/// <summary>The whole product with a tiny real model: what only the engine can get wrong on its way to /v1.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class RealModelTests(RealModelTests.TinyModels shared) : IClassFixture<RealModelTests.TinyModels>
{
    public sealed class TinyModels() : SharedServer(Store.Garnet, ("Models:Folder", Path.Combine(AppContext.BaseDirectory, "Models")), ("Models:Rows", "2"));

    private readonly HttpClient client = shared.Http;

    public static TheoryData<string> Options =>
    [
        """{"seed":1,"max_tokens":20}""",
        """{"seed":2,"max_tokens":20,"temperature":1.5,"top_p":0.9}""",
        """{"seed":3,"max_tokens":12,"n":3}""",
        """{"temperature":0,"max_tokens":20}""",
        """{"seed":5,"max_tokens":12,"decoding":{"strategy":"beam","numBeams":2}}""",
        """{"seed":6,"max_tokens":15,"frequency_penalty":1,"presence_penalty":1,"logit_bias":{"7":-100}}""",
        """{"seed":7,"max_tokens":20,"logprobs":true,"top_logprobs":3}""",
    ];

    [Theory, MemberData(nameof(Options))]
    public async Task Streamed_and_plain_are_one_text_and_the_counters_agree_with_the_usage(string options)
    {
        var before = await CountersAsync();

        var plain = await AnswerAsync(options);
        var chunks = await StreamAsync(options);

        var after = await CountersAsync();
        foreach (var choice in plain["choices"]!.AsArray())
        {
            var streamed = chunks.SelectMany(c => c["choices"]!.AsArray()).Where(c => (int)c!["index"]! == (int)choice!["index"]!).ToList();
            var content = (string)choice!["message"]!["content"]!;
            Assert.NotEqual("", content);
            Assert.Equal(content, string.Concat(streamed.Select(c => (string?)c!["delta"]!["content"])));
            Assert.Equal((string)choice["finish_reason"]!, (string)streamed[^1]!["finish_reason"]!);
            if (choice["logprobs"] is not null) Assert.Equal(content, Encoding.UTF8.GetString([.. choice["logprobs"]!["content"]!.AsArray().SelectMany(e => e!["bytes"]!.AsArray()).Select(b => (byte)b!)]));
        }
        Assert.True(JsonNode.DeepEquals(plain["usage"], chunks[^1]["usage"]));
        Assert.Equal(2 * (int)plain["usage"]!["prompt_tokens"]!, after["chat_prompt_tokens_total"] - before["chat_prompt_tokens_total"]);
        Assert.Equal(2 * (int)plain["usage"]!["completion_tokens"]!, after["chat_generation_tokens_total"] - before["chat_generation_tokens_total"]);
    }

    [Fact]
    public async Task A_stop_string_ends_the_text_before_its_first_character_wherever_the_tokens_are_cut()
    {
        var whole = (string)(await AnswerAsync("""{"seed":9,"max_tokens":24}"""))["choices"]![0]!["message"]!["content"]!;

        for (var start = 1; start + 3 <= whole.Length; start++)
        {
            var stop = whole.Substring(start, 3);
            if (stop.Any(char.IsSurrogate)) continue;
            var options = new JsonObject { ["seed"] = 9, ["max_tokens"] = 24, ["stop"] = stop }.ToJsonString();
            var expected = whole[..whole.IndexOf(stop, StringComparison.Ordinal)];
            Assert.Equal(expected, (string)(await AnswerAsync(options))["choices"]![0]!["message"]!["content"]!);
            Assert.Equal(expected, string.Concat((await StreamAsync(options)).SelectMany(c => c["choices"]!.AsArray()).Select(c => (string?)c!["delta"]!["content"])));
        }
    }

    [Fact]
    public async Task A_caller_who_leaves_counts_as_abort_and_frees_the_rows()
    {
        // 64 choices on two rows: most of them still wait when their caller goes.
        var before = await CountersAsync();
        var body = Body("""{"n":16,"stream":true,"max_tokens":120,"decoding":{"minTokens":120}}""").ToJsonString();
        for (var i = 0; i < 4; i++)
            await RawClient.SendAsync(shared.Server.Address, $"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {Encoding.UTF8.GetByteCount(body)}\r\n\r\n", body);

        await Until.TrueAsync(async () => await CountersAsync() is var now && now["chat_num_requests_running"] == 0 && now["chat_num_requests_waiting"] == 0);
        var after = await CountersAsync();
        Assert.Equal(64, new[] { "abort", "length", "stop" }.Sum(r => after[Success(r)] - before[Success(r)]));
        Assert.True(after[Success("abort")] > before[Success("abort")]);
    }

    [Fact]
    public async Task Options_that_the_engine_refuses_are_400_by_their_clients_name()
    {
        foreach (var (options, param) in new[]
        {
            ("""{"decoding":{"strategy":"beem"}}""", "decoding.strategy"), ("""{"decoding":{"warmth":1}}""", "decoding.warmth"), ("""{"decoding":{"topK":-1}}""", "decoding.topK"),
            ("""{"logit_bias":{"999999":1}}""", "logit_bias"), ("""{"decoding":{"topK":1.5}}""", "decoding.topK"), ("""{"max_tokens":100000}""", "max_tokens"), ("""{"decoding":{"seed":"x"}}""", "decoding.seed"),
        })
        {
            using var response = await client.PostAsJsonAsync("/v1/chat/completions", Body(options));
            var error = JsonNode.Parse(await response.Content.ReadAsStringAsync())!["error"]!;
            Assert.Equal((400, param), ((int)response.StatusCode, (string?)error["param"]));
        }
    }

    private static string Success(string reason) => $"chat_request_success_total{{finished_reason=\"{reason}\"}}";

    private static JsonObject Body(string options)
    {
        var body = JsonNode.Parse(options)!.AsObject();
        body["model"] = "m1";
        body["messages"] = Completions.Ask("你好，今天天气好吗")["messages"]!.DeepClone();
        return body;
    }

    private Task<JsonObject> AnswerAsync(string options) => client.AnswerAsync(Body(options));

    private Task<List<JsonObject>> StreamAsync(string options)
    {
        var body = Body(options);
        body["stream_options"] = new JsonObject { ["include_usage"] = true };
        return client.StreamAsync(body);
    }

    // One process counts for all its servers; only this class's model counts here.
    private async Task<Dictionary<string, double>> CountersAsync() =>
        (await client.GetStringAsync("/metrics")).Split('\n').Where(l => l.StartsWith("chat_", StringComparison.Ordinal))
            .Select(l => l.Split(' ')).ToDictionary(p => p[0], p => double.Parse(p[1], CultureInfo.InvariantCulture));
}
