using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.BadInput;

/// <summary>What /v1 answers to requests that nobody should send: each a clear 4xx that names the field, and the model never hears of it.</summary>
public sealed class BadCompletionTests(BadCompletionTests.NarrowServer shared) : IClassFixture<BadCompletionTests.NarrowServer>
{
    public sealed class NarrowServer() : SharedServer(Store.Garnet, ("OpenAi:MaxRequestBytes", "300000"));

    private static string Body(string more) => $$"""{"model":"fake","messages":[{"role":"user","content":"hi"}],{{more}}}""";

    private static string Messages(string messages) => $$"""{"model":"fake","messages":{{messages}}}""";

    private static string Said(string content) => Messages($$"""[{"role":"user","content":{{content}}}]""");

    private static string Repeat(string text, int count) => string.Concat(Enumerable.Repeat(text, count));

    /// <summary>Name, body, status, param, code; a code of null means that it does not matter.</summary>
    public static TheoryData<string, string, int, string?, string?> Bodies => new()
    {
        { "nothing", "", 400, null, "invalid_request" },
        { "white space", "  \n ", 400, null, "invalid_request" },
        { "null", "null", 400, null, "invalid_request" },
        { "an array", "[]", 400, null, "invalid_request" },
        { "a string", "\"hello\"", 400, null, "invalid_request" },
        { "a number", "17", 400, null, "invalid_request" },
        { "half an object", "{\"model\":\"fake\"", 400, null, "invalid_request" },
        { "two objects", "{}{}", 400, null, "invalid_request" },
        { "single quotes", "{'model':'fake'}", 400, null, "invalid_request" },
        { "a trailing comma", Body("\"n\":1,"), 400, null, "invalid_request" },
        { "a comment", "/* hi */ {}", 400, null, "invalid_request" },
        { "NaN", Body("\"temperature\":NaN"), 400, null, "invalid_request" },
        { "Infinity", Body("\"temperature\":-Infinity"), 400, null, "invalid_request" },
        { "a key twice", Body("\"n\":1,\"n\":2"), 400, null, "invalid_request" },
        { "half a surrogate pair", Said("\"a\\ud83d\""), 400, null, "invalid_request" },
        { "half a surrogate pair in an unknown field", Body("\"who\":{\"x\":[\"\\udc00\"]}"), 400, null, "invalid_request" },
        { "a raw control character", Said("\"a\u0001b\""), 400, null, "invalid_request" },
        { "arrays 5,000 deep", Body($"\"x\":{Repeat("[", 5000)}{Repeat("]", 5000)}"), 400, null, "invalid_request" },
        { "objects 60,000 deep", Repeat("{\"a\":", 60_000), 400, null, "invalid_request" },
        { "a larger body than is read", Said($"\"{Repeat("x", 310_000)}\""), 413, null, "request_too_large" },

        { "an empty object", "{}", 400, "model", "missing_required_parameter" },
        { "no model", """{"messages":[{"role":"user","content":"hi"}]}""", 400, "model", "missing_required_parameter" },
        { "model null", """{"model":null,"messages":[{"role":"user","content":"hi"}]}""", 400, "model", "missing_required_parameter" },
        { "model empty", """{"model":"","messages":[{"role":"user","content":"hi"}]}""", 400, "model", null },
        { "model a number", """{"model":1,"messages":[{"role":"user","content":"hi"}]}""", 400, "model", null },
        { "model an object", """{"model":{"id":"fake"},"messages":[{"role":"user","content":"hi"}]}""", 400, "model", "invalid_type" },
        { "an unknown model", """{"model":"gpt-4","messages":[{"role":"user","content":"hi"}]}""", 404, "model", "model_not_found" },
        { "a model in other case", """{"model":"FAKE","messages":[{"role":"user","content":"hi"}]}""", 404, "model", "model_not_found" },
        { "a model that is a path", """{"model":"../fake","messages":[{"role":"user","content":"hi"}]}""", 404, "model", "model_not_found" },

        { "no messages", """{"model":"fake"}""", 400, "messages", "missing_required_parameter" },
        { "messages null", Messages("null"), 400, "messages", "missing_required_parameter" },
        { "messages a string", Messages("\"hi\""), 400, "messages", null },
        { "messages an object", Messages("{}"), 400, "messages", "invalid_type" },
        { "messages empty", Messages("[]"), 400, "messages", null },
        { "1,001 messages", Messages($"[{string.Join(',', Enumerable.Repeat("""{"role":"user","content":"hi"}""", 1001))}]"), 400, "messages", null },
        { "a message that is null", Messages("[null]"), 400, "messages[0]", "invalid_type" },
        { "a message that is a string", Messages("[\"hi\"]"), 400, "messages[0]", null },
        { "a message that is an array", Messages("[[]]"), 400, "messages[0]", "invalid_type" },
        { "a message without role", Messages("""[{"content":"hi"}]"""), 400, "messages[0].role", "missing_required_parameter" },
        { "an unknown role", Messages("""[{"role":"king","content":"hi"}]"""), 400, "messages[0].role", null },
        { "a role in other case", Messages("""[{"role":"User","content":"hi"}]"""), 400, "messages[0].role", null },
        { "a role that is a number", Messages("""[{"role":1,"content":"hi"}]"""), 400, "messages[0].role", null },
        { "no content", Messages("""[{"role":"user"}]"""), 400, "messages[0].content", "missing_required_parameter" },
        { "content null", Said("null"), 400, "messages[0].content", "missing_required_parameter" },
        { "content a number", Said("5"), 400, "messages[0].content", null },
        { "content true", Said("true"), 400, "messages[0].content", "invalid_type" },
        { "content an object", Said("{}"), 400, "messages[0].content", "invalid_type" },
        { "content empty", Said("\"\""), 400, "messages[0].content", null },
        { "content white space", Said("\" \\n\\t\\u3000\""), 400, "messages[0].content", null },
        { "content of no parts", Said("[]"), 400, "messages[0].content", null },
        { "a part that is a string", Said("[\"hi\"]"), 400, "messages[0].content[0]", null },
        { "a part without type", Said("""[{"text":"hi"}]"""), 400, "messages[0].content[0].type", null },
        { "a part that is a picture", Said("""[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"x"}}]"""), 400, "messages[0].content[1].type", null },
        { "a part without text", Said("""[{"type":"text"}]"""), 400, "messages[0].content[0].text", null },
        { "a part whose text is a number", Said("""[{"type":"text","text":7}]"""), 400, "messages[0].content[0].text", null },
        { "20,001 characters", Said($"\"{Repeat("长", 20_001)}\""), 400, "messages[0].content", "string_above_max_length" },
        { "20,001 characters in parts", Said($$"""[{"type":"text","text":"{{Repeat("x", 20_000)}}"},{"type":"text","text":"y"}]"""), 400, "messages[0].content", "string_above_max_length" },
        { "the second message wrong", Messages("""[{"role":"user","content":"hi"},{"role":"user","content":[]},{"role":"user","content":{}}]"""), 400, "messages[2].content", null },

        { "temperature above 2", Body("\"temperature\":2.01"), 400, "temperature", "invalid_value" },
        { "temperature below 0", Body("\"temperature\":-0.1"), 400, "temperature", "invalid_value" },
        { "temperature that overflows", Body("\"temperature\":1e999"), 400, "temperature", "invalid_value" },
        { "temperature a string", Body("\"temperature\":\"1\""), 400, "temperature", null },
        { "temperature an array", Body("\"temperature\":[1]"), 400, "temperature", "invalid_type" },
        { "top_p 0", Body("\"top_p\":0"), 400, "top_p", "invalid_value" },
        { "top_p above 1", Body("\"top_p\":1.0001"), 400, "top_p", "invalid_value" },
        { "top_p below 0", Body("\"top_p\":-1"), 400, "top_p", "invalid_value" },
        { "top_p true", Body("\"top_p\":true"), 400, "top_p", "invalid_type" },
        { "n 0", Body("\"n\":0"), 400, "n", "invalid_value" },
        { "n negative", Body("\"n\":-1"), 400, "n", "invalid_value" },
        { "n not whole", Body("\"n\":1.5"), 400, "n", "invalid_value" },
        { "n huge", Body("\"n\":1000000"), 400, "n", "invalid_value" },
        { "n beyond 64 bits", Body("\"n\":99999999999999999999999"), 400, "n", "invalid_value" },
        { "n a string", Body("\"n\":\"2\""), 400, "n", null },
        { "seed not whole", Body("\"seed\":1.5"), 400, "seed", "invalid_value" },
        { "seed beyond 64 bits", Body("\"seed\":9223372036854775808"), 400, "seed", "invalid_value" },
        { "seed a string", Body("\"seed\":\"7\""), 400, "seed", null },
        { "max_tokens 0", Body("\"max_tokens\":0"), 400, "max_tokens", "invalid_value" },
        { "max_tokens negative", Body("\"max_tokens\":-5"), 400, "max_tokens", "invalid_value" },
        { "max_tokens not whole", Body("\"max_tokens\":2.5"), 400, "max_tokens", "invalid_value" },
        { "max_tokens beyond the model", Body("\"max_tokens\":257"), 400, "max_tokens", "context_length_exceeded" },
        { "max_completion_tokens beyond the model", Body("\"max_completion_tokens\":100000"), 400, "max_completion_tokens", "context_length_exceeded" },
        { "both token limits", Body("\"max_tokens\":5,\"max_completion_tokens\":5"), 400, "max_completion_tokens", null },
        { "stop a number", Body("\"stop\":3"), 400, "stop", null },
        { "stop empty", Body("\"stop\":\"\""), 400, "stop", null },
        { "five stops", Body("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), 400, "stop", null },
        { "a stop that is null", Body("\"stop\":[\"a\",null]"), 400, "stop", null },
        { "a stop of 300 characters", Body($"\"stop\":\"{Repeat("s", 300)}\""), 400, "stop", null },
        { "frequency_penalty above 2", Body("\"frequency_penalty\":2.5"), 400, "frequency_penalty", "invalid_value" },
        { "frequency_penalty a string", Body("\"frequency_penalty\":\"0\""), 400, "frequency_penalty", null },
        { "presence_penalty below -2", Body("\"presence_penalty\":-3"), 400, "presence_penalty", "invalid_value" },
        { "presence_penalty an object", Body("\"presence_penalty\":{}"), 400, "presence_penalty", "invalid_type" },
        { "logit_bias an array", Body("\"logit_bias\":[1]"), 400, "logit_bias", "invalid_type" },
        { "logit_bias of a word", Body("\"logit_bias\":{\"the\":1}"), 400, "logit_bias", "invalid_value" },
        { "logit_bias of a negative id", Body("\"logit_bias\":{\"-1\":1}"), 400, "logit_bias", "invalid_value" },
        { "logit_bias above 100", Body("\"logit_bias\":{\"1\":101}"), 400, "logit_bias", "invalid_value" },
        { "logit_bias of twenty-five thousand", Body($"\"logit_bias\":{{{string.Join(',', Enumerable.Range(0, 25_000).Select(i => $"\"{i}\":1"))}}}"), 400, "logit_bias", "invalid_value" },
        { "logit_bias a string", Body("\"logit_bias\":{\"1\":\"5\"}"), 400, "logit_bias", null },
        { "logprobs a number", Body("\"logprobs\":1"), 400, "logprobs", null },
        { "top_logprobs without logprobs", Body("\"top_logprobs\":2"), 400, "top_logprobs", "invalid_value" },
        { "top_logprobs with logprobs false", Body("\"logprobs\":false,\"top_logprobs\":2"), 400, "top_logprobs", "invalid_value" },
        { "top_logprobs 21", Body("\"logprobs\":true,\"top_logprobs\":21"), 400, "top_logprobs", "invalid_value" },
        { "top_logprobs negative", Body("\"logprobs\":true,\"top_logprobs\":-1"), 400, "top_logprobs", "invalid_value" },
        { "top_logprobs not whole", Body("\"logprobs\":true,\"top_logprobs\":0.5"), 400, "top_logprobs", "invalid_value" },
        { "stream a string", Body("\"stream\":\"true\""), 400, "stream", null },
        { "stream a number", Body("\"stream\":1"), 400, "stream", null },
        { "stream_options without stream", Body("\"stream_options\":{\"include_usage\":true}"), 400, "stream_options", "invalid_value" },
        { "stream_options true", Body("\"stream\":true,\"stream_options\":true"), 400, "stream_options", "invalid_type" },
        { "include_usage a string", Body("\"stream\":true,\"stream_options\":{\"include_usage\":\"yes\"}"), 400, "stream_options.include_usage", null },
        { "tools", Body("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"), 400, "tools", "unsupported_parameter" },
        { "an unknown form", Body("\"response_format\":{\"type\":\"xml\"}"), 400, "response_format.type", "invalid_value" },
        { "a form without type", Body("\"response_format\":{}"), 400, "response_format.type", "missing_required_parameter" },
        { "a form that is a word", Body("\"response_format\":\"json\""), 400, "response_format", "invalid_value" },
        { "a form without schema", Body("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\"}}"), 400, "response_format.json_schema", "missing_required_parameter" },
        { "a schema that is a list", Body("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":[]}}"), 400, "response_format.json_schema.schema", "invalid_type" },
        { "an expression that is a number", Body("\"guided_regex\":7"), 400, "guided_regex", "invalid_value" },
        { "decoding a string", Body("\"decoding\":\"beam\""), 400, "decoding", null },
        { "decoding an array", Body("\"decoding\":[]"), 400, "decoding", "invalid_type" },
        { "an unknown strategy", Body("\"decoding\":{\"strategy\":\"beem\"}"), 400, "decoding.strategy", "invalid_value" },
        { "a strategy that is a number", Body("\"decoding\":{\"strategy\":3}"), 400, "decoding.strategy", "invalid_value" },
        { "an unknown option", Body("\"decoding\":{\"warmth\":1}"), 400, "decoding.warmth", "invalid_value" },
        { "an option of another type", Body("\"decoding\":{\"topK\":\"7\"}"), 400, "decoding.topK", "invalid_value" },
        { "topK negative", Body("\"decoding\":{\"topK\":-1}"), 400, "decoding.topK", "invalid_value" },
        { "topK not whole", Body("\"decoding\":{\"topK\":1.5}"), 400, "decoding.topK", "invalid_value" },
        { "decoding's temperature out of range", Body("\"decoding\":{\"temperature\":9}"), 400, "decoding.temperature", "invalid_value" },
        { "decoding's topP negative", Body("\"decoding\":{\"topP\":-0.5}"), 400, "decoding.topP", "invalid_value" },
        { "decoding's maxTokens beyond the model", Body("\"decoding\":{\"maxTokens\":5000}"), 400, "decoding.maxTokens", "context_length_exceeded" },
        { "decoding's maxTokens that overflows", Body("\"decoding\":{\"maxTokens\":1e400}"), 400, "decoding.maxTokens", null },
        { "an option null", Body("\"decoding\":{\"topK\":null}"), 400, "decoding.topK", "invalid_value" },
    };

    [Theory, MemberData(nameof(Bodies))]
    public async Task A_bad_body_is_a_4xx_that_names_the_field(string name, string body, int status, string? param, string? code)
    {
        foreach (var text in name.StartsWith("stream", StringComparison.Ordinal) || !body.Contains("\"fake\"") ? new[] { body } : [body, Streamed(body)])
            await AssertErrorAsync(Post(Encoding.UTF8.GetBytes(text)), status, param, code);
    }

    /// <summary>The same request, streamed: it must fail before the stream begins.</summary>
    private static string Streamed(string body) => body.EndsWith("]}", StringComparison.Ordinal) ? body[..^1] + ",\"stream\":true}" : body;

    public static TheoryData<string, string, string?, byte[], int> Requests => new()
    {
        { "broken UTF-8 in a string", "/v1/chat/completions", "application/json", [.. Encoding.UTF8.GetBytes("{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\""), 0xC3, 0x28, .. "\"}]}"u8], 400 },
        { "a cut UTF-8 sequence", "/v1/chat/completions", "application/json", [.. Encoding.UTF8.GetBytes("{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\""), 0xE4, 0xBD, .. "\"}]}"u8], 400 },
        { "an overlong UTF-8 sequence", "/v1/chat/completions", "application/json", [.. "{\"model\":\""u8, 0xC0, 0xAF, .. "\"}"u8], 400 },
        { "a surrogate in UTF-8", "/v1/chat/completions", "application/json", [.. "{\"model\":\""u8, 0xED, 0xA0, 0x80, .. "\"}"u8], 400 },
        { "UTF-16", "/v1/chat/completions", "application/json", Encoding.Unicode.GetBytes(Body("\"n\":1")), 400 },
        { "a null byte", "/v1/chat/completions", "application/json", [0], 400 },
        { "a form", "/v1/chat/completions", "application/x-www-form-urlencoded", "model=fake"u8.ToArray(), 415 },
        { "plain text", "/v1/chat/completions", "text/plain", Encoding.UTF8.GetBytes(Body("\"n\":1")), 415 },
        { "no content type", "/v1/chat/completions", null, Encoding.UTF8.GetBytes(Body("\"n\":1")), 415 },
        { "a content type of no form", "/v1/chat/completions", "json", Encoding.UTF8.GetBytes(Body("\"n\":1")), 415 },
        { "another charset", "/v1/chat/completions", "application/json; charset=gbk", Encoding.UTF8.GetBytes(Body("\"n\":1")), 415 },
        { "an unknown route", "/v1/completions", "application/json", "{}"u8.ToArray(), 404 },
        { "a route below", "/v1/chat/completions/7", "application/json", "{}"u8.ToArray(), 404 },
        { "the root", "/v1", "application/json", "{}"u8.ToArray(), 404 },
        { "POST to models", "/v1/models", "application/json", "{}"u8.ToArray(), 405 },
        { "POST to a model", "/v1/models/fake", "application/json", "{}"u8.ToArray(), 405 },
    };

    [Theory, MemberData(nameof(Requests))]
    public async Task A_bad_request_is_a_4xx_in_OpenAIs_form(string name, string path, string? type, byte[] body, int status) =>
        await AssertErrorAsync(Post(body, path, type), status, null, null, name);

    [Theory]
    [InlineData("GET", "/v1/chat/completions", 405), InlineData("PUT", "/v1/chat/completions", 405), InlineData("DELETE", "/v1/chat/completions", 405), InlineData("PATCH", "/v1/models", 405)]
    [InlineData("BREW", "/v1/chat/completions", 405), InlineData("GET", "/v1/nothing", 404), InlineData("GET", "/v1/models/none", 404), InlineData("GET", "/v1/models/%2e%2e%2ffake", 404)]
    public async Task A_wrong_method_or_path_is_answered_in_OpenAIs_form(string method, string path, int status) =>
        await AssertErrorAsync(new(new(method), path), status, path.Contains("models/") ? "model" : null, null);

    [Theory]
    [InlineData("Bearer nonsense"), InlineData("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."), InlineData("Bearer "), InlineData("Basic YTpi"), InlineData("Bearer a b c")]
    public async Task A_bad_token_is_401_in_OpenAIs_form(string header)
    {
        var request = Post(Encoding.UTF8.GetBytes(Body("\"n\":1")));
        request.Headers.TryAddWithoutValidation("Authorization", header);

        await AssertErrorAsync(request, 401, null, "invalid_api_key");
    }

    [Fact]
    public async Task A_compressed_body_is_415()
    {
        var request = Post(Encoding.UTF8.GetBytes(Body("\"n\":1")));
        request.Content!.Headers.ContentEncoding.Add("gzip");

        await AssertErrorAsync(request, 415, null, null);
    }

    [Theory]
    [InlineData("\"who\":1"), InlineData("\"user\":\"u\",\"metadata\":{\"a\":\"b\"},\"store\":true,\"service_tier\":\"auto\",\"parallel_tool_calls\":false"), InlineData("\"n\":null,\"stop\":null,\"seed\":null,\"decoding\":null,\"logit_bias\":null,\"stream_options\":null")]
    [InlineData("\"tools\":[],\"response_format\":{\"type\":\"text\"}"), InlineData("\"Temperature\":99"), InlineData("\"__proto__\":{\"n\":5}")]
    public async Task Unknown_and_null_fields_are_ignored(string more)
    {
        using var response = await shared.Http.SendAsync(Post(Encoding.UTF8.GetBytes(Body(more))));

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Single(JsonNode.Parse(await response.Content.ReadAsStringAsync())!["choices"]!.AsArray());
    }

    [Theory]
    [InlineData("ffffffffffffffffff\r\n", 400), InlineData("fffffffffffffff\r\nabc", 400), InlineData("-5\r\nhello\r\n0\r\n\r\n", 400), InlineData("zz\r\nhello\r\n0\r\n\r\n", 400), InlineData("5\r\nhelloworld\r\n0\r\n\r\n", 400)]
    [InlineData("0x5\r\nhello\r\n0\r\n\r\n", 400)]
    public async Task Broken_chunks_are_400(string chunks, int status)
    {
        var answer = await RawClient.SendAsync(shared.Server.Address, $"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");

        Assert.StartsWith($"HTTP/1.1 {status} ", answer);
    }

    private static HttpRequestMessage Post(byte[] body, string path = "/v1/chat/completions", string? type = "application/json")
    {
        var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new ByteArrayContent(body) };
        if (type is not null) request.Content.Headers.TryAddWithoutValidation("Content-Type", type);
        return request;
    }

    private async Task AssertErrorAsync(HttpRequestMessage request, int status, string? param, string? code, string? note = null)
    {
        var heard = shared.Server.Models.Requests.Count;

        using var response = await shared.Http.SendAsync(request);

        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, $"{note} {(int)response.StatusCode}: {text}");
        Assert.Equal("application/json", response.Content.Headers.ContentType?.MediaType);
        var error = JsonNode.Parse(text)!["error"]!.AsObject();
        Assert.Equal(["code", "message", "param", "type"], error.Select(p => p.Key).Order());
        Assert.NotEmpty(error["message"]!.GetValue<string>());
        Assert.DoesNotContain("   at ", text);
        Assert.Equal(param, error["param"]?.GetValue<string>());
        if (code is not null) Assert.Equal(code, error["code"]!.GetValue<string>());
        Assert.Equal(heard, shared.Server.Models.Requests.Count);
    }
}
