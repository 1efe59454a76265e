using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Judges;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>evaluate</c>: what models score, each alone and beside each other.</summary>
public sealed class EvaluateCommand(PluginCatalog plugins, TimeProvider time, IAnsiConsole console)
{
    private const int HeldOutSamples = 1000, BatchTokens = 4096, Most = 100;
    private static readonly string Prompts = Path.Combine(AppContext.BaseDirectory, "Evaluation", "prompts.txt");

    /// <summary>A reply that is asked for, and what could be said.</summary>
    private sealed record Asked(string Set, string Language, IReadOnlyList<string> Turns, IReadOnlyList<string> References);

    /// <summary>Figures of a set and over how many questions.</summary>
    private sealed record SetMeasures(IReadOnlyList<Measure> Measures, int Units);

    private sealed record Request(
        string[] Folders, string? Teacher, string? Judge, (InstructionSet Set, string Path)[] Sets, string Prompts, string? Report, bool Card, string? To, string Data, int Seed, int Seeds, int Most);

    public Command Create()
    {
        var folders = new Argument<DirectoryInfo[]>("folders") { Description = "Model folders", Arity = ArgumentArity.OneOrMore };
        var teacher = new Option<DirectoryInfo>("--teacher") { Description = "Folder of a larger model with the same vocabulary: how near the others are to it" };
        var judge = new Option<string>("--judge") { Description = $"Who compares every further model's replies with the first one's: {string.Join(", ", plugins.OfKind("judge").Select(p => p.Name))} (needs --teacher)" };
        var sets = new Option<string[]>("--sets") { Description = $"Instruction sets of MiniLLM's protocol as NAME=FILE or NAME=FOLDER: {string.Join(", ", InstructionSets.All.Select(s => s.Name))}", AllowMultipleArgumentsPerToken = true };
        var prompts = new Option<FileInfo>("--prompts") { Description = "Prompts to answer", DefaultValueFactory = _ => new FileInfo(Prompts) };
        var report = new Option<FileInfo>("--report") { Description = "Markdown file for the first model's scores and all its replies to the prompts" };
        var card = new Option<bool>("--card") { Description = "Write the first model's scores into its card (once, at birth)" };
        var to = new Option<DirectoryInfo>("--to") { Description = "Folder for evaluation.md, evaluation.json and plots" };
        var data = new Option<DirectoryInfo>("--data") { Description = "Folder that 'data fetch' filled", DefaultValueFactory = _ => new DirectoryInfo("data") };
        var seed = new Option<int>("--seed") { Description = "Seed of the replies and the intervals", DefaultValueFactory = _ => 1 };
        var seeds = new Option<int>("--seeds") { Description = "Replies to each instruction of --sets, each with a seed of its own (the paper has 5)", DefaultValueFactory = _ => 1 };
        var most = new Option<int>("--most") { Description = "Held-out replies of a corpus, and instructions of a set, at most, evenly spread", DefaultValueFactory = _ => Most };
        var command = new Command("evaluate", $"""
            What models score, through the engine that serves them: held-out loss and perplexity; what they reply to held-out dialogue, by the metrics
            {string.Join(", ", plugins.OfKind("metric").Select(p => p.Name))}, each with its interval; and replies to fixed prompts.

            One model, its replies to read:
              evaluate artifacts/chat-teacher --report artifacts/chat-teacher.md
            A student beside its teacher (the teacher's loss of its texts, KL in both directions, acceptance as a draft, exposure bias, calibration), judged by the teacher:
              evaluate artifacts/chat-sft artifacts/chat-minillm --teacher artifacts/chat-teacher --judge teacher-likelihood --to artifacts/evaluation
            MiniLLM's five sets, from files as they are published:
              evaluate artifacts/chat-minillm --sets dolly=dolly/valid.jsonl s-ni=tasks --seeds 5 --most 500 --to artifacts/evaluation

            Corpora that a card names and that are not here are left out, with a line; 'data fetch' brings them. Two models are compared on the corpora of the first one's card.
            """) { folders, teacher, judge, sets, prompts, report, card, to, data, seed, seeds, most };
        command.Validators.Add(result => Check(result, result.GetValue(judge), result.GetValue(teacher) is not null, result.GetValue(sets) ?? []));
        foreach (var count in (Option<int>[])[seeds, most])
            count.Validators.Add(result => { if (result.Tokens is [var token] && int.TryParse(token.Value, CultureInfo.InvariantCulture, out var value) && value < 1) result.AddError($"{count.Name} is {value} (at least 1)."); });
        command.SetAction((parse, cancel) => RunAsync(new Request(
            [.. parse.GetValue(folders)!.Select(f => f.FullName)], parse.GetValue(teacher)?.FullName, parse.GetValue(judge),
            [.. (parse.GetValue(sets) ?? []).Select(s => s.Split('=', 2)).Select(s => (InstructionSets.Of(s[0]), s[1]))],
            parse.GetValue(prompts)!.FullName, parse.GetValue(report)?.FullName, parse.GetValue(card), parse.GetValue(to)?.FullName, parse.GetValue(data)!.FullName, parse.GetValue(seed), parse.GetValue(seeds), parse.GetValue(most)), cancel));
        return command;
    }

