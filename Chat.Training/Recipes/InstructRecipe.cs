using Chat.Training.Data;
using Chat.Training.Data.Instruct;

namespace Chat.Training.Recipes;

/// <summary>How unlabelled text becomes instructions: the words of the tasks, and what the rules look up.</summary>
/// <param name="Packages">Packages with lexicons: <c>wordnet-base</c>, <c>vader-sentiment</c>. Rules that need one that is not here make nothing.</param>
/// <param name="Topics">Segment of a text's path to its topic; up to three segments are looked at.</param>
/// <param name="StopWords">Words without content.</param>
/// <param name="Templates">At least one for each cluster and language that is wanted.</param>
public sealed record InstructRecipe(IReadOnlyList<PackageRecipe> Packages, IReadOnlyDictionary<string, string> Topics, IReadOnlyList<string> StopWords, IReadOnlyList<InstructionTemplate> Templates)
{
    /// <exception cref="RecipeException">Two templates of one name, or a name that cannot stand in a path.</exception>
    public InstructRecipe Checked()
    {
        foreach (var twice in Templates.GroupBy(t => (t.Cluster, t.Language, t.Name)).Where(g => g.Count() > 1)) throw new RecipeException($"Two templates of {twice.Key.Cluster}, {twice.Key.Language} are named '{twice.Key.Name}'.");
        if (Templates.FirstOrDefault(t => t.Name.Contains('/', StringComparison.Ordinal)) is { } path) throw new RecipeException($"Template '{path.Name}': a name has no slash.");
        return this;
    }
}
