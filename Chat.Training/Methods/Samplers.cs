using Chat.Domain.Plugins;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Tokenization;

namespace Chat.Training.Methods;

/// <summary>One sequence pair. Context ends in the start token; labels are what the decoder says, with the separator where it ends.</summary>
public sealed record Sample(int[] Context, int[] Labels);

/// <summary>Length caps of a stage, in tokens, the context's start token and the labels' separator included.</summary>
public readonly record struct SampleLimits(int MaxContext, int MaxReply);

/// <summary>A place in a corpus from which a sample is made.</summary>
public readonly record struct SamplePlace(int Document, int Position);

/// <summary>Turns a corpus into samples. Pure: place, limits and random stream decide the sample.</summary>
[PluginKind("sampler")]
public interface ISampler
{
    /// <summary>All places of a corpus, in order; one epoch visits each once.</summary>
    IReadOnlyList<SamplePlace> Places(TokenizedCorpus corpus, SampleLimits limits);

    Sample Make(TokenizedCorpus corpus, SamplePlace place, SampleLimits limits, RandomStream random);
}

/// <summary>
/// A reply with the turns before it, packed as EVA does: newest first, whole turns, <c>u1 sep u2 sep … s0</c>. Half of the samples keep
/// only the last turn, since chats begin with one.
/// </summary>
[Plugin("dialogue", Paper = "arXiv:2108.01547", Summary = "Context packing of EVA; each reply of a dialogue is a sample")]
public sealed class DialogueSampler : ISampler
{
    public IReadOnlyList<SamplePlace> Places(TokenizedCorpus corpus, SampleLimits limits)
    {
        var places = new List<SamplePlace>();
        for (var d = 0; d < corpus.Documents; d++)
        {
            var (first, end) = corpus.Turns(d);
            for (var turn = first + 1; turn < end; turn++)
            {
                if (corpus.IsReply(turn) && corpus.Turn(turn).Length is > 0 and var length && length < limits.MaxReply && corpus.Turn(turn - 1).Length > 0)
                    places.Add(new SamplePlace(d, turn));
            }
        }
        return places;
    }

    public Sample Make(TokenizedCorpus corpus, SamplePlace place, SampleLimits limits, RandomStream random)
    {
        var (first, _) = corpus.Turns(place.Document);
        if (random.Below(2) == 0) first = place.Position - 1;
        return new Sample(Pack(corpus, first, place.Position, limits.MaxContext), [.. Ids(corpus.Turn(place.Position)), TokenizerFile.Separator]);
    }

    /// <summary>The context of turns [first, end), as serving packs it.</summary>
    public static int[] Pack(TokenizedCorpus corpus, int first, int end, int maxContext) => ContextPacker.Pack(
        [.. Enumerable.Range(first, end - first).Select(turn => Ids(corpus.Turn(turn)))], TokenizerFile.Tokens, maxContext);

    private static int[] Ids(ReadOnlySpan<ushort> tokens)
    {
        var ids = new int[tokens.Length];
        for (var i = 0; i < ids.Length; i++) ids[i] = tokens[i];
        return ids;
    }
}

/// <summary>
/// As <see cref="DialogueSampler"/>, but only what the second speaker says is learnt: of small talk the lines of the bot, not those of its user. A
/// model that learns both answers «Good night!» as a user would, with thanks.
/// </summary>
[Plugin("answer", Summary = "Dialogue of which only the second speaker's turns are learnt")]
public sealed class AnswerSampler : ISampler
{
    private readonly DialogueSampler dialogue = new();

    public IReadOnlyList<SamplePlace> Places(TokenizedCorpus corpus, SampleLimits limits) =>
        [.. dialogue.Places(corpus, limits).Where(place => (place.Position - corpus.Turns(place.Document).First) % 2 == 1)];

    public Sample Make(TokenizedCorpus corpus, SamplePlace place, SampleLimits limits, RandomStream random) => dialogue.Make(corpus, place, limits, random);
}

/// <summary>
/// Instructions: the reply of a dialogue's second turn is learnt, whatever was said before it is read. Prompts that do not fit are left out: cut, they would lose what they ask for.
/// </summary>
[Plugin("instruction", Paper = "arXiv:2210.09175", Summary = "Instruction and answer; only the answer is learnt, and prompts that do not fit are left out")]
public sealed class InstructionSampler : ISampler
{
    private readonly AnswerSampler answers = new();

    public IReadOnlyList<SamplePlace> Places(TokenizedCorpus corpus, SampleLimits limits) =>
        [.. answers.Places(corpus, limits).Where(place => corpus.Turn(place.Position - 1).Length + 2 <= limits.MaxContext)];

    public Sample Make(TokenizedCorpus corpus, SamplePlace place, SampleLimits limits, RandomStream random) => answers.Make(corpus, place, limits, random);
}

/// <summary>
/// Running text: the encoder reads up to a random cut, the decoder goes on. The decoder thus learns to write whole running text, which is
/// what replies need; span corruption (T5) would teach it fragments. The separator follows where the text really ends; the context has none, which
/// tells the model that it is to go on and not to answer.
/// </summary>
[Plugin("continuation", Paper = "arXiv:1910.10683", Summary = "Prefix language modelling: text up to a cut, then its continuation")]
public sealed class ContinuationSampler : ISampler
{
    private const int LeastContext = 4, LeastReply = 4;

    public IReadOnlyList<SamplePlace> Places(TokenizedCorpus corpus, SampleLimits limits)
    {
        var window = Window(limits);
        var places = new List<SamplePlace>();
        for (var d = 0; d < corpus.Documents; d++)
        {
            var length = corpus.Turn(corpus.Turns(d).First).Length;
            for (var start = 0; start == 0 || start + LeastContext + LeastReply <= length; start += window)
            {
                if (length >= LeastContext + LeastReply) places.Add(new SamplePlace(d, start));
            }
        }
        return places;
    }

    public Sample Make(TokenizedCorpus corpus, SamplePlace place, SampleLimits limits, RandomStream random)
    {
        var text = corpus.Turn(corpus.Turns(place.Document).First)[place.Position..];
        var ends = text.Length <= Window(limits);
        if (!ends) text = text[..Window(limits)];

        var least = Math.Max(LeastContext, text.Length - (limits.MaxReply - 1));
        var most = Math.Min(limits.MaxContext - 1, text.Length - LeastReply);
        var cut = least + random.Below(Math.Max(1, most - least + 1));
        var labels = new int[text.Length - cut + (ends ? 1 : 0)];
        for (var i = cut; i < text.Length; i++) labels[i - cut] = text[i];
        if (ends) labels[^1] = TokenizerFile.Separator;

        var context = new int[cut + 1];
        for (var i = 0; i < cut; i++) context[i] = text[i];
        context[^1] = TokenizerFile.Start;
        return new Sample(context, labels);
    }

    private static int Window(SampleLimits limits) => limits.MaxContext - 1 + limits.MaxReply - 1;
}
