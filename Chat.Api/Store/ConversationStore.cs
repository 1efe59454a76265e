using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Chat.Domain.Conversations;
using StackExchange.Redis;

namespace Chat.Api.Store;

/// <summary>Where a conversation stands in its owner's list.</summary>
/// <param name="Score">When it was last written to, in milliseconds since 1970 and parts of one.</param>
internal readonly record struct ListPlace(double Score, string Id);

/// <summary>Conversations, turns, ratings and journals as records. The live side of a reply is <see cref="ReplyLog"/>. Thread-safe.</summary>
internal sealed class ConversationStore(StoreConnection connection, Retention retention, TimeProvider time, ErasedText? erased = null)
{
    // A conversation is listed before it is stored, so that a crash cannot lose it from the list; a list read in between must not tidy it away.
    private static readonly TimeSpan CreationGrace = TimeSpan.FromMinutes(1);

    public async Task CreateAsync(Conversation conversation)
    {
        var owner = new Caller(conversation.Tenant, conversation.User);
        await TouchAsync(owner, conversation.Id, conversation.UpdatedAt);
        await connection.CallAsync(async db =>
        {
            await db.HashSetAsync(Keys.Conversation(conversation.Id),
            [
                new("info", Write(conversation with { Title = "", UpdatedAt = default }, StoreJson.Default.Conversation)),
                new("title", conversation.Title),
                new("updatedAt", conversation.UpdatedAt.ToUnixTimeMilliseconds()),
            ]);
            return retention.For(conversation.Tenant) is not { } kept || await db.KeyExpireAsync(Keys.Conversation(conversation.Id), kept);
        });
        await connection.CommitAsync();
    }

    public async Task<Conversation?> FindAsync(string id)
    {
        var fields = await connection.CallAsync(db => db.HashGetAsync(Keys.Conversation(id), ["info", "title", "updatedAt"]));
        return Parse(fields);
    }

    public async Task<Transcript> TurnsAsync(string conversation)
    {
        var (order, turns) = await connection.CallAsync(async db =>
        {
            var orderRead = db.ListRangeAsync(Keys.Order(conversation));
            var turnsRead = db.HashGetAllAsync(Keys.Turns(conversation));
            return (await orderRead, await turnsRead);
        });
        var byId = turns.ToDictionary(t => (string)t.Name!, t => Read(t.Value, StoreJson.Default.Turn));
        return new([.. order.Select(id => byId.GetValueOrDefault((string)id!)).OfType<Turn>()]);
    }

    public async Task<HeardRequest?> RequestAsync(string conversation, string request)
    {
        var heard = await connection.CallAsync(db => db.HashGetAsync(Keys.Requests(conversation), request));
        return heard.IsNull ? null : Read(heard, StoreJson.Default.HeardRequest);
    }

    public async Task<IReadOnlyDictionary<string, RatedReply>> RatingsAsync(string conversation)
    {
        var ratings = await connection.CallAsync(db => db.HashGetAllAsync(Keys.Ratings(conversation)));
        return ratings.ToDictionary(r => (string)r.Name!, r => Read(r.Value, StoreJson.Default.RatedReply));
    }

    public async Task<IReadOnlyList<JournalFact>> JournalAsync(string conversation)
    {
        var facts = await connection.CallAsync(db => db.ListRangeAsync(Keys.Journal(conversation)));
        return [.. facts.Select(f => Read(f, StoreJson.Default.JournalFact))];
    }

    /// <returns>False when there is no such reply.</returns>
    public async Task<bool> RateAsync(string conversation, string reply, RatedReply rating, JournalFact fact) =>
        "ok" == (string?)await connection.CallAsync(db => db.ScriptEvaluateAsync(StoreScripts.Rate,
            [Keys.Turns(conversation), Keys.Ratings(conversation), Keys.Journal(conversation)],
            [reply, Write(rating, StoreJson.Default.RatedReply), Write(fact, StoreJson.Default.JournalFact)]));

    /// <returns>False when there is no such conversation.</returns>
    public async Task<bool> RenameAsync(string conversation, string title) =>
        "ok" == (string?)await connection.CallAsync(db => db.ScriptEvaluateAsync(StoreScripts.Rename, [Keys.Conversation(conversation)], [title]));

    /// <summary>Records or takes back the consent to training. What the conversation itself says counts; the list only leads to it.</summary>
    /// <returns>False when there is no such conversation.</returns>
    public async Task<bool> SetConsentAsync(string conversation, bool given)
    {
        if (given) await connection.CallAsync(db => db.SetAddAsync(Keys.Consented, conversation));
        var found = "ok" == (string?)await connection.CallAsync(db => db.ScriptEvaluateAsync(StoreScripts.Consent, [Keys.Conversation(conversation)], [given ? "yes" : "no"]));
        if (!given || !found) await connection.CallAsync(db => db.SetRemoveAsync(Keys.Consented, conversation));
        await connection.CommitAsync();
        return found;
    }

    public async Task<bool> HasConsentAsync(string conversation) => "yes" == (string?)await connection.CallAsync(db => db.HashGetAsync(Keys.Conversation(conversation), "training"));

