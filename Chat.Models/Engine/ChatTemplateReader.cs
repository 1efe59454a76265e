using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Models.Templates;
using Chat.Models.Tokenizers;

namespace Chat.Models.Engine;

/// <summary>
/// Writes conversations as a model's chat template wants them. What people wrote stays text: names of special tokens in it are shielded, so nobody can forge a turn.
/// A conversation that does not fit loses its oldest turns, whole and from a user's turn on; system messages stay. A last turn that does not fit alone keeps its end.
/// </summary>
public sealed class ChatTemplateReader : IDialogueReader
{
    // For models that were taught no roles: turns one behind the other, each ended by the end token.
    private const string Plain = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}";

    /// <summary>Stands inside a shielded name while the template renders. No text has it: in what people write it becomes U+FFFD.</summary>
    private const char Shield = '\uFFFE';

    private readonly HuggingFaceTokenizer tokenizer;
    private readonly ChatTemplate template;
    private readonly string startToken, endToken;
    private readonly string[] specialNames;
    private readonly int longestContext;
    private readonly TimeProvider time;

    /// <param name="format">The model's own format, or <c>null</c> for turns one behind the other.</param>
    /// <exception cref="TemplateException">The template is not of the language that is known here.</exception>
    public ChatTemplateReader(HuggingFaceTokenizer tokenizer, ChatFormat? format, int longestContext, TimeProvider time)
    {
        (this.tokenizer, this.longestContext, this.time) = (tokenizer, longestContext, time);
        template = ChatTemplate.Parse(format?.Template ?? Plain);
        startToken = format?.StartToken ?? Name(tokenizer.Special.Start);
        endToken = format?.EndToken ?? Name(tokenizer.Special.Separator);
        specialNames = [.. tokenizer.SpecialNames.OrderByDescending(name => name.Length)];
    }

    /// <inheritdoc/>
    public (int[] Context, int[] Dialogue) Read(IReadOnlyList<ChatMessage> messages)
    {
        var (system, turns) = (messages.Where(m => m.Role == ChatRole.System).ToArray(), messages.Where(m => m.Role != ChatRole.System).ToArray());
        if (turns.Length == 0) throw new GenerationException(GenerationError.InvalidOption, "There is no message to answer: messages needs at least one that is not from the system.", "messages");
        int[] dialogue = [.. turns.Reverse().SelectMany(turn => tokenizer.Encode(Ending(turn.Text)).Append(tokenizer.Special.Separator).Reverse()).Take(DialogueReader.LongestDialogue).Reverse()];
        return (Context(system, turns), dialogue);
    }

    private int[] Context(ChatMessage[] system, ChatMessage[] turns)
    {
        for (var first = 0; ; first = Next(turns, first))
        {
            var ids = Render([.. system, .. turns[first..]]);
            if (ids.Count <= longestContext) return [.. ids];
            if (Next(turns, first) >= turns.Length) return Shortened(system, turns[^1]);
        }
    }

    /// <summary>Where the dialogue may begin when the turn at <paramref name="first"/> goes: templates want a user's turn there; without one, at the last.</summary>
    private static int Next(ChatMessage[] turns, int first)
    {
        for (var next = first + 1; next < turns.Length; next++)
            if (turns[next].Role == ChatRole.User) return next;
        return first < turns.Length - 1 ? turns.Length - 1 : turns.Length;
    }

    private int[] Shortened(ChatMessage[] system, ChatMessage last)
    {
        foreach (var kept in system.Length > 0 ? [system, []] : new ChatMessage[][] { [] })
        {
            var words = tokenizer.Encode(Ending(last.Text));
            for (var room = Math.Min(words.Count, longestContext - Render([.. kept, last with { Text = "" }]).Count); room > 0; room--)
            {
                // A cut may fall inside a character: what is left of it goes.
                var ids = Render([.. kept, last with { Text = tokenizer.Decode(words.Skip(words.Count - room), skipSpecial: true).TrimStart('\uFFFD') }]);
                if (ids.Count <= longestContext) return [.. ids];
            }
        }
        throw new GenerationException(GenerationError.InvalidOption, $"The model's chat template alone takes more than the {longestContext} tokens that fit.", "messages");
    }

    private IReadOnlyList<int> Render(IEnumerable<ChatMessage> messages)
    {
        var variables = new JsonObject
        {
            ["messages"] = new JsonArray([.. messages.Select(m => (JsonNode)new JsonObject { ["role"] = m.Role.ToString().ToLowerInvariant(), ["content"] = Shielded(Ending(m.Text)) })]),
            ["add_generation_prompt"] = true,
            ["bos_token"] = startToken,
            ["eos_token"] = endToken,
        };
        try
        {
            return tokenizer.EncodeWithAdded(template.Render(variables, time), template: false, piece => piece.Replace($"{Shield}", "", StringComparison.Ordinal));
        }
        catch (TemplateException error)
        {
            throw new GenerationException(GenerationError.InvalidOption, $"The model's chat template does not take these messages: {error.Message}", "messages");
        }
    }

    private string Shielded(string text)
    {
        text = text.Replace(Shield, '\uFFFD');
        foreach (var name in specialNames)
            text = text.Replace(name, name.Length == 1 ? "\uFFFD" : name.Insert(1, $"{Shield}"), StringComparison.Ordinal);
        return text;
    }

    /// <summary>No more of a text than its last tokens can be, so that a huge one costs no more than the longest that fits.</summary>
    private string Ending(string text)
    {
        const int longestToken = 64;
        var most = Math.Max(longestContext, DialogueReader.LongestDialogue) * longestToken;
        if (text.Length <= most) return text;
        var from = text.Length - most;
        return text[(char.IsLowSurrogate(text[from]) ? from + 1 : from)..];
    }

    private string Name(int id) => Encoding.UTF8.GetString(tokenizer.RawBytes(id, first: true));
}
