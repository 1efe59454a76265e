namespace Chat.Domain.Training;

/// <summary>
/// Where gateways and training workers meet in Redis: keys, and the transactions on them as Lua. All keys share one slot, since jobs are few and queue, states and leases
/// must change together. Times are the server's. Every script may be sent twice: the second run changes nothing and answers as the first did.
/// </summary>
public static class TrainingStore
{
    /// <summary>Hash: job id → JSON of <see cref="TrainingJob"/>.</summary>
    public const string Jobs = "chat:training:{jobs}:records";

    /// <summary>Sorted set: job id → its number in the queue. All jobs; a resumed one gets a new number.</summary>
    public const string Order = "chat:training:{jobs}:order";

    /// <summary>Counter: the newest number.</summary>
    public const string Numbers = "chat:training:{jobs}:numbers";

    /// <summary>Hash: job id → word of <see cref="JobState"/>.</summary>
    public const string States = "chat:training:{jobs}:states";

    /// <summary>Hash: job id → "fence|ends (ms)|worker|device" of the worker that has it; absent = nobody has.</summary>
    public const string Leases = "chat:training:{jobs}:leases";

    /// <summary>Counter: the newest fencing token of all jobs.</summary>
    public const string Fence = "chat:training:{jobs}:fence";

    /// <summary>Hash: job id → "times, step": how often it was taken since a checkpoint was last seen to come, and that checkpoint's step.</summary>
    public const string Attempts = "chat:training:{jobs}:attempts";

    /// <summary>Hash: job id → JSON of <see cref="JobProgress"/>.</summary>
    public const string Progress = "chat:training:{jobs}:progress";

    /// <summary>Hash: job id → JSON of <see cref="JobEnd"/>.</summary>
    public const string Ends = "chat:training:{jobs}:ends";

    /// <summary>Hash: content hash → JSON of a <see cref="Generation.ModelRecord"/> of a model that a job made.</summary>
    public const string Registrations = "chat:training:{jobs}:registrations";

    /// <summary>Hash: job id → tenant, for the limit of each.</summary>
    public const string Owners = "chat:training:{jobs}:owners";

    /// <summary>String: JSON list of <see cref="WorkerPlugin"/>, of the worker that started last.</summary>
    public const string Plugins = "chat:training:{jobs}:plugins";

    /// <summary>Times a job is taken without a new checkpoint before it is given up: what kills its worker each time would kill every worker.</summary>
    public const int MostAttempts = 5;

    /// <summary>The keys of every script, in this order.</summary>
    public static IReadOnlyList<string> Keys { get; } = [Jobs, Order, Numbers, States, Leases, Fence, Attempts, Progress, Ends, Registrations, Owners];

    private const string Head = """
        local jobs, order, numbers, states, leases, fence, attempts, progress, ends, registrations, owners = unpack(KEYS)
        local time = redis.call('TIME')
        local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
        local function lease(id)
            local held = redis.call('HGET', leases, id)
            if not held then return nil end
            local token, untilMs, worker, device = string.match(held, '^(%d+)|(%d+)|([^|]*)|([^|]*)$')
            return token, tonumber(untilMs), worker, device
        end
        local function hold(id, token, leaseMs, worker, device)
            redis.call('HSET', leases, id, token .. '|' .. string.format('%d', now + tonumber(leaseMs)) .. '|' .. worker .. '|' .. device)
        end
        local function alive(id)
            local token, untilMs = lease(id)
            return token and untilMs > now
        end

        """;

    /// <summary>Arguments: id, JSON, most jobs, tenant, most jobs of a tenant. Answers ok | tenant | full. Jobs that have ended count until they are deleted.</summary>
    public const string Submit = Head + """
        local id, json, most, tenant, mostOfTenant = unpack(ARGV)
        if redis.call('HEXISTS', jobs, id) == 1 then return 'ok' end
        local own = 0
        for _, owner in ipairs(redis.call('HVALS', owners)) do
            if owner == tenant then own = own + 1 end
        end
        if own >= tonumber(mostOfTenant) then return 'tenant' end
        if redis.call('HLEN', jobs) >= tonumber(most) then return 'full' end
        redis.call('HSET', owners, id, tenant)
        redis.call('HSET', jobs, id, json)
        redis.call('HSET', states, id, 'queued')
        redis.call('ZADD', order, redis.call('INCR', numbers), id)
        return 'ok'
        """;

    /// <summary>Arguments: id. Answers gone | over, or the state it now has: a job that nobody is at is cancelled at once.</summary>
    public const string Cancel = Head + """
        local state = redis.call('HGET', states, ARGV[1])
        if not state then return 'gone' end
        if state == 'failed' or state == 'finished' then return 'over' end
        if (state == 'running' or state == 'cancelling') and alive(ARGV[1]) then state = 'cancelling' else state = 'cancelled' end
        redis.call('HSET', states, ARGV[1], state)
        if state == 'cancelled' then redis.call('HDEL', leases, ARGV[1]) end
        return state
        """;

