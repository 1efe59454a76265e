namespace Chat.Training.Data.Quality;

/// <summary>
/// Rules that need more than one utterance. Advertisements and generic replies are known only from the whole corpus: it is read once to
/// count (<see cref="Count"/>), then again to cut.
/// </summary>
public sealed class SessionRules(QualityRecipe recipe)
{
    public const string Advert = "advert", Generic = "generic", Same = "same", Alone = "alone";

    /// <summary><c>same</c>: all utterances of a session are equal. <c>alone</c>: what a cut left has no partner; cannot be skipped.</summary>
    public static IReadOnlyList<string> Names { get; } = [Advert, Generic, Same];

    private readonly Dictionary<string, HashSet<string>> postsOf = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> trigrams = new(StringComparer.Ordinal);

    private bool Has(string rule) => recipe.Skip?.Contains(rule) != true;

    /// <summary>First pass over a session of cleaned utterances; emptied ones are <c>null</c>.</summary>
    public void Count(IReadOnlyList<string?> utterances)
    {
        for (var i = 0; i < utterances.Count; i++)
        {
            if (utterances[i] is not { } text) continue;
            for (var t = 0; t + 3 <= text.Length; t++) trigrams[text.Substring(t, 3)] = trigrams.GetValueOrDefault(text.Substring(t, 3)) + 1;
            if (text.Length <= recipe.AdvertLength || i == 0 || utterances[i - 1] is not { } post) continue;
            if (!postsOf.TryGetValue(text, out var posts)) postsOf[text] = posts = new HashSet<string>(StringComparer.Ordinal);
            if (posts.Count <= recipe.AdvertPosts) posts.Add(post);
        }
    }

    /// <summary>The corpus rule that an utterance breaks, or <c>null</c>.</summary>
    public string? Broken(string text)
    {
        if (Has(Advert) && postsOf.TryGetValue(text, out var posts) && posts.Count > recipe.AdvertPosts) return Advert;
        if (!Has(Generic) || text.Length < 3) return null;
        var commonest = Enumerable.Range(0, text.Length - 2).Select(i => text.Substring(i, 3)).CountBy(t => t).MaxBy(t => t.Value);
        return trigrams.GetValueOrDefault(commonest.Key) > recipe.GenericCount && 3.0 * commonest.Value / text.Length > recipe.GenericShare ? Generic : null;
    }

    public bool AllSame(IReadOnlyList<string> utterances) => Has(Same) && utterances.Count > 1 && utterances.Distinct(StringComparer.Ordinal).Count() == 1;
}
