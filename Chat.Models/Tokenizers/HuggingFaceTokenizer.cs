using System.Buffers;
using System.Text;

namespace Chat.Models.Tokenizers;

/// <summary>What tokenizers from a <c>tokenizer.json</c> have in common: added tokens, the ids put around a text, and decoding. Thread-safe and immutable.</summary>
public abstract class HuggingFaceTokenizer : ITextTokenizer
{
    private readonly TokenizerSurroundings surroundings;
    private readonly Dictionary<string, AddedToken> byName;
    private readonly Dictionary<int, AddedToken> byId;
    private readonly AddedTokens written;
    private readonly Lazy<AddedTokens> normalized;          // asks the heir, who is not made yet

    private protected HuggingFaceTokenizer(TokenizerSurroundings surroundings, SpecialTokens special)
    {
        (this.surroundings, Special) = (surroundings, special);
        byName = surroundings.Added.DistinctBy(token => token.Content).ToDictionary(token => token.Content, StringComparer.Ordinal);
        byId = surroundings.Added.DistinctBy(token => token.Id).ToDictionary(token => token.Id);
        // Special tokens are looked for in what was written only: what people write must not become one by being normalized.
        written = new([.. byName.Values.Where(token => token.Special || !token.Normalized).Select(token => (token.Content, token))]);
        normalized = new(() => new([.. byName.Values.Where(token => !token.Special && token.Normalized).Select(token => (Normalize(token.Content), token)).DistinctBy(pair => pair.Item1).Where(pair => pair.Item1.Length > 0)]));
    }

    public abstract int VocabularySize { get; }
    public SpecialTokens Special { get; }

    /// <summary>The names of the special tokens.</summary>
    public IEnumerable<string> SpecialNames => surroundings.Added.Where(token => token.Special).Select(token => token.Content);

    /// <summary>The id of an added token, or <c>null</c>.</summary>
    public int? FindAdded(string name) => byName.TryGetValue(name, out var token) ? token.Id : null;

    public IReadOnlyList<int> Encode(string text)
    {
        var ids = new List<int>();
        if (text.Length > 0) EncodeNormalized(Normalize(WellFormed(text)), atStart: true, ids);
        return ids;
    }

    /// <summary>As Hugging Face encodes: added tokens in the text are found, and the post-processor's ids put around it.</summary>
    /// <param name="plain">Changes each piece between added tokens before it is encoded.</param>
    public IReadOnlyList<int> EncodeWithAdded(string text, bool template, Func<string, string>? plain = null)
    {
        List<int> ids = template ? [.. surroundings.Before] : [];
        foreach (var (piece, token, atStart) in written.Cut(WellFormed(text)))
        {
            if (token is not null) ids.Add(token.Id);
            else
                foreach (var (part, inner, first) in normalized.Value.Cut(Normalize(plain is null ? piece : plain(piece))))
                {
                    if (inner is not null) ids.Add(inner.Id);
                    else EncodeNormalized(part, atStart && first, ids);
                }
        }
        if (template) ids.AddRange(surroundings.Behind);
        return ids;
    }

    public ReadOnlySpan<byte> Bytes(int id) => IsSpecial(id) ? [] : RawBytes(id, first: false);
    public ReadOnlySpan<byte> FirstBytes(int id) => IsSpecial(id) ? [] : RawBytes(id, first: true);

    /// <summary>What a token writes, behind others or as the first one; special tokens write their names.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such id.</exception>
    public abstract ReadOnlySpan<byte> RawBytes(int id, bool first);

    /// <summary>The text of ids; bytes that are no UTF-8 become U+FFFD, one for each maximal ill-formed part.</summary>
    public string Decode(IEnumerable<int> ids, bool skipSpecial)
    {
        using var text = new MemoryStream();
        var first = true;
        foreach (var id in ids.Where(id => !skipSpecial || !IsSpecial(id)))
        {
            text.Write(RawBytes(id, first));
            first = false;
        }
        return Encoding.UTF8.GetString(text.GetBuffer().AsSpan(0, (int)text.Length));
    }

    /// <summary>A token that no text spells.</summary>
    public bool IsSpecial(int id) => byId.TryGetValue(id, out var token) && token.Special;

    /// <param name="text">Well formed, without added tokens.</param>
    private protected abstract string Normalize(string text);

    /// <param name="text">Normalized; may be empty.</param>
    /// <param name="atStart">Nothing stands before it.</param>
    private protected abstract void EncodeNormalized(string text, bool atStart, List<int> ids);

    /// <summary>Half a surrogate pair has no UTF-8: it becomes U+FFFD, as everywhere on the wire.</summary>
    private protected static string WellFormed(string text)
    {
        for (var at = 0; at < text.Length;)
        {
            if (Rune.DecodeFromUtf16(text.AsSpan(at), out _, out var units) != OperationStatus.Done) return Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
            at += units;
        }
        return text;
    }

    /// <summary>Finds tokens in a text: the leftmost first, of several at one place the longest.</summary>
    private sealed class AddedTokens((string Pattern, AddedToken Token)[] tokens)
    {
        private readonly (string Pattern, AddedToken Token)[] longestFirst = [.. tokens.OrderByDescending(token => token.Pattern.Length)];
        private readonly SearchValues<string> patterns = SearchValues.Create([.. tokens.Select(token => token.Pattern)], StringComparison.Ordinal);

        /// <summary>The tokens and what stands between them, nothing of it empty.</summary>
        public IEnumerable<(string Piece, AddedToken? Token, bool AtStart)> Cut(string text)
        {
            var at = 0;
            for (var from = 0; longestFirst.Length > 0 && text.AsSpan(from).IndexOfAny(patterns) is var found and >= 0;)
            {
                var (start, here) = (from + found, from + found);
                var (pattern, token) = longestFirst.First(each => text.AsSpan(here).StartsWith(each.Pattern, StringComparison.Ordinal));
                var end = start + pattern.Length;
                while (token.StripLeft && start > at && char.IsWhiteSpace(text[start - 1])) start--;
                while (token.StripRight && end < text.Length && char.IsWhiteSpace(text[end])) end++;
                if (start > at) yield return (text[at..start], null, at == 0);
                yield return (pattern, token, start == 0);
                at = from = end;
            }
            if (at < text.Length) yield return (text[at..], null, at == 0);
        }
    }
}

/// <summary>What a <c>tokenizer.json</c> says beside its model: added tokens, and the ids put before and behind a single text.</summary>
public sealed record TokenizerSurroundings(IReadOnlyList<AddedToken> Added, IReadOnlyList<int> Before, IReadOnlyList<int> Behind);
