namespace Chat.Api.Store;

/// <summary>
/// The store's transactions. Every key is declared (a Garnet transaction locks what is declared, and a cluster needs it), and every script may be
/// sent twice: a second run of the same call changes nothing and answers as the first did.
/// </summary>
internal static class StoreScripts
{
    /// <summary>
    /// Takes the lease and stores message, reply, journal and <c>started</c> at once: no moment exists in which one is there without the others.
    /// Where the tenant's conversations are kept for a time only, that time begins anew.
    /// Answers {ok, fence} | {gone} | {busy} | {exists}.
    /// </summary>
    public const string Begin = """
        local conversation, lease, fence, turns, order, journal, log, requests, ratings = unpack(KEYS)
        local reply, leaseMs, message, messageJson, replyJson, started, title, now, channel = unpack(ARGV, 1, 9)
        local request, requestJson, heard, retainMs = unpack(ARGV, 10, 13)
        if redis.call('EXISTS', conversation) == 0 then return {'gone', '0'} end
        if redis.call('HEXISTS', turns, reply) == 1 then return {'ok', redis.call('GET', fence)} end
        if redis.call('EXISTS', lease) == 1 then return {'busy', '0'} end
        if message ~= '' and redis.call('HEXISTS', turns, message) == 1 then return {'exists', '0'} end
        if request ~= '' and (redis.call('HGET', requests, request) or '') ~= heard then return {'exists', '0'} end
        local token = tostring(redis.call('INCR', fence))
        redis.call('SET', lease, token .. ':' .. reply, 'PX', leaseMs)
        if message ~= '' then
            redis.call('HSET', turns, message, messageJson)
            redis.call('RPUSH', order, message)
        end
        redis.call('HSET', turns, reply, replyJson)
        redis.call('RPUSH', order, reply)
        if request ~= '' then redis.call('HSET', requests, request, requestJson) end
        if redis.call('HGET', conversation, 'title') == '' then redis.call('HSET', conversation, 'title', title) end
        redis.call('HSET', conversation, 'updatedAt', now)
        for i = 14, #ARGV do redis.call('RPUSH', journal, ARGV[i]) end
        redis.call('RPUSH', log, started)
        if retainMs ~= '0' then
            for _, key in ipairs({conversation, fence, turns, order, journal, requests, ratings}) do redis.call('PEXPIRE', key, retainMs) end
        end
        redis.call('PUBLISH', channel, started)
        return {'ok', token}
        """;

    /// <summary>
    /// Appends events to a reply's log and publishes them, if the writer's fencing token is still the newest; renews the lease, or gives it up with
    /// the terminal event, which stores the turn's end. Answers ok | fenced | gap.
    /// </summary>
    public const string Append = """
        local fence, lease, log, turns, journal = unpack(KEYS)
        local token, leaseMs, reply, before, channel, turnJson, keepMs, events = unpack(ARGV, 1, 8)
        if redis.call('GET', fence) ~= token then return 'fenced' end
        before, events = tonumber(before), tonumber(events)
        local length = redis.call('LLEN', log)
        if length >= before + events then return 'ok' end
        if length ~= before then return 'gap' end
        for i = 9, 8 + events do
            redis.call('RPUSH', log, ARGV[i])
            redis.call('PUBLISH', channel, ARGV[i])
        end
        for i = 9 + events, #ARGV do redis.call('RPUSH', journal, ARGV[i]) end
        if turnJson == '' then
            redis.call('SET', lease, token .. ':' .. reply, 'PX', leaseMs)
        else
            redis.call('HSET', turns, reply, turnJson)
            redis.call('PEXPIRE', log, keepMs)
            redis.call('DEL', lease)
        end
        return 'ok'
        """;

    /// <summary>
    /// Renews the lease of a writer that has nothing to append just now, unless the reply has ended meanwhile: then its log has a time to live,
    /// and a lease would keep the conversation busy for nobody. Answers ok | over | fenced.
    /// </summary>
    public const string Renew = """
        local fence, lease, log = unpack(KEYS)
        if redis.call('GET', fence) ~= ARGV[1] then return 'fenced' end
        if redis.call('PTTL', log) >= 0 then return 'over' end
        redis.call('SET', lease, ARGV[1] .. ':' .. ARGV[3], 'PX', ARGV[2])
        return 'ok'
        """;

    /// <summary>
    /// Ends a reply whose writer is gone: fences the writer off should it come back, and stores what was logged. Nothing happens when the writer
    /// lives, or when log or turn moved since they were read. Answers ok | alive | moved.
    /// </summary>
    public const string Interrupt = """
        local fence, lease, log, turns, journal = unpack(KEYS)
        local reply, length, turnBefore, turnJson, event, channel, keepMs, fact = unpack(ARGV)
        local holder = redis.call('GET', lease)
        if holder and string.sub(holder, -#reply - 1) == ':' .. reply then return 'alive' end
        if redis.call('LLEN', log) ~= tonumber(length) or redis.call('HGET', turns, reply) ~= turnBefore then return 'moved' end
        if not holder then redis.call('INCR', fence) end
        redis.call('HSET', turns, reply, turnJson)
        redis.call('RPUSH', log, event)
        redis.call('PEXPIRE', log, keepMs)
        redis.call('PUBLISH', channel, event)
        redis.call('RPUSH', journal, fact)
        return 'ok'
        """;

    /// <summary>Stores a rating with its journal line, if the reply exists. Answers ok | gone.</summary>
    public const string Rate = """
        local turns, ratings, journal = unpack(KEYS)
        if redis.call('HEXISTS', turns, ARGV[1]) == 0 then return 'gone' end
        redis.call('HSET', ratings, ARGV[1], ARGV[2])
        local left = redis.call('PTTL', turns)
        if left > 0 then redis.call('PEXPIRE', ratings, left) end
        redis.call('RPUSH', journal, ARGV[3])
        return 'ok'
        """;

    /// <summary>Erases every key it is given, unless turns came since their ids were read (the first key is their list). Answers ok | moved.</summary>
    public const string Erase = """
        if redis.call('LLEN', KEYS[1]) > tonumber(ARGV[1]) then return 'moved' end
        for _, key in ipairs(KEYS) do redis.call('DEL', key) end
        return 'ok'
        """;

    /// <summary>Renames a conversation that exists. Answers ok | gone.</summary>
    public const string Rename = """
        if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
        redis.call('HSET', KEYS[1], 'title', ARGV[1])
        return 'ok'
        """;

    /// <summary>Records the consent of a conversation that exists. Answers ok | gone.</summary>
    public const string Consent = """
        if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
        redis.call('HSET', KEYS[1], 'training', ARGV[1])
        return 'ok'
        """;
}
