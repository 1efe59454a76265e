using System.Text.Json.Nodes;
using Chat.Api.Registry;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Safety;

namespace Chat.Api.Conversations;

/// <summary>What Send, Edit and Regenerate differ in, once their arguments are checked.</summary>
/// <param name="Decide">What the request comes to, given the turns; may be asked again when another request was faster.</param>
/// <param name="Fact">The journal's word for it.</param>
/// <param name="Of">The turn that an edit or a regeneration replaces.</param>
/// <param name="Request">A Regenerate's id with what was heard under it.</param>
internal sealed record ReplyWish(Func<Transcript, ReplyDecision> Decide, FactKind Fact, string? Of = null, (string Id, HeardRequest? Before)? Request = null);

/// <summary>Begins replies: the part of a message's way that Send, Edit and Regenerate share.</summary>
internal sealed class ReplyStarter(
    OwnConversations conversations, ConversationStore store, ReplyLog log, ReplyBeat beat, RunningReplies replies, ReplyReader reader,
    IChatModels models, ModelRegistry registry, Bots bots, SafetyPolicy safety, ReplySettings settings, TimeProvider time, ILogger<ReplyWriter> logger)
{
    /// <summary>
    /// Stores message and reply and starts the writing, or finds the reply that an equal request made; either way gives its events from the first on.
    /// When the call returns, everything that will be acknowledged is durable.
    /// </summary>
    public async Task<IAsyncEnumerable<ChatEvent>> StartAsync(Conversation conversation, ReplyOptions? options, ReplyWish wish, CancellationToken cancellation)
    {
        replies.RefuseWhenShuttingDown();
        var bot = bots.GetOrPlain(conversation.Bot);
        var (model, decoding) = await CheckAsync(conversation, bot, options);

        for (var attempt = 1; ; attempt++)
        {
            var transcript = await conversations.TurnsAsync(conversation);
            var decision = wish.Decide(transcript);
            if (decision is ReplyDecision.Replay { Reply: var known }) return await ReplayAsync(conversation, known, cancellation);

            var begin = (ReplyDecision.Begin)decision;
            var outcome = await TryBeginAsync(conversation, transcript, begin, wish, bot, model, decoding);
            if (outcome.Reply is { } turn) return reader.ReadAsync(conversation.Id, turn, 0, cancellation);
            if (outcome.Why == BeginOutcome.Gone) throw ChatException.NoConversation();
            // Another request was faster. If it was this very one, the second look finds its reply.
            if (attempt == 2) throw new ChatException(ChatError.Busy, "A reply is being written in this conversation. Wait for its end, or stop it.");
        }
    }

    /// <summary>Model and options as they will be used, every one spelled out.</summary>
    /// <exception cref="ChatException"><c>invalid</c>, with the known choices.</exception>
    public async Task<(ModelDescription Model, JsonObject Decoding)> CheckAsync(Conversation? conversation, Bot bot, ReplyOptions? options)
    {
        options?.RefuseWhatIsNotServed();
        if (conversation is not null && options?.Bot is { } other && other != conversation.Bot)
            throw ChatException.Invalid($"This conversation belongs to the bot '{conversation.Bot}'; start another one for '{other}'.");
        var chosen = (options ?? new()).Over(conversation?.Options).Over(bot.Options);
        try
        {
            var id = chosen.Model is { } named ? await registry.ResolveAsync(named) : models.Models is [var first, ..] ? first.Id : throw new ChatException(ChatError.Busy, "No model is served yet. Try again in 5 seconds.") { RetryAfter = TimeSpan.FromSeconds(5) };
            var decoding = models.Check(id, chosen.Decoding);
            // Between the two looks a host may have taken its model away.
            return (models.Models.FirstOrDefault(m => m.Id == id) ?? throw new GenerationException(GenerationError.Unavailable, $"The model '{id}' is being unloaded."), decoding);
        }
        catch (GenerationException e)
        {
            throw Chat(e);
        }
    }

    private async Task<(Turn? Reply, BeginOutcome Why)> TryBeginAsync(
        Conversation conversation, Transcript transcript, ReplyDecision.Begin begin, ReplyWish wish, Bot bot, ModelDescription model, JsonObject decoding)
    {
        var now = time.GetUtcNow();
        var replyId = Guid.CreateVersion7(now).ToString("N");
        var check = safety.Check(begin.Text, begin.MessageId);
        var masked = check.Cleared.Refusal is null && check.Cleared.Text != begin.Text ? check.Cleared.Text : null;
        var message = begin.NewMessage
            ? new Turn { Tenant = conversation.Tenant, Id = begin.MessageId, Role = ChatRole.User, Text = begin.Text, MaskedText = masked, State = TurnState.Stop, ReplyTo = begin.Follows, CreatedAt = now }
            : null;
        var turn = new Turn
        {
            Tenant = conversation.Tenant, Id = replyId, Role = ChatRole.Assistant, Text = "", State = TurnState.Running, ReplyTo = begin.MessageId, CreatedAt = now,
            Reply = new() { Model = model.Id, ModelHash = model.Hash, Strategy = (string?)decoding["strategy"] ?? "", Decoding = decoding, Seed = SeedOf(decoding), Bot = bot.Name },
        };
        var started = new ChatEvent { Type = ChatEventType.Started, ReplyId = replyId, Sequence = 1, Model = model.Id };
        JournalFact fact = new() { Tenant = conversation.Tenant, Kind = wish.Fact, At = now, Turn = wish.Fact == FactKind.Regenerated ? replyId : begin.MessageId, Of = wish.Of };
        JournalFact begun = new() { Tenant = conversation.Tenant, Kind = FactKind.Started, At = now, Turn = replyId, Model = model.Id };
        var request = wish.Request is { } r ? (r.Id, new HeardRequest(replyId, wish.Of!), r.Before) : default((string, HeardRequest, HeardRequest?)?);

        var (outcome, lease) = await log.BeginAsync(conversation.Id, message, turn, started, Conversation.TitleOf(begin.Text), [fact, begun], request);
        if (lease is null) return (null, outcome);

        var owner = new Caller(conversation.Tenant, conversation.User);
        var reply = new RunningReply(owner, lease, turn, started, time);
        var gate = safety.OpenGate(replyId);
        var generation = new GenerationRequest { RequestId = replyId, Tenant = conversation.Tenant, Model = model.Id, Decoding = decoding, Messages = Dialogue(bot, transcript, begin, masked ?? begin.Text) };
        var writer = new ReplyWriter(reply, generation, gate, models, log, beat, settings, time, logger);
        replies.Run(reply, check.Cleared.Refusal is null
            ? writer.RunAsync
            : () => writer.RefuseAsync("This message is not answered: it is against the safety rules."));
        await store.TouchAsync(owner, conversation.Id, now);
        return (turn, BeginOutcome.Begun);
    }

    private async Task<IAsyncEnumerable<ChatEvent>> ReplayAsync(Conversation conversation, Turn reply, CancellationToken cancellation)
    {
        // The log is kept for a day; later the same events are made from the turn, in fewer pieces.
        if (reply.State == TurnState.Running || await log.ExistsAsync(conversation.Id, reply.Id)) return reader.ReadAsync(conversation.Id, reply, 0, cancellation);
        return reply.AsEvents().ToAsyncEnumerable();
    }

    private static List<ChatMessage> Dialogue(Bot bot, Transcript transcript, ReplyDecision.Begin begin, string text) =>
    [
        .. bot.SystemPrompt is { Length: > 0 } prompt ? [new ChatMessage(ChatRole.System, prompt)] : Array.Empty<ChatMessage>(),
        .. transcript.DialogueBefore(begin.Follows),
        new(ChatRole.User, text),
    ];

    private static long? SeedOf(JsonObject decoding) => decoding["seed"] is JsonValue value && value.TryGetValue<long>(out var seed) ? seed : null;

    private static ChatException Chat(GenerationException e) => new(
        e.Error switch { GenerationError.TooLong => ChatError.TooLarge, GenerationError.Busy or GenerationError.Unavailable => ChatError.Busy, _ => ChatError.Invalid },
        e.Message, e) { RetryAfter = e.RetryAfter };
}