    /// <summary>Arguments: id. Puts a cancelled or failed job at the queue's end. Answers gone | over | cancelling | ok.</summary>
    public const string Resume = Head + """
        local state = redis.call('HGET', states, ARGV[1])
        if not state then return 'gone' end
        if state == 'finished' then return 'over' end
        if state == 'cancelling' and alive(ARGV[1]) then return 'cancelling' end
        if state == 'running' or state == 'queued' then return 'ok' end
        redis.call('HSET', states, ARGV[1], 'queued')
        redis.call('HDEL', leases, ARGV[1])
        redis.call('HDEL', attempts, ARGV[1])
        redis.call('HDEL', ends, ARGV[1])
        redis.call('ZADD', order, redis.call('INCR', numbers), ARGV[1])
        return 'ok'
        """;

    /// <summary>Arguments: id. Forgets a job that nobody is at. Answers ok | busy.</summary>
    public const string Delete = Head + """
        local state = redis.call('HGET', states, ARGV[1])
        if (state == 'running' or state == 'cancelling') and alive(ARGV[1]) then return 'busy' end
        for _, key in ipairs({jobs, states, leases, attempts, progress, ends, owners}) do redis.call('HDEL', key, ARGV[1]) end
        redis.call('ZREM', order, ARGV[1])
        return 'ok'
        """;

    /// <summary>
    /// Arguments: worker, device, lease (ms), most attempts, JSON of the end of a job that is given up. Takes the first job that waits, or whose worker is gone, unless somebody is at one on the same device.
    /// A job that this worker has is answered again. Answers {} | {id, fence, JSON}.
    /// </summary>
    public const string Take = Head + """
        local worker, device, leaseMs, most, given = unpack(ARGV)
        for _, id in ipairs(redis.call('HKEYS', leases)) do
            local token, untilMs, holder, where = lease(id)
            if where == device and untilMs > now then
                if holder ~= worker then return {} end
                hold(id, token, leaseMs, worker, device)
                return {id, token, redis.call('HGET', jobs, id)}
            end
        end
        for _, id in ipairs(redis.call('ZRANGE', order, 0, -1)) do
            local state = redis.call('HGET', states, id)
            local left = (state == 'running' or state == 'cancelling') and not alive(id)
            if left and state == 'cancelling' then
                redis.call('HSET', states, id, 'cancelled')
                redis.call('HDEL', leases, id)
            elseif left or state == 'queued' then
                local times, step = string.match(redis.call('HGET', attempts, id) or '0,0', '^(%d+),(%d+)$')
                if tonumber(times) >= tonumber(most) then
                    redis.call('HSET', states, id, 'failed')
                    redis.call('HSET', ends, id, given)
                    redis.call('HDEL', leases, id)
                else
                    local token = string.format('%d', redis.call('INCR', fence))
                    redis.call('HSET', attempts, id, string.format('%d', tonumber(times) + 1) .. ',' .. step)
                    redis.call('HSET', states, id, 'running')
                    hold(id, token, leaseMs, worker, device)
                    return {id, token, redis.call('HGET', jobs, id)}
                end
            end
        end
        return {}
        """;

    /// <summary>Arguments: id, fence, lease (ms), progress JSON, step of the newest checkpoint. Renews the lease and tells how far the job is. Answers ok | cancel | lost.</summary>
    public const string Beat = Head + """
        local id, mine, leaseMs, json, saved = unpack(ARGV)
        local token, untilMs, worker, device = lease(id)
        if token ~= mine then return 'lost' end
        hold(id, token, leaseMs, worker, device)
        redis.call('HSET', progress, id, json)
        local times, step = string.match(redis.call('HGET', attempts, id) or '1,0', '^(%d+),(%d+)$')
        if tonumber(saved) > tonumber(step) then redis.call('HSET', attempts, id, '1,' .. saved) end
        if redis.call('HGET', states, id) == 'cancelling' then return 'cancel' end
        return 'ok'
        """;

    /// <summary>
    /// Arguments: id, fence, state, progress JSON, end JSON or "", content hash or "", record JSON. Gives the job back in this state, and registers its model. A job that is given back to the queue
    /// and was to be cancelled is cancelled; it was no attempt. Answers ok | lost.
    /// </summary>
    public const string End = Head + """
        local id, mine, state, progressJson, endJson, hash, record = unpack(ARGV)
        local token = lease(id)
        if token ~= mine then
            if not token and redis.call('HGET', ends, id) == endJson then return 'ok' end
            return 'lost'
        end
        if state == 'queued' then
            redis.call('HDEL', attempts, id)
            if redis.call('HGET', states, id) == 'cancelling' then state = 'cancelled' end
        end
        redis.call('HSET', states, id, state)
        redis.call('HSET', progress, id, progressJson)
        redis.call('HDEL', leases, id)
        if endJson ~= '' then redis.call('HSET', ends, id, endJson) end
        if hash ~= '' then redis.call('HSETNX', registrations, hash, record) end
        return 'ok'
        """;
}
