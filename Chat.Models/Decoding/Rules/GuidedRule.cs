using System.Text.Json;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding.Constraints;

namespace Chat.Models.Decoding.Rules;

/// <summary>
/// The reply fits guidedRegex, or is JSON that guidedJson's schema accepts: in each step the tokens with which it cannot go on so are taken out, and it may end only where the
/// text is whole (Willard and Louf, arXiv:2307.09702; tokens are checked by their bytes, so a character may be spread over several). Other bans give way where they would leave
/// nothing. A reply that is cut off, by maxTokens or a stop string, is a beginning of such a text.
/// </summary>
[Plugin("guided", Paper = "arXiv:2307.09702", Summary = "The reply fits guidedRegex, or guidedJson, a JSON schema.")]
public sealed class GuidedRule : ILogitsRule
{
    private const int MostKept = 64, MostStates = 10_000, LongestSchema = 65_536;

    // What was found for one request serves the next; nothing here decides anything.
    private static readonly Lock Gate = new();
    private static readonly Dictionary<(string Kind, string Text), Grammar> Grammars = [];
    private static readonly Dictionary<(TokenTable, Grammar), TokenMasks> Masks = [];

    public RuleStage Stage => RuleStage.Constraint;

    public void Check(DecodingOptions options)
    {
        if (options.GuidedRegex is not null && options.GuidedJson is not null) throw Invalid("guidedJson", "guidedJson and guidedRegex exclude each other.");
        GrammarOf(options);
    }

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue)
    {
        if (GrammarOf(options) is not { } grammar) return null;
        lock (Gate)
        {
            if (!Masks.TryGetValue((tokens, grammar), out var found) || found.States > MostStates)
            {
                if (Masks.Count >= MostKept) Masks.Clear();
                Masks[(tokens, grammar)] = found = new(new(grammar), tokens);
            }
            return new Row(found, tokens, new float[tokens.Count], found.Start, hasBegun: !tokens.BeginsOtherwise);
        }
    }

    private Grammar? GrammarOf(DecodingOptions options)
    {
        if (options.GuidedRegex is null && options.GuidedJson is null) return null;
        var (kind, text) = options.GuidedRegex is { } regex ? ("guidedRegex", regex) : ("guidedJson", options.GuidedJson!.Value.GetRawText());
        lock (Gate)
        {
            if (Grammars.TryGetValue((kind, text), out var known)) return known;
            if (Grammars.Count >= MostKept) Grammars.Clear();
            return Grammars[(kind, text)] = Read(kind, text, options);
        }
    }

    private static Grammar Read(string kind, string text, DecodingOptions options)
    {
        if (text.Length > LongestSchema) throw Invalid(kind, $"{kind} has at most {LongestSchema} characters, this one has {text.Length}.");
        try
        {
            if (options.GuidedRegex is null) return JsonSchemaReader.Read(options.GuidedJson!.Value);
            var grammar = new Grammar();
            grammar.Define(grammar.NewRule(), RegexReader.Read(text, isWhole: true));
            return grammar.Complete();
        }
        catch (ConstraintException error)
        {
            throw Invalid(kind, $"{kind}: {error.Message}");
        }
    }

    private static GenerationException Invalid(string option, string message) => new(GenerationError.InvalidOption, message, option);

    private sealed class Row(TokenMasks masks, TokenTable tokens, float[] raw, ByteAutomaton.State? state, bool hasBegun) : IRowRule
    {
        private ByteAutomaton.State? state = state;                                        // null: an emitted prefix that does not fit; the reply ends

        private bool hasBegun = hasBegun;

        public void Append(int token)
        {
            if (state is not null) state = hasBegun ? masks.Next(state, token) : masks.First(token);
            hasBegun |= tokens.Bytes(token).Length > 0;
        }

        // Forks share the copy: a row is settled before the next one begins.
        public IRowRule Fork() => new Row(masks, tokens, raw, state, hasBegun);

        public void Apply(Span<float> scores, ReadOnlySpan<int> reply) => scores.CopyTo(raw);

        public void Settle(Span<float> scores)
        {
            if (state is null)
            {
                scores.Fill(float.NegativeInfinity);
                scores[tokens.Separator] = 0;
                return;
            }
            var mask = hasBegun ? masks.Of(state) : masks.Beginning();
            Take(scores, mask);
            if (scores.IndexOfAnyExcept(float.NegativeInfinity) >= 0) return;
            raw.CopyTo(scores);
            Take(scores, mask);
        }

        private static void Take(Span<float> scores, ReadOnlySpan<ulong> mask)
        {
            for (var word = 0; word < mask.Length; word++)
            {
                var bits = mask[word];
                if (bits == ulong.MaxValue) continue;
                var part = scores[(64 * word)..Math.Min(scores.Length, 64 * word + 64)];
                if (bits == 0) part.Fill(float.NegativeInfinity);
                else
                    for (var i = 0; i < part.Length; i++)
                        if ((bits >> i & 1) == 0) part[i] = float.NegativeInfinity;
            }
        }
    }
}
