using System.Buffers;
using System.Text;
using System.Text.Unicode;
using Chat.Models.Tokenizers;
using Chat.Training.Methods;

namespace Chat.Training.Objectives;

/// <summary>A piece of a reply whose both ends are ends of tokens in two cuttings, and which has no such place within: tokens [OurFirst, OurFirst + OurCount) of one, the others of the other.</summary>
public readonly record struct TextSpan(int OurFirst, int OurCount, int TheirFirst, int TheirCount);

/// <summary>
/// Cuts a student's samples anew, as a teacher of another tokenizer would have read them. Texts are compared by their bytes, so it does not matter how either says «blank», nor whether the student cut its
/// own words as its tokenizer would have. What stands behind bytes that are no UTF-8, behind a special token that is not the reply's end, or behind a place where the teacher's tokenizer changed the text, is in no span.
/// Immutable; as thread-safe as the tokenizers are.
/// </summary>
public sealed class TextCutter
{
    private readonly ITextTokenizer tokenizer;
    private readonly TokenNames ours;
    private readonly ITextTokenizer own;
    private readonly SpecialTokens end;
    private readonly Dictionary<int, int> special = [];

    /// <exception cref="ArgumentException">Of one nobody knows how it cuts texts.</exception>
    public TextCutter(TokenNames theirs, TokenNames ours)
    {
        tokenizer = theirs.Tokenizer ?? throw new ArgumentException("nobody knows how it cuts texts, only which tokens it has: name the teacher's folder, or a run, in distil.teacher.");
        (this.ours, own) = (ours, ours.Tokenizer ?? throw new ArgumentException("nobody knows how the student cuts texts."));
        end = own.Special;
        foreach (var id in theirs.Special.Where(id => theirs.Names[id].Length > 0))
            if (ours.Special.FirstOrDefault(own => ours.Names[own].AsSpan().SequenceEqual(theirs.Names[id]), -1) is >= 0 and var same) special[same] = id;
        // The dialogue format's own tokens have their part, whatever they are called.
        (special[end.Separator], special[end.Start]) = (tokenizer.Special.Separator, tokenizer.Special.Start);
    }

    /// <summary>The teacher's id of each of the student's special tokens that it has too.</summary>
    public IReadOnlyDictionary<int, int> Special => special;

    /// <summary>The token that a reply of the teacher begins with.</summary>
    public int Start => tokenizer.Special.Start;

    /// <returns>The sample in the teacher's tokens, with at least one label, and where both replies meet, in order.</returns>
    public (Sample Theirs, TextSpan[] Spans) Cut(Sample sample)
    {
        var labels = sample.Labels;
        var (text, tokens, isReadable) = Text(labels);
        int[] theirs = [.. tokenizer.Encode(Encoding.UTF8.GetString(text))];
        var spans = Meet(labels.AsSpan(0, tokens), text, theirs);
        var whole = isReadable && (spans.Count == 0 ? tokens == 0 : spans[^1].OurFirst + spans[^1].OurCount == tokens && spans[^1].TheirFirst + spans[^1].TheirCount == theirs.Length);
        if (whole && tokens == labels.Length - 1 && labels[^1] == end.Separator) spans.Add(new(tokens, 1, theirs.Length, 1));
        return (new(Context(sample.Context), [.. theirs, tokenizer.Special.Separator]), [.. spans]);
    }

    /// <summary>A reply in the teacher's tokens, its end token where it ends with one. What no reader could read, and all behind it, is left out, the end too.</summary>
    public int[] Reply(int[] labels)
    {
        var (text, tokens, isReadable) = Text(labels);
        var theirs = tokenizer.Encode(Encoding.UTF8.GetString(text));
        return isReadable && tokens == labels.Length - 1 && labels[^1] == end.Separator ? [.. theirs, tokenizer.Special.Separator] : [.. theirs];
    }

    /// <summary>The bytes of a reply's tokens up to one that writes none, how many these are, and whether the bytes are UTF-8; those that are not, and all behind them, are cut off.</summary>
    private (byte[] Bytes, int Tokens, bool IsReadable) Text(int[] ids)
    {
        var bytes = new List<byte>();
        var count = 0;
        while (count < ids.Length && Written(ids[count], count == 0) is { IsEmpty: false } written)
        {
            bytes.AddRange(written);
            count++;
        }
        byte[] all = [.. bytes];
        Utf8.ToUtf16(all, new char[all.Length], out var readable, out _, replaceInvalidSequences: false, isFinalBlock: true);
        return (all[..readable], count, readable == all.Length);
    }

    private ReadOnlySpan<byte> Written(int id, bool first) => special.ContainsKey(id) || ours.Special.Contains(id) || ours.Names[id].Length == 0 ? [] : first ? own.FirstBytes(id) : own.Bytes(id);

    /// <summary>A context in the teacher's tokens. Special tokens that it lacks are left out.</summary>
    public int[] Context(int[] ids)
    {
        var context = new List<int>();
        for (var at = 0; at < ids.Length;)
        {
            var (text, count, _) = Text(ids[at..]);
            context.AddRange(tokenizer.Encode(Encoding.UTF8.GetString(text)));
            at += count;
            if (at < ids.Length && special.TryGetValue(ids[at], out var same)) context.Add(same);
            at++;
        }
        return [.. context];
    }

    private List<TextSpan> Meet(ReadOnlySpan<int> mine, ReadOnlySpan<byte> text, int[] theirs)
    {
        var spans = new List<TextSpan>();
        int i = 0, j = 0, a = 0, b = 0;
        while (i < mine.Length && j < theirs.Length)
        {
            var (firstOwn, firstTheirs) = (i, j);
            do
            {
                if (a <= b && i < mine.Length) a += Written(mine[i], i++ == 0).Length;
                else if (a <= b || j == theirs.Length) return spans;
                else
                {
                    var bytes = j == 0 ? tokenizer.FirstBytes(theirs[j]) : tokenizer.Bytes(theirs[j]);
                    if (bytes.IsEmpty || !text[b..].StartsWith(bytes)) return spans;           // the teacher's tokenizer changed the text, or does not know it
                    b += bytes.Length;
                    j++;
                }
            }
            while (a != b);
            spans.Add(new(firstOwn, i - firstOwn, firstTheirs, j - firstTheirs));
        }
        return spans;
    }
}
