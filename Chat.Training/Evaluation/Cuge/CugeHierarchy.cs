using Chat.Training.Recipes;

namespace Chat.Training.Evaluation.Cuge;

/// <param name="Metrics">Names of the figures the dataset is judged by; several are averaged first.</param>
/// <param name="Size">Samples for training, development and test, as published.</param>
/// <param name="Lite">Whether it stands for its capability on the lite board.</param>
public sealed record CugeDataset(string Name, IReadOnlyList<string> Metrics, string Size, string Domain, bool Lite = false);

public sealed record CugeTask(string Name, IReadOnlyList<CugeDataset> Datasets);

public sealed record CugeCapability(string Name, IReadOnlyList<CugeTask> Tasks);

/// <summary>A row of the published board.</summary>
/// <param name="Printed">The index as published.</param>
public sealed record CugeBoardRow(string Model, int Printed, IReadOnlyDictionary<string, double> Scores);

/// <summary>Capabilities, their tasks, their datasets (Yao et al., CUGE, arXiv:2112.13610, Table 1): data, so that another hierarchy is another file.</summary>
public sealed record CugeHierarchy(string Version, IReadOnlyList<CugeCapability> Capabilities, IReadOnlyList<CugeBoardRow> Board)
{
    /// <exception cref="RecipeException">Not such a file, an empty level, or a dataset that stands there twice.</exception>
    public static CugeHierarchy Read(string path)
    {
        var hierarchy = RecipeFile.Read<CugeHierarchy>(path);
        if (hierarchy.Capabilities.Count == 0 || hierarchy.Capabilities.Any(c => c.Tasks.Count == 0 || c.Tasks.Any(t => t.Datasets.Count == 0 || t.Datasets.Any(d => d.Metrics.Count == 0))))
            throw new RecipeException($"{path}: a capability needs tasks, a task datasets, a dataset metrics.");
        foreach (var twice in hierarchy.Datasets.GroupBy(d => d.Name).Where(g => g.Count() > 1)) throw new RecipeException($"{path}: dataset '{twice.Key}' stands there twice.");
        return hierarchy;
    }

    /// <summary>CUGE as published, from beside the program.</summary>
    public static CugeHierarchy Published() => Read(Path.Combine(AppContext.BaseDirectory, "Evaluation", "Cuge", "hierarchy.json"));

    public IEnumerable<CugeDataset> Datasets => Capabilities.SelectMany(c => c.Tasks).SelectMany(t => t.Datasets);

    /// <summary>The lite board's hierarchy: one dataset a capability.</summary>
    public CugeHierarchy Lite() => Only(dataset => dataset.Lite);

    /// <summary>The hierarchy of some of the datasets; tasks and capabilities that lose all of theirs are gone.</summary>
    public CugeHierarchy Only(Func<CugeDataset, bool> keep) => this with
    {
        Capabilities = [.. Capabilities.Select(c => c with
        {
            Tasks = [.. c.Tasks.Select(t => t with { Datasets = [.. t.Datasets.Where(keep)] }).Where(t => t.Datasets.Count > 0)],
        }).Where(c => c.Tasks.Count > 0)],
    };

    /// <summary>What each dataset weighs in the index: 1 / (capabilities · tasks of its capability · datasets of its task).</summary>
    public IReadOnlyDictionary<string, double> Weights() => Capabilities.SelectMany(c => c.Tasks.SelectMany(t => t.Datasets.Select(d =>
        KeyValuePair.Create(d.Name, 1.0 / (Capabilities.Count * c.Tasks.Count * t.Datasets.Count))))).ToDictionary();
}
