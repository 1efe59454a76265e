using System.Text.Json;
using System.Text.Json.Serialization;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Training.Data.Extraction;
using Chat.Training.Methods;

namespace Chat.Training.Data.Instruct;

/// <summary>
/// The counterparts of UDIT's rules for conversation logs (ours, not the paper's). Only replies that a person rated well are ever an answer to learn: a bot that learns what it said by itself grows more like itself.
/// Plugin calls and wrap-up notes do not exist in these logs, so the sheet's intents by invoked plugin become the bot that was talked to, and summaries the sentence that says most of the rest.
/// </summary>
public static class LogRules
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase, allowIntegerValues: false) }, RespectRequiredConstructorParameters = true, RespectNullableAnnotations = true };

    /// <summary>Reads a training export, one conversation a line.</summary>
    /// <exception cref="InvalidDataException">A line that is none; the message has file and line.</exception>
    public static IReadOnlyList<ConsentedConversation> Read(string path)
    {
        var logs = new List<ConsentedConversation>();
        foreach (var line in File.ReadLines(path).Where(line => line.Length > 0))
        {
            try
            {
                logs.Add(JsonSerializer.Deserialize<ConsentedConversation>(line, Json) ?? throw new JsonException("it is null"));
            }
            catch (JsonException error)
            {
                throw new InvalidDataException($"{path}, conversation {logs.Count + 1}: {error.Message}", error);
            }
        }
        return logs;
    }

    public static IEnumerable<PseudoSample> Make(IReadOnlyList<ConsentedConversation> logs, ulong seed) =>
        NextReply(logs, seed).Concat(Rated(logs)).Concat(Asked(logs, seed)).Concat(Summary(logs)).Concat(TalkedTo(logs));

    // Which reply came next? The true one was rated well; a hard wrong one is of the same session, easy ones of others.
    private static IEnumerable<PseudoSample> NextReply(IReadOnlyList<ConsentedConversation> logs, ulong seed)
    {
        foreach (var log in logs)
        {
            var number = 0;
            foreach (var reply in Liked(log))
            {
                var random = RandomStream.Of(seed, $"next-reply {log.Conversation}", number++);
                var dialogue = Before(log, reply);
                var language = Language(reply.Text);
                var own = Replies(log).Where(other => other.Id != reply.Id && other.ReplyTo != reply.ReplyTo).Select(other => other.Text).Where(text => text != reply.Text).ToArray();
                var others = logs.Where(other => other.Conversation != log.Conversation).SelectMany(Replies).Select(other => other.Text).Where(text => text != reply.Text && Language(text) == language).Distinct().ToArray();
                var options = own.Shuffled(ref random).Take(1).Concat(others.Shuffled(ref random)).Distinct().Take(3).Append(reply.Text).ToArray();
                if (dialogue.Length == 0 || options.Length < 4) continue;
                yield return Sample("mcqa", "next-reply", log, language, new() { ["context"] = dialogue, ["question"] = language == "zh" ? "接下来的回答是哪一句？" : "Which reply comes next?" }, options.Shuffled(ref random), reply.Text);
            }
        }
    }

    private static IEnumerable<PseudoSample> Rated(IReadOnlyList<ConsentedConversation> logs) =>
        from log in logs
        from reply in Replies(log)
        where reply.Rating is not null
        let asked = log.Turns.FirstOrDefault(turn => turn.Id == reply.ReplyTo)
        where asked is not null
        select Sample("sent", "rating", log, Language(reply.Text), new() { ["text"] = $"{asked.Text}\n{reply.Text}" }, ["positive", "negative"], reply.Rating == Rating.Up ? "positive" : "negative");

    // An edited message says the same again; another message of the session does not.
    private static IEnumerable<PseudoSample> Asked(IReadOnlyList<ConsentedConversation> logs, ulong seed)
    {
        foreach (var log in logs)
        {
            var messages = log.Turns.Where(turn => turn.Role == ChatRole.User).ToArray();
            for (var i = 0; i < messages.Length; i++)
            {
                var random = RandomStream.Of(seed, $"asked {log.Conversation}", i);
                var same = Choices.Coin(ref random);
                var candidates = messages.Skip(i + 1).Where(other => other.ReplyTo == messages[i].ReplyTo == same && other.Text != messages[i].Text).ToArray();
                if (candidates.Length == 0) continue;
                var pair = new[] { messages[i].Text, candidates.One(ref random).Text }.Shuffled(ref random);
                yield return Sample("para", "asked-again", log, Language(messages[i].Text), new() { ["first"] = pair[0], ["second"] = pair[1] }, ["yes", "no"], same ? "yes" : "no");
            }
        }
    }

    private static IEnumerable<PseudoSample> Summary(IReadOnlyList<ConsentedConversation> logs)
    {
        foreach (var log in logs)
        {
            var turns = log.Turns.Where(turn => turn.Role == ChatRole.User || turn.Rating == Rating.Up).Select(turn => turn.Text).ToArray();
            if (turns.Length < 5) continue;
            var language = Language(string.Concat(turns));
            if (GapSentence.Best(turns, language) is not { } best) continue;
            yield return Sample("sum", "session-gap", log, language, new() { ["text"] = string.Join('\n', turns.Where((_, i) => i != best)) }, null, turns[best]);
        }
    }

    private static IEnumerable<PseudoSample> TalkedTo(IReadOnlyList<ConsentedConversation> logs)
    {
        string[] bots = [.. logs.Select(log => log.Bot).Distinct().Order(StringComparer.Ordinal)];
        if (bots.Length < 2) yield break;
        foreach (var log in logs)
            if (log.Turns.FirstOrDefault(turn => turn.Role == ChatRole.User) is { } first)
                yield return Sample("tc", "talked-to", log, Language(first.Text), new() { ["text"] = first.Text }, bots, log.Bot);
    }

    /// <summary>Dialogues that end in a reply which was rated well, as a corpus for the <c>answer</c> sampler.</summary>
    public static IEnumerable<Document> Dialogues(IReadOnlyList<ConsentedConversation> logs, string name) =>
        from log in logs
        from reply in Liked(log)
        let message = log.Turns.FirstOrDefault(turn => turn.Id == reply.ReplyTo)
        where message is not null
        select new Document(name, Language(reply.Text), $"dialogue/liked/{log.Conversation}/{reply.Id}", [message.Text, reply.Text]);

    private static PseudoSample Sample(string cluster, string rule, ConsentedConversation log, string language, Dictionary<string, string> fields, IReadOnlyList<string>? options, string answer) =>
        new(cluster, rule, language, fields, options, answer, log.Conversation);

    private static IEnumerable<ConsentedTurn> Replies(ConsentedConversation log) => log.Turns.Where(turn => turn.Role == ChatRole.Assistant && turn.Text.Length > 0);

    private static IEnumerable<ConsentedTurn> Liked(ConsentedConversation log) => Replies(log).Where(turn => turn.Rating == Rating.Up);

    private static string Before(ConsentedConversation log, ConsentedTurn reply)
    {
        var byId = log.Turns.ToDictionary(turn => turn.Id);
        var lines = new List<string>();
        for (var turn = byId.GetValueOrDefault(reply.ReplyTo ?? ""); turn is not null && lines.Count < log.Turns.Count; turn = byId.GetValueOrDefault(turn.ReplyTo ?? "")) lines.Add(turn.Text);
        lines.Reverse();
        return string.Join('\n', lines);
    }

    private static string Language(string text) => TextCleaning.HanShare(text) > 0.5 ? "zh" : "en";
}
