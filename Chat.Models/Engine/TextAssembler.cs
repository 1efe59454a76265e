using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;
using Chat.Domain.Generation;
using Chat.Models.Decoding;

namespace Chat.Models.Engine;

/// <summary>
/// Turns a reply's tokens into text that may be shown. Released text ends on a whole character and on a whole token, and no stop string can
/// still form across its end; text behind a stop string is dropped together with the stop string. Bytes that are no UTF-8 become
/// U+FFFD, one for each maximal ill-formed part. The bytes of the released tokens are exactly those of the released text. Not thread-safe.
/// </summary>
/// <param name="emitted">Tokens of the reply that were shown before these.</param>
public sealed class TextAssembler(TokenTable tokens, IEnumerable<string> stop, IEnumerable<int>? emitted = null)
{
    private static readonly byte[] Replacement = [0xEF, 0xBF, 0xBD];

    private readonly byte[][] stops = [.. stop.Select(Encoding.UTF8.GetBytes)];
    private readonly List<EmittedToken> pending = [];
    private readonly List<byte> clean = [], raw = [];                                      // whole characters; the bytes of an unfinished one
    private readonly List<int> cleanOwner = [], rawOwner = [];                             // which of the pending tokens a byte belongs to

    private bool hasBegun = (emitted ?? []).Any(id => tokens.Bytes(id).Length > 0);

    /// <summary>A stop string has come up: the reply is over.</summary>
    public bool IsStopped { get; private set; }

    public void Append(in ChosenToken token)
    {
        if (IsStopped) throw new InvalidOperationException("The reply has ended at a stop string.");
        pending.Add(new(Record(token.Id, token.Logprob), [.. token.Top.Select(t => Record(t.Id, t.Logprob))]));
        raw.AddRange(hasBegun ? tokens.Bytes(token.Id) : tokens.FirstBytes(token.Id));
        hasBegun |= tokens.Bytes(token.Id).Length > 0;
        while (rawOwner.Count < raw.Count) rawOwner.Add(pending.Count - 1);
        Decode(final: false);
        CutAtStop();
    }

    /// <summary>What may be shown by now and has not been taken yet; with <paramref name="final"/>, all that is left.</summary>
    public (string Text, IReadOnlyList<EmittedToken> Tokens) Take(bool final)
    {
        if (final && !IsStopped)
        {
            Decode(final: true);
            CutAtStop();
        }
        var count = final || IsStopped ? pending.Count : Releasable();
        var length = LengthOf(count);
        var bytes = CollectionsMarshal.AsSpan(clean)[..length];
        var text = Encoding.UTF8.GetString(bytes);
        var released = new List<EmittedToken>(count);
        for (var i = 0; i < count; i++)
            released.Add(pending[i] with { Chosen = pending[i].Chosen with { Bytes = bytes[LengthOf(i)..LengthOf(i + 1)].ToArray() } });

        pending.RemoveRange(0, count);
        clean.RemoveRange(0, length);
        cleanOwner.RemoveRange(0, length);
        for (var i = 0; i < cleanOwner.Count; i++) cleanOwner[i] -= count;
        for (var i = 0; i < rawOwner.Count; i++) rawOwner[i] -= count;
        return (text, released);
    }

    private TokenLogprob Record(int id, float logprob) => new(id, tokens.Bytes(id).ToArray(), logprob);

    private void Decode(bool final)
    {
        while (raw.Count > 0)
        {
            var status = Rune.DecodeFromUtf8(CollectionsMarshal.AsSpan(raw), out _, out var length);
            if (status == OperationStatus.NeedMoreData && !final) return;
            ReadOnlySpan<byte> good = status == OperationStatus.Done ? CollectionsMarshal.AsSpan(raw)[..length] : Replacement;
            for (var i = 0; i < good.Length; i++) cleanOwner.Add(rawOwner[status == OperationStatus.Done ? i : 0]);
            clean.AddRange(good);
            raw.RemoveRange(0, length);
            rawOwner.RemoveRange(0, length);
        }
    }

    // The stop string that is complete first counts, so the cut does not depend on how the text came in tokens.
    private void CutAtStop()
    {
        var text = CollectionsMarshal.AsSpan(clean);
        var (start, end) = (-1, int.MaxValue);
        foreach (var s in stops)
        {
            var at = text.IndexOf(s);
            if (at >= 0 && (at + s.Length < end || (at + s.Length == end && at < start))) (start, end) = (at, at + s.Length);
        }
        if (start < 0) return;

        IsStopped = true;
        var keep = start == 0 ? 0 : cleanOwner[start - 1] + 1;
        clean.RemoveRange(start, clean.Count - start);
        cleanOwner.RemoveRange(start, cleanOwner.Count - start);
        pending.RemoveRange(keep, pending.Count - keep);
        raw.Clear();
        rawOwner.Clear();
    }

    // Leading tokens of which nothing is held: no unfinished character, no beginning of a stop string, no character shared with a held token.
    private int Releasable()
    {
        var text = CollectionsMarshal.AsSpan(clean);
        var held = 0;
        foreach (var s in stops) held = Math.Max(held, Overlap(text, s));
        var free = text.Length - held;
        var count = rawOwner.Count > 0 ? rawOwner[0] : pending.Count;
        if (free < text.Length) count = Math.Min(count, cleanOwner[free]);
        for (; count > 0; count--)
        {
            var length = LengthOf(count);
            if (length == text.Length || (text[length] & 0xC0) != 0x80) break;
        }
        return count;
    }

    /// <summary>How many bytes of whole characters belong to the first so many tokens.</summary>
    private int LengthOf(int count)
    {
        var length = 0;
        while (length < cleanOwner.Count && cleanOwner[length] < count) length++;
        return length;
    }

    /// <summary>Length of the longest end of the text with which the stop string begins.</summary>
    private static int Overlap(ReadOnlySpan<byte> text, byte[] stop)
    {
        for (var length = Math.Min(text.Length, stop.Length - 1); length > 0; length--)
            if (text[^length..].SequenceEqual(stop.AsSpan(0, length))) return length;
        return 0;
    }
}
