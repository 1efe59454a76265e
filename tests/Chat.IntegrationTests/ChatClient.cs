using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;

namespace Chat.IntegrationTests;

/// <summary>An event as it came over the wire.</summary>
public sealed record WireEvent(string Type, string ReplyId, long Sequence, string? Text, string? FinishReason, JsonObject Raw);

/// <summary>
/// A stranger's client: the real .NET SignalR client with nothing but the contract's names, over JSON or MessagePack. Results come as plain
/// values, so that a wrong name or word on the wire is seen.
/// </summary>
public sealed class ChatClient(HubConnection connection, bool messagePack) : IAsyncDisposable
{
    public HubConnection Connection => connection;

    public async Task<JsonNode?> InvokeAsync(string method, params object?[] arguments) =>
        Node(await connection.InvokeCoreAsync(method, ResultType, [.. arguments.Select(Argument)]));

    public async IAsyncEnumerable<WireEvent> StreamAsync(string method, params object?[] arguments)
    {
        await foreach (var item in connection.StreamAsyncCore<object>(method, [.. arguments.Select(Argument)])) yield return Event(item);
    }

    /// <summary>A stream of which the test sees how much has arrived that it has not read.</summary>
    public async Task<EventStream> OpenAsync(string method, params object?[] arguments) =>
        new(await connection.StreamAsChannelCoreAsync(method, typeof(object), [.. arguments.Select(Argument)]));

    public sealed class EventStream(System.Threading.Channels.ChannelReader<object?> arrived)
    {
        public int Waiting => arrived.Count;

        public async Task<WireEvent> ReadAsync() => Event(await arrived.ReadAsync());
    }

    private static WireEvent Event(object? item)
    {
        var raw = Node(item)!.AsObject();
        return new((string)raw["type"]!, (string)raw["replyId"]!, (long)raw["sequence"]!, (string?)raw["text"], (string?)raw["finishReason"], raw);
    }

    public async Task<string> StartAsync(object? options = null) => (string)(await InvokeAsync("StartConversation", options))!["conversationId"]!;

    public IAsyncEnumerable<WireEvent> Send(string conversation, string message, string text, string? replyTo = null, object? options = null) =>
        StreamAsync("Send", new { conversationId = conversation, messageId = message, text, replyTo, options });

    public IAsyncEnumerable<WireEvent> Attach(string conversation, string reply, long after) => StreamAsync("Attach", conversation, reply, after);

    public Task StopAsync(string conversation, string reply) => InvokeAsync("Stop", conversation, reply);

    public async Task<IReadOnlyList<JsonObject>> HistoryAsync(string conversation, string? before = null, int limit = 200) =>
        [.. (await InvokeAsync("History", conversation, before, limit))!["turns"]!.AsArray().Select(t => t!.AsObject())];

    /// <summary>The hub's error of a call that must fail, without SignalR's preface.</summary>
    public static async Task<string> ErrorOfAsync(Func<Task> call)
    {
        var error = await Assert.ThrowsAsync<HubException>(call);
        var at = error.Message.IndexOf("HubException: ", StringComparison.Ordinal);
        Assert.True(at >= 0, error.Message);
        return error.Message[(at + "HubException: ".Length)..];
    }

    public static Task<string> ErrorOfAsync(IAsyncEnumerable<WireEvent> stream) => ErrorOfAsync(async () => { await foreach (var _ in stream) { } });

    public async ValueTask DisposeAsync() => await connection.DisposeAsync();

    private Type ResultType => messagePack ? typeof(object) : typeof(JsonNode);

    private object? Argument(object? value) => messagePack ? Plain(JsonSerializer.SerializeToNode(value)) : value;

    private static object? Plain(JsonNode? node) => node switch
    {
        null => null,
        JsonObject map => map.ToDictionary(p => p.Key, p => Plain(p.Value)),
        JsonArray list => list.Select(Plain).ToArray(),
        JsonValue value when value.GetValueKind() == JsonValueKind.String => value.GetValue<string>(),
        JsonValue value when value.GetValueKind() is JsonValueKind.True or JsonValueKind.False => value.GetValue<bool>(),
        JsonValue value when value.TryGetValue<long>(out var whole) => whole,
        JsonValue value when value.TryGetValue<int>(out var small) => small,
        _ => node.GetValue<double>(),
    };

    private static JsonNode? Node(object? value) => value switch
    {
        null => null,
        JsonNode node => node,
        JsonElement element => JsonSerializer.SerializeToNode(element),
        Dictionary<object, object?> map => new JsonObject(map.Select(p => KeyValuePair.Create((string)p.Key, Node(p.Value)))),
        object?[] list => new JsonArray([.. list.Select(Node)]),
        _ => JsonSerializer.SerializeToNode(value),
    };
}

internal static class EventLists
{
    public static async Task<List<WireEvent>> AllAsync(this IAsyncEnumerable<WireEvent> stream)
    {
        var events = new List<WireEvent>();
        await foreach (var item in stream) events.Add(item);
        return events;
    }

    public static string Text(this IEnumerable<WireEvent> events) => string.Concat(events.Where(e => e.Type == "delta").Select(e => e.Text));
}