    /// <summary>Measures a new model, writes its scores into its card, and the report into a folder.</summary>
    public Task AtBirthAsync(string model, string data, string to, CancellationToken cancel) =>
        RunAsync(new Request([model], null, null, [], Prompts, Path.Combine(Directory.CreateDirectory(to).FullName, "replies.md"), Card: true, to, data, Seed: 1, Seeds: 1, Most), cancel);

    private void Check(CommandResult result, string? judge, bool hasTeacher, string[] sets)
    {
        if (judge is not null && plugins.OfKind("judge").All(p => p.Name != judge)) result.AddError($"--judge: no judge '{judge}'. Known: {string.Join(", ", plugins.OfKind("judge").Select(p => p.Name))}.");
        if (judge is not null && !hasTeacher) result.AddError("--judge needs --teacher.");
        if (sets.FirstOrDefault(s => !s.Contains('=', StringComparison.Ordinal)) is { } bare) result.AddError($"--sets: '{bare}' is not NAME=PATH.");
    }

    private async Task<int> RunAsync(Request request, CancellationToken cancel)
    {
        var judge = request.Judge is { } name ? plugins.Create<IJudge>(name) : null;
        var prompts = PromptFile.Parse(await File.ReadAllLinesAsync(request.Prompts, cancel));
        foreach (var folder in new[] { request.To, Path.GetDirectoryName(request.Report) }.OfType<string>()) Directory.CreateDirectory(folder);      // minutes before they are needed
        using var teacher = request.Teacher is { } path ? new EvaluatedModel(path, time) : null;
        foreach (var folder in request.Folders.Select(ModelFolder.Open))                                   // the last one too, before the first one answers
            if (teacher is not null) AgainstTeacher.RequireSameVocabulary(teacher.Folder.Tokenizer, folder.Tokenizer);
        var results = new List<ModelResult>();
        (Dictionary<string, Document[]> HeldOut, (string Corpus, Document Document, int Turn)[] References)? dialogue = null;
        string[] firstReplies = [];
        Dictionary<string, SetMeasures> first = [];
        Scores? scores = null;
        string decoding = "";
        await console.Progress().AutoRefresh(true).Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).StartAsync(async progress =>
        {
            foreach (var folder in request.Folders)
            {
                using var model = new EvaluatedModel(folder, time);
                var (heldOut, references) = dialogue ??= Dialogue(model, request);
                var asked = references.Select(r => new Asked(r.Corpus, r.Document.Language, [.. r.Document.Turns.Take(r.Turn)], [r.Document.Turns[r.Turn]])).ToArray();
                var instructions = request.Sets.SelectMany(s => InstructionSets.Rows(s.Set, InstructionSets.Read(s.Set, s.Path, request.Most))).Select(r => new Asked(r.Row, "en", [r.Instruction.Prompt], r.Instruction.References)).ToArray();
                var bar = progress.AddTask(Markup.Escape(model.Id), maxValue: prompts.Count + asked.Length * (teacher is null ? 1 : 3) + instructions.Length * request.Seeds);
                void Done() => bar.Increment(1);

                var losses = Losses(model, heldOut);
                var replies = await RepliesAsync(model, [.. asked.Select(a => a.Turns)], request.Seed, Done, cancel);
                var measured = Measured(asked, replies, 1);
                foreach (var (set, measures) in await InstructedAsync(model, instructions, request, Done, cancel)) measured[set] = measures;
                var against = teacher is null ? null : await AgainstTeacher.MeasureAsync(teacher, model, [.. asked.Select(a => a.Turns)], [.. asked.Select(a => a.References[0])], request.Seed, Done, cancel);
                var preferred = judge is null || results.Count == 0 ? null : await PairwisePreference.OfFirstAsync(judge,
                    [.. asked.Select((a, i) => new JudgedPair(a.Turns, replies[i], firstReplies[i], a.Language, a.References))], teacher!.Likelihood, cancel);
                if (results.Count == 0)
                {
                    (first, firstReplies) = (measured, replies);
                    decoding = model.Folder.Description.DefaultDecoding?.ToJsonString() ?? "of the strategy";
                    scores = Evaluator.Score(losses, references, replies, prompts, await RepliesAsync(model, [.. prompts.Select(p => (IReadOnlyList<string>)[p.Text])], request.Seed, Done, cancel));
                }
                bar.Value = bar.MaxValue;
                results.Add(new ModelResult(model.Id, model.Folder.Description.Parameters, losses,
                    Figures(measured, (m, set) => Bootstrap.Percentile(m, set.Units, (ulong)request.Seed)), against, preferred,
                    results.Count == 0 ? null : Figures(measured, (m, set) => Bootstrap.Difference(first[set.Name].Measures.Single(f => f.Name == m.Name), m, set.Units, (ulong)request.Seed))));
            }
        });
        await WriteAsync(request, results, scores!, decoding, cancel);
        return 0;
    }

    private async Task WriteAsync(Request request, List<ModelResult> results, Scores scores, string decoding, CancellationToken cancel)
    {
        console.WriteLine(scores.ToJson().ToJsonString(RecipeFile.Json));      // first: they are known also where the disk is full
        if (request.To is { } to)
        {
            new EvaluationReport(results, $"Replies as the models are served, seed {request.Seed}; at most {request.Most} a corpus or set{(request.Judge is { } judge ? $"; judge {judge}" : "")}.").Write(to);
            console.MarkupLineInterpolated($"{Path.Combine(to, "evaluation.md")}");
        }
        var text = ReplyReport.Write(results[0].Model, scores, decoding, request.Seed, request.Prompts == Prompts ? null : request.Prompts);
        if (request.Report is { } report) WholeFile.WriteText(report, text);
        else if (request.To is null) console.WriteLine(text);
        if (request.Card)
        {
            var all = scores.ToJson();
            foreach (var (name, figures) in results[0].Figures()) all[name] = figures!.DeepClone();
            ModelCard.AddScores(request.Folders[0], all);
        }
    }

    /// <summary>What the model's card holds out, of the corpora that are here.</summary>
    private (Dictionary<string, Document[]>, (string, Document, int)[]) Dialogue(EvaluatedModel model, Request request)
    {
        var card = model.Folder.Card;
        var heldOut = new Regex((string?)card["heldOut"] ?? throw new InvalidDataException($"{model.Folder.Path}: the card has no 'heldOut', so what was held out is not known."), RegexOptions.CultureInvariant);
        var validation = card["validation"]?.AsArray() ?? throw new InvalidDataException($"{model.Folder.Path}: the card has no 'validation', so no corpus is known to score it on.");
        var corpora = new CorpusFolder(request.Data);
        var documents = new Dictionary<string, Document[]>();
        foreach (var corpus in validation.Select(c => (string)c!))
        {
            try
            {
                documents[corpus] = [.. corpora.Read(corpus).Where(d => heldOut.IsMatch(d.Scene))];
            }
            catch (FileNotFoundException missing) when (!request.Card)             // a card's scores are of all its corpora
            {
                console.MarkupLineInterpolated($"Left out: {missing.Message}");
            }
        }
        if (documents.Count == 0) throw new InvalidDataException($"{model.Folder.Path}: none of the corpora it is scored on is here: {string.Join(", ", validation.Select(c => (string)c!))}.");
        return (documents, [.. documents.SelectMany(d => Evaluator.References(d.Key, d.Value, request.Most))]);
    }

    private static HeldOutLosses Losses(EvaluatedModel model, Dictionary<string, Document[]> heldOut)
    {
        var encoder = new BytePairEncoder(TokenizerFile.Read(File.ReadAllText(Path.Combine(model.Folder.Path, "tokenizer.json"))));
        return new HeldOutSet(heldOut.Select(d => (d.Key, TokenizedCorpus.Encode(d.Value, encoder))), new SampleLimits(model.Folder.Config.MaxContext, model.Folder.Config.MaxReply), BatchTokens, HeldOutSamples).Losses(model.Weights);
    }

    private static async Task<string[]> RepliesAsync(EvaluatedModel model, IReadOnlyList<IReadOnlyList<string>> turns, int seed, Action done, CancellationToken cancel) =>
        [.. (await model.Writer(seed).AllAsync(turns, null, done, cancel)).Select(r => r.Text)];

    /// <summary>The instruction sets as the paper answers them: temperature 1, the whole distribution, several seeds.</summary>
    private async Task<Dictionary<string, SetMeasures>> InstructedAsync(EvaluatedModel model, Asked[] instructions, Request request, Action done, CancellationToken cancel)
    {
        var replies = new List<string>();
        for (var s = 0; s < request.Seeds; s++)
            replies.AddRange((await model.Writer(request.Seed + s * instructions.Length).AllAsync([.. instructions.Select(i => i.Turns)], ReplyWriter.WholeDistribution, done, cancel)).Select(r => r.Text));
        return Measured(instructions, replies, request.Seeds, pooled: false);
    }

    /// <summary>Every metric of every set. Of several replies to one question the question is the unit.</summary>
    private Dictionary<string, SetMeasures> Measured(Asked[] asked, IReadOnlyList<string> replies, int times, bool pooled = true)
    {
        var sets = asked.Select((a, i) => (a.Set, Number: i)).GroupBy(a => a.Set, a => a.Number).Select(g => (Name: g.Key, Numbers: g.ToArray())).ToList();
        if (pooled && sets.Count > 1) sets.Insert(0, (EvaluationReport.All, [.. Enumerable.Range(0, asked.Length)]));
        else if (pooled && sets.Count == 1) sets = [(EvaluationReport.All, sets[0].Numbers)];
        return sets.ToDictionary(set => set.Name, set =>
        {
            Response[] responses = [.. Enumerable.Range(0, times).SelectMany(t => set.Numbers.Select(n => new Response(replies[t * asked.Length + n], asked[n].References, asked[n].Language, asked[n].Turns)))];
            return new SetMeasures([.. plugins.OfKind("metric").SelectMany(p => plugins.Create<ITextMetric>(p.Name).Prepare(responses)).Select(m => Bootstrap.Repeated(m, set.Numbers.Length, times))], set.Numbers.Length);
        });
    }

    private static Dictionary<string, IReadOnlyDictionary<string, Interval>> Figures(Dictionary<string, SetMeasures> measured, Func<Measure, (string Name, int Units), Interval> interval) =>
        measured.ToDictionary(set => set.Key, set => (IReadOnlyDictionary<string, Interval>)set.Value.Measures.ToDictionary(m => m.Name, m => interval(m, (set.Key, set.Value.Units))));
}
