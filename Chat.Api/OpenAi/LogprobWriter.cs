using System.Text;
using Chat.Domain.Generation;
using Chat.Safety;

namespace Chat.Api.OpenAi;

/// <summary>
/// Lines emitted tokens up with the text that the safety gate let through. The bytes are always those of the cleared text, cut where the
/// tokens are cut: a mask's placeholder goes to the token in which the mask begins, tokens wholly under it vanish, and a token whose bytes
/// were changed loses its figures. An alternative that would have been a finding at its place is left out.
/// </summary>
internal sealed class LogprobWriter(SafetyPolicy policy)
{
    /// <summary>OpenAI's figure for «not worth stating»; also keeps −∞ out of the JSON.</summary>
    private const double Unstated = -9999;

    private const int TailLength = 160;

    private readonly Queue<EmittedToken> tokens = [];
    private readonly List<byte> bytes = [];        // cleared bytes of the token at the queue's head
    private readonly StringBuilder tail = new();   // cleared text before it
    private int consumed;                          // source bytes of the head that are done

    public void Add(IReadOnlyList<EmittedToken> emitted)
    {
        foreach (var token in emitted)
            if (token.Chosen.Bytes.Length > 0) tokens.Enqueue(token);
    }

    /// <summary>The entries that these spans complete.</summary>
    /// <param name="isLast">Nothing follows: what is left over becomes an entry of its own.</param>
    public List<TokenEntry> Take(IReadOnlyList<ClearedSpan> spans, bool isLast)
    {
        var entries = new List<TokenEntry>();
        foreach (var span in spans)
        {
            var text = Encoding.UTF8.GetBytes(span.Text);
            if (span.IsMasked) bytes.AddRange(text);
            for (var done = 0; done < span.SourceBytes;)
            {
                var head = tokens.TryPeek(out var token) ? token.Chosen.Bytes.Length : int.MaxValue;
                var share = Math.Min(head - consumed, span.SourceBytes - done);
                if (!span.IsMasked) bytes.AddRange(text.AsSpan(done, share));
                done += share;
                consumed += share;
                if (consumed == head) Finish(entries);
            }
        }
        if (isLast) Finish(entries);
        return entries;
    }

    private void Finish(List<TokenEntry> entries)
    {
        consumed = 0;
        tokens.TryDequeue(out var token);
        if (bytes.Count == 0) return;

        var own = bytes.ToArray();
        bytes.Clear();
        var isUnchanged = token is not null && own.AsSpan().SequenceEqual(token.Chosen.Bytes.Span);
        var top = isUnchanged ? token!.Top.Where(IsHarmless).Select(t => EntryOf(t.Bytes.Span, t.Logprob)).ToList() : [];
        var entry = EntryOf(own, isUnchanged ? token!.Chosen.Logprob : Unstated);
        entries.Add(new(entry.Token, entry.Logprob, entry.Bytes, top));

        tail.Append(entry.Token);
        if (tail.Length > 2 * TailLength) tail.Remove(0, tail.Length - TailLength);
    }

    private bool IsHarmless(TokenLogprob alternative) => policy.Allows(tail + Encoding.UTF8.GetString(alternative.Bytes.Span), tail.Length);

    private static TokenChoice EntryOf(ReadOnlySpan<byte> bytes, double logprob)
    {
        var numbers = new int[bytes.Length];
        for (var i = 0; i < numbers.Length; i++) numbers[i] = bytes[i];
        return new(Encoding.UTF8.GetString(bytes), double.IsFinite(logprob) ? Math.Max(logprob, Unstated) : Unstated, numbers);
    }
}
