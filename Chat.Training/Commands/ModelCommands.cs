using System.CommandLine;
using System.Diagnostics;
using Chat.Models.Checkpoints;
using Chat.Models.Gguf;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Recipes;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>export</c> and <c>gguf</c>: from a run to a model folder with a card, and a folder for others' tools.</summary>
public sealed class ModelCommands(TimeProvider time, IAnsiConsole console)
{
    private readonly Option<DirectoryInfo> data = new("--data") { Description = "Folder that 'data fetch' filled", DefaultValueFactory = _ => new DirectoryInfo("data") };

    public Command Export()
    {
        var recipe = new Argument<FileInfo>("recipe") { Description = "Recipe of a run, with a card; recipes it starts from lie beside it" };
        var runs = new Option<DirectoryInfo>("--runs") { Description = "Folder of runs", DefaultValueFactory = _ => new DirectoryInfo("runs") };
        var to = new Option<DirectoryInfo>("--to") { Description = "Folder to make, for example Chat.Models/Shipped/chat-teacher", Required = true };
        var best = new Option<bool>("--best") { Description = "The best checkpoint of the stage in progress, by its quality or patience, instead of the newest one; a finished stage ended with its best by itself" };
        var command = new Command("export", "Makes a model folder (weights in bfloat16, vocabulary, card) of a run's newest checkpoint.") { recipe, runs, to, data, best };
        command.SetAction(parse =>
        {
            var path = parse.GetValue(recipe)!.FullName;
            var folder = parse.GetValue(to)!.FullName;
            new ModelExport(parse.GetValue(runs)!.FullName, new CorpusFolder(parse.GetValue(data)!.FullName), time).Write(
                RecipeFile.Read<TrainingRecipe>(path).Checked(), folder,
                name => RecipeFile.Read<TrainingRecipe>(Path.Combine(Path.GetDirectoryName(path)!, name + ".json")).Checked(), Commit(), parse.GetValue(best));
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

    /// <summary>Commit of the working tree, or <c>unknown</c> outside one.</summary>
    internal static string Commit()
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
