using Chat.Domain.Conversations;
using StackExchange.Redis;

namespace Chat.Api.Store;

/// <summary>
/// Every key of the store. Braces are the cluster's hash tag: all keys of a conversation share a slot, so one script may touch them together;
/// nothing else is ever changed together, save what gateways and training workers share: TrainingStore in Chat.Domain has those keys.
/// </summary>
internal static class Keys
{
    /// <summary>Sorted set: conversation id → when it was last written to (ms and parts of one). Derived from the conversations, repaired on read.</summary>
    public static RedisKey Conversations(Caller caller) => $"chat:{{{Escape(caller.Tenant)}/{Escape(caller.User)}}}:conversations";

    /// <summary>Hash: <c>info</c> (JSON, never changes), <c>title</c>, <c>updatedAt</c> (ms; the last message's time, not its reply's end), <c>training</c> (yes | no; absent = no).</summary>
    public static RedisKey Conversation(string conversation) => $"chat:{{{conversation}}}:conversation";

    /// <summary>Hash: turn id → JSON.</summary>
    public static RedisKey Turns(string conversation) => $"chat:{{{conversation}}}:turns";

    /// <summary>List of turn ids as they were stored.</summary>
    public static RedisKey Order(string conversation) => $"chat:{{{conversation}}}:order";

    /// <summary>Hash: reply id → JSON of its rating.</summary>
    public static RedisKey Ratings(string conversation) => $"chat:{{{conversation}}}:ratings";

    /// <summary>Hash: a Regenerate's request id → "new reply id, the reply that it replaces" as JSON.</summary>
    public static RedisKey Requests(string conversation) => $"chat:{{{conversation}}}:requests";

    /// <summary>List of JSON facts, append-only.</summary>
    public static RedisKey Journal(string conversation) => $"chat:{{{conversation}}}:journal";

    /// <summary>String "fence:reply" with a time to live: the writer's lease; its renewal is the heartbeat.</summary>
    public static RedisKey Lease(string conversation) => $"chat:{{{conversation}}}:lease";

    /// <summary>Counter: the newest writer's fencing token.</summary>
    public static RedisKey Fence(string conversation) => $"chat:{{{conversation}}}:fence";

    /// <summary>List of a reply's events as JSON; element i is sequence i + 1.</summary>
    public static RedisKey Log(string conversation, string reply) => $"chat:{{{conversation}}}:log:{reply}";

    /// <summary>String with a time to live: somebody asked for the reply to be stopped.</summary>
    public static RedisKey Stop(string conversation, string reply) => $"chat:{{{conversation}}}:stop:{reply}";

    /// <summary>String with a time to live: a reader on another gateway follows the reply; what is left of it tells when that was.</summary>
    public static RedisKey Reader(string conversation, string reply) => $"chat:{{{conversation}}}:reader:{reply}";

    /// <summary>Sorted set: "conversation/reply" → when it began (ms), of the replies that are being written. Derived from the turns, mended at start.</summary>
    public static readonly RedisKey Running = "chat:running";

    /// <summary>Set: ids of conversations whose owners consent to training. Leads to them; what counts is the conversation's own field <c>training</c>.</summary>
    public static readonly RedisKey Consented = "chat:consented";

    /// <summary>Hash: content hash → JSON of a model that was served. Never changed.</summary>
    public static readonly RedisKey ModelRecords = "chat:models:records";

    /// <summary>Hash: alias → id of a model.</summary>
    public static readonly RedisKey ModelAliases = "chat:models:aliases";

    /// <summary>Hash: name → JSON of a system prompt that is to be pinned wherever its model is served.</summary>
    public static readonly RedisKey ModelPins = "chat:models:pins";

    /// <summary>Carries the events of the conversation's replies as they are appended.</summary>
    public static RedisChannel Events(string conversation) => RedisChannel.Literal($"chat:{{{conversation}}}:events");

    /// <summary>Carries the id of a reply that is to stop; every gateway listens.</summary>
    public static readonly RedisChannel Stops = RedisChannel.Literal("chat:stops");

    // A brace or slash in a name must not move the hash tag or make two users one.
    private static string Escape(string name) => Uri.EscapeDataString(name);
}