    /// <summary>A tenant's conversations whose owners consent to training. Erased and expired ones are dropped from the list on the way.</summary>
    public async IAsyncEnumerable<Conversation> ConsentedAsync(string tenant)
    {
        var listed = await connection.CallAsync(db => db.SetMembersAsync(Keys.Consented));
        foreach (var id in listed.Select(id => (string)id!).Order(StringComparer.Ordinal))
        {
            if (await FindAsync(id) is not { } conversation) await connection.CallAsync(db => db.SetRemoveAsync(Keys.Consented, id));
            else if (conversation.Tenant == tenant && await HasConsentAsync(id)) yield return conversation;
        }
    }

    /// <summary>Moves a conversation up in its owner's list, never down. A program may do two things in a millisecond, so the place is finer.</summary>
    public async Task TouchAsync(Caller owner, string conversation, DateTimeOffset at)
    {
        var place = (at - DateTimeOffset.UnixEpoch).TotalMilliseconds;
        await connection.CallAsync(db => db.SortedSetAddAsync(Keys.Conversations(owner), conversation, place, SortedSetWhen.GreaterThan));
        if (retention.For(owner.Tenant) is { } kept) await connection.CallAsync(db => db.KeyExpireAsync(Keys.Conversations(owner), kept));
    }

    /// <summary>
    /// The caller's conversations, the one last written to first, from behind a place on. Ids whose conversation is gone are dropped from the list
    /// on the way. A place that a crash left too low is mended once its conversation was taken and another is asked for: one that the reader only
    /// looked at must not move up past where the reader goes on.
    /// </summary>
    public async IAsyncEnumerable<(Conversation Conversation, ListPlace Place)> ListAsync(Caller owner, ListPlace? after)
    {
        const int batch = 100;
        var list = Keys.Conversations(owner);
        var listed = await connection.CallAsync(db => db.SortedSetRangeByScoreWithScoresAsync(list, stop: after?.Score ?? double.PositiveInfinity));
        var rest = listed.Where(e => after is not { } place || e.Score < place.Score || string.CompareOrdinal((string)e.Element!, place.Id) < 0)
            .OrderByDescending(e => e.Score).ThenByDescending(e => (string)e.Element!, StringComparer.Ordinal);
        foreach (var entries in rest.Chunk(batch))
        {
            var found = await connection.CallAsync(db => Task.WhenAll(entries.Select(e => db.HashGetAsync(Keys.Conversation((string)e.Element!), ["info", "title", "updatedAt"]))));
            foreach (var (entry, fields) in entries.Zip(found))
            {
                if (Parse(fields) is not { } conversation)
                {
                    if (time.GetUtcNow() - DateTimeOffset.FromUnixTimeMilliseconds((long)entry.Score) > CreationGrace)
                        await connection.CallAsync(db => db.SortedSetRemoveAsync(list, entry.Element));
                    continue;
                }
                if (conversation.IsOwnedBy(owner)) yield return (conversation, new(entry.Score, conversation.Id));
                if (conversation.UpdatedAt.ToUnixTimeMilliseconds() > (long)entry.Score) await TouchAsync(owner, conversation.Id, conversation.UpdatedAt);
            }
        }
    }

    /// <summary>Erases a conversation: turns, texts, logs, ratings, journal. A writer that is still about meets a missing fence and stops.</summary>
    public async Task DeleteAsync(Conversation conversation)
    {
        erased?.Note();
        var id = conversation.Id;
        RedisValue[] turns;
        RedisKey[] keys;
        do
        {
            turns = await connection.CallAsync(db => db.ListRangeAsync(Keys.Order(id)));
            keys =
            [
                Keys.Order(id), Keys.Fence(id), Keys.Conversation(id), Keys.Turns(id), Keys.Ratings(id), Keys.Requests(id), Keys.Journal(id), Keys.Lease(id),
                .. turns.SelectMany(t => new[] { Keys.Log(id, (string)t!), Keys.Stop(id, (string)t!), Keys.Reader(id, (string)t!) }),
            ];
        }
        while ("ok" != (string?)await connection.CallAsync(db => db.ScriptEvaluateAsync(StoreScripts.Erase, keys, [turns.Length])));
        await connection.CallAsync(db => db.SortedSetRemoveAsync(Keys.Conversations(new(conversation.Tenant, conversation.User)), id));
        await connection.CommitAsync();
    }

    private static Conversation? Parse(RedisValue[] fields) => fields[0].IsNull ? null : Read(fields[0], StoreJson.Default.Conversation) with
    {
        Title = (string?)fields[1] ?? "",
        UpdatedAt = DateTimeOffset.FromUnixTimeMilliseconds(long.Parse((string?)fields[2] ?? "0", CultureInfo.InvariantCulture)),
    };

    internal static T Read<T>(RedisValue json, JsonTypeInfo<T> type) => JsonSerializer.Deserialize((string)json!, type)!;

    internal static string Write<T>(T value, JsonTypeInfo<T> type) => JsonSerializer.Serialize(value, type);
}
