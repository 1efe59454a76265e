namespace Chat.Models.Tokenizers;

/// <summary>
/// Packs a dialogue into the encoder's input: u1 sep u2 sep … uk sep start (EVA, arXiv 2108.01547; training's form of the packing). Whole turns that do not fit are
/// dropped from the old end; no turn in the middle is ever skipped. A last turn that does not fit alone keeps its last tokens.
/// </summary>
public static class ContextPacker
{
    private const int Marks = 2;            // the turn's separator and the start token

    /// <param name="utterances">Ids of each turn, oldest first; the last one is answered.</param>
    /// <param name="longest">The encoder's limit, start token included.</param>
    /// <returns>At most <paramref name="longest"/> ids that end in separator and start.</returns>
    /// <exception cref="ArgumentException">No utterance, or a limit that leaves no room for a token.</exception>
    public static int[] Pack(IReadOnlyList<IReadOnlyList<int>> utterances, SpecialTokens special, int longest)
    {
        if (utterances.Count == 0) throw new ArgumentException("There is no utterance to answer.");
        if (longest <= Marks) throw new ArgumentException($"A context of at most {longest} tokens has no room for an utterance.");
        var first = utterances.Count;
        var length = 1;
        while (first > 0 && length + utterances[first - 1].Count + 1 <= longest) length += utterances[--first].Count + 1;

        var packed = new List<int>(longest);
        if (first == utterances.Count)
        {
            packed.AddRange(utterances[^1].Skip(utterances[^1].Count - (longest - Marks)));
            packed.Add(special.Separator);
        }
        for (; first < utterances.Count; first++)
        {
            packed.AddRange(utterances[first]);
            packed.Add(special.Separator);
        }
        packed.Add(special.Start);
        return [.. packed];
    }
}
