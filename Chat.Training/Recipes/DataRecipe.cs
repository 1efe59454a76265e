using Chat.Training.Data;
using Chat.Training.Data.Extraction;

namespace Chat.Training.Recipes;

/// <summary>Which packages to bring and which corpora to make of them.</summary>
public sealed record DataRecipe(IReadOnlyList<PackageRecipe> Packages, IReadOnlyList<CorpusRecipe> Corpora)
{
    /// <exception cref="RecipeException">A corpus names a package that the recipe does not bring, or two corpora have one name.</exception>
    public DataRecipe Checked()
    {
        var known = Packages.Select(p => p.Name).ToHashSet(StringComparer.Ordinal);
        foreach (var corpus in Corpora)
        {
            if (corpus.Language is not ("en" or "zh")) throw new RecipeException($"Corpus '{corpus.Name}': language '{corpus.Language}' is neither 'en' nor 'zh'.");
            foreach (var missing in corpus.Packages.Where(p => !known.Contains(p)))
                throw new RecipeException($"Corpus '{corpus.Name}' reads package '{missing}', which is not in packages: {string.Join(", ", known)}.");
        }
        foreach (var twice in Corpora.GroupBy(c => c.Name).Where(g => g.Count() > 1)) throw new RecipeException($"Two corpora are named '{twice.Key}'.");
        return this;
    }
}
