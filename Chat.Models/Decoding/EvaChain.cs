using Chat.Models.Decoding.Rules;

namespace Chat.Models.Decoding;

/// <summary>Settings of the reference's score chain.</summary>
public sealed record EvaChainOptions
{
    public double Temperature { get; init; } = 1;
    public double RepetitionPenalty { get; init; } = 1;
    public int NoRepeatNgram { get; init; }
    public int MinTokens { get; init; }
    public bool Antonyms { get; init; }

    /// <summary>The no-beam search's bad words [[0]]; without effect on the result, since the chain's last step sets id 0 anyway.</summary>
    public bool BanUnknown { get; init; }

    /// <summary>Log-softmax before the rules (beam searches); otherwise raw scores (no-beam search).</summary>
    public bool LogProbabilities { get; init; }
}

/// <summary>
/// The score chain of EVA2.0 exactly as github.com/thu-coai/EVA computes it (src/generation_utils.py, postprocess_next_token_scores): divide by
/// T, log-softmax in beam mode, θ over the set of ids, minimum length, n-grams of characters, antonyms, «unknown» never. It differs from our
/// own rules on purpose: θ acts on log-probabilities, bans are −10000 and not −∞, special tokens fall into characters. Parity is
/// its reason; <see cref="Bans"/> and the rules beside it are what the product's other strategies use.
/// </summary>
public sealed class EvaChain : IRowRule
{
    public const float Banned = -1e4f, NeverUnknown = -5e4f;
    public const int UnknownId = 0;

    private readonly EvaChainOptions options;
    private readonly TokenTable tokens;
    private readonly int[] dialogue;
    private readonly HashSet<int> bannedForAll;
    private readonly NgramIndex? ngrams;

    /// <param name="bannedForAll">
    /// The reference shares one set of antonym bans between all rows of a call. The owner of the rows fills it before a step (see
    /// <see cref="AddAntonyms"/>); rows read it.
    /// </param>
    public EvaChain(EvaChainOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue, HashSet<int> bannedForAll)
        : this(options, tokens, dialogue.ToArray(), bannedForAll, options.NoRepeatNgram == 0 ? null : new NgramIndex(options.NoRepeatNgram, tokens, characters: true, dialogue.Span))
    {
    }

    private EvaChain(EvaChainOptions options, TokenTable tokens, int[] dialogue, HashSet<int> bannedForAll, NgramIndex? ngrams)
    {
        this.options = options;
        this.tokens = tokens;
        this.dialogue = dialogue;
        this.bannedForAll = bannedForAll;
        this.ngrams = ngrams;
    }

    public IReadOnlyCollection<int> BannedNgrams => ngrams?.Banned() ?? [];

    public void Append(int token) => ngrams?.Append(token);

    public IRowRule Fork() => ngrams is null ? this : new EvaChain(options, tokens, dialogue, bannedForAll, ngrams.Fork());

    /// <summary>Adds the antonyms of the words after the last separator: this row's share of what is banned for all rows.</summary>
    public void AddAntonyms(ReadOnlySpan<int> reply)
    {
        if (!options.Antonyms) return;
        foreach (var id in AntonymRule.Banned(tokens, dialogue, reply)) bannedForAll.Add(id);
    }

    public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
    {
        if (options.Temperature != 1)
            foreach (ref var s in scores) s /= (float)options.Temperature;
        if (options.LogProbabilities) Scores.LogSoftmax(scores);
        if (options.RepetitionPenalty != 1)
            RepetitionPenaltyRule.Penalise(scores, [.. dialogue.AsSpan(), .. reply], (float)options.RepetitionPenalty, tokens.Separator);
        if (reply.Length < options.MinTokens) scores[tokens.Separator] = Banned;
        if (ngrams is not null)
            foreach (var id in ngrams.Banned()) scores[id] = Banned;
        if (options.BanUnknown) scores[UnknownId] = Banned;
        if (options.Antonyms)
            foreach (var id in bannedForAll) scores[id] = Banned;
        scores[UnknownId] = NeverUnknown;
    }

    /// <summary>
    /// The reference's top-k, then top-p (0 = off): what falls out is set to −10000, ties of the k-th are kept, the token that crosses p is kept.
    /// Sorts the whole row: the slow, obvious form that <see cref="Truncation"/> is compared with.
    /// </summary>
    public static void Filter(Span<float> scores, int topK, double topP)
    {
        // Sorted by falling score and rising id: a float's bits, mirrored, order like its value.
        var keys = new ulong[scores.Length];
        for (var id = 0; id < keys.Length; id++) keys[id] = ((ulong)~Ordered(scores[id]) << 32) | (uint)id;
        Array.Sort(keys);
        var order = keys.Select(k => (int)(uint)k).ToArray();
        if (topK > 0)
        {
            var kth = scores[order[Math.Min(topK, order.Length) - 1]];
            foreach (ref var s in scores)
                if (s < kth) s = Removed(s);
        }
        if (topP <= 0) return;

        var left = scores.ToArray();
        Scores.LogSoftmax(left);
        var before = 0.0;
        foreach (var id in order)
        {
            if (before > topP) scores[id] = Removed(scores[id]);
            before += Math.Exp(left[id]);
        }
    }

    private static uint Ordered(float score)
    {
        var bits = BitConverter.SingleToUInt32Bits(score);
        return (bits & 0x80000000) == 0 ? bits | 0x80000000 : ~bits;
    }

    /// <summary>The reference's fill, but never upwards: what is banned more strongly stays below what fell out.</summary>
    internal static float Removed(float score) => Math.Min(score, Banned);
}
