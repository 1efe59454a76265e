using System.CommandLine;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Gguf;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using Spectre.Console;
using TorchSharp;

namespace Chat.Training.Commands;

/// <summary><c>export</c>, <c>gguf</c> and <c>evaluate</c>: from a run to a model folder with a card, a folder for others' tools, and what the model scores.</summary>
public sealed class ModelCommands(TimeProvider time, IAnsiConsole console)
{
    private const int ReferencesPerCorpus = 100, HeldOutSamples = 1000, BatchTokens = 4096;

    private readonly Option<DirectoryInfo> data = new("--data") { Description = "Folder that 'data fetch' filled", DefaultValueFactory = _ => new DirectoryInfo("data") };

    public Command Export()
    {
        var recipe = new Argument<FileInfo>("recipe") { Description = "Recipe of a run, with a card; recipes it starts from lie beside it" };
        var runs = new Option<DirectoryInfo>("--runs") { Description = "Folder of runs", DefaultValueFactory = _ => new DirectoryInfo("runs") };
        var to = new Option<DirectoryInfo>("--to") { Description = "Folder to make, for example Chat.Models/Shipped/chat-teacher", Required = true };
        var command = new Command("export", "Makes a model folder (weights in bfloat16, vocabulary, card) of a run's newest checkpoint.") { recipe, runs, to, data };
        command.SetAction(parse =>
        {
            var path = parse.GetValue(recipe)!.FullName;
            var folder = parse.GetValue(to)!.FullName;
            new ModelExport(parse.GetValue(runs)!.FullName, new CorpusFolder(parse.GetValue(data)!.FullName), time).Write(
                RecipeFile.Read<TrainingRecipe>(path).Checked(), folder,
                name => RecipeFile.Read<TrainingRecipe>(Path.Combine(Path.GetDirectoryName(path)!, name + ".json")).Checked(), Commit());
            console.MarkupLineInterpolated($"{folder}: {ModelFolder.Hash(folder)}");
            return 0;
        });
        return command;
    }

    public Command Gguf()
    {
        var folder = new Argument<DirectoryInfo>("folder") { Description = "Folder of a decoder-only model (GPT-2, Llama, Mistral, Qwen2, Qwen3)" };
        var to = new Option<FileInfo>("--to") { Description = "File to make", Required = true };
        var type = new Option<GgufType>("--type") { Description = "Type of the matrices", DefaultValueFactory = _ => GgufType.Q8_0 };
        var command = new Command("gguf", "Writes a decoder-only model as a GGUF file, for llama.cpp and what is built on it.") { folder, to, type };
        command.SetAction(parse =>
        {
            var path = parse.GetValue(to)!.FullName;
            GgufExport.Write(parse.GetValue(folder)!.FullName, path, parse.GetValue(type));
            console.MarkupLineInterpolated($"{path}: {new FileInfo(path).Length} bytes");
            return 0;
        });
        return command;
    }

    public Command Evaluate()
    {
        var folder = new Argument<DirectoryInfo>("folder") { Description = "Model folder" };
        var prompts = new Option<FileInfo>("--prompts") { Description = "Prompts to answer", DefaultValueFactory = _ => new FileInfo(Path.Combine(AppContext.BaseDirectory, "Evaluation", "prompts.txt")) };
        var report = new Option<FileInfo>("--report") { Description = "Markdown file for scores and all replies" };
        var card = new Option<bool>("--card") { Description = "Write the scores into the folder's card (once, at birth)" };
        var seed = new Option<int>("--seed") { Description = "Seed of the replies", DefaultValueFactory = _ => 1 };
        var command = new Command("evaluate", "Held-out loss and perplexity, character F1, Distinct-1 to 4, and the replies to fixed prompts, through the engine that serves.") { folder, prompts, report, card, seed, data };
        command.SetAction((parse, cancel) => EvaluateAsync(
            parse.GetValue(folder)!.FullName, parse.GetValue(prompts)!.FullName, parse.GetValue(report)?.FullName, parse.GetValue(card), parse.GetValue(seed), new CorpusFolder(parse.GetValue(data)!.FullName), cancel));
        return command;
    }

    private async Task<int> EvaluateAsync(string path, string prompts, string? report, bool writeCard, int seed, CorpusFolder corpora, CancellationToken cancel)
    {
        var folder = ModelFolder.Open(path);
        var heldOut = new Regex((string?)folder.Card["heldOut"] ?? throw new InvalidDataException($"{path}: the card has no 'heldOut', so what was held out is not known."), RegexOptions.CultureInvariant);
        var encoder = new BytePairEncoder(TokenizerFile.Read(await File.ReadAllTextAsync(Path.Combine(path, "tokenizer.json"), cancel)));
        var validation = folder.Card["validation"]?.AsArray() ?? throw new InvalidDataException($"{path}: the card has no 'validation', so no corpus is known to score it on.");
        var documents = validation.Select(name => (string)name!).ToDictionary(name => name, name => corpora.Read(name).Where(d => heldOut.IsMatch(d.Scene)).ToArray());
        var set = new HeldOutSet(documents.Select(d => (d.Key, TokenizedCorpus.Encode(d.Value, encoder))), new SampleLimits(folder.Config.MaxContext, folder.Config.MaxReply), BatchTokens, HeldOutSamples);
        var references = documents.SelectMany(d => Evaluator.References(d.Key, d.Value, ReferencesPerCorpus)).ToArray();

        using var weights = folder.LoadModel(dtype: torch.ScalarType.Float32);
        using var models = new InProcessChatModels([ServedModel.OnTorch(folder)], new DecodingCatalog(new PluginCatalog(typeof(DecodingCatalog).Assembly)), null, new EngineOptions(), time, () => seed);
        var scores = await new Evaluator(models, folder.Description.Id, seed).ScoreAsync(weights, set, references, PromptFile.Parse(await File.ReadAllLinesAsync(prompts, cancel)), cancel);

        var text = ReplyReport.Write(folder.Description.Id, scores, folder.Description.DefaultDecoding?.ToJsonString() ?? "of the strategy", seed);
        if (report is not null) await File.WriteAllTextAsync(report, text, cancel);
        else console.WriteLine(text);
        if (writeCard) ModelCard.AddScores(path, scores.ToJson());
        console.WriteLine(scores.ToJson().ToJsonString(RecipeFile.Json));
        return 0;
    }

    /// <summary>Commit of the working tree, or <c>unknown</c> outside one.</summary>
    private static string Commit()
    {
        try
        {
            using var git = Process.Start(new ProcessStartInfo("git", ["rev-parse", "HEAD"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var commit = git.StandardOutput.ReadToEnd().Trim();
            git.WaitForExit();
            return git.ExitCode == 0 ? commit : "unknown";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "unknown";
        }
    }
}
