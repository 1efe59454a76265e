using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Domain.Training;
using Chat.Models.Checkpoints;
using Chat.Models.Libtorch;
using Chat.Training.Commands;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Spectre.Console;
using TorchSharp;

namespace Chat.Training.Worker;

/// <summary>Where and with what a worker works.</summary>
/// <param name="Data">Corpora.</param>
/// <param name="Runs">One folder a run. Workers that share it go on with each other's jobs; others would begin anew.</param>
/// <param name="Models">Finished models, <c>HASH/ID</c> each, the form in which gateways keep folders by content.</param>
/// <param name="Device">What computes, as <see cref="ComputeDevice"/> names it.</param>
public sealed record WorkerFolders(string Data, string Runs, string Models, int Threads, string Device);

/// <summary>One job from its recipe to a registered model. Doing it again after it was cut off anywhere goes on and ends in the same content. All of it on the calling thread; <see cref="Progress"/> may be read from any.</summary>
public sealed class JobRun(TrainingJob job, WorkerFolders folders, PluginCatalog plugins, TimeProvider time)
{
    private const string RecipeName = "recipe.json";

    private readonly long began = time.GetTimestamp();
    private volatile JobProgress progress = new("train", time.GetUtcNow());
    private long? first;

    /// <summary>How far it is now.</summary>
    public JobProgress Progress
    {
        get
        {
            var checkpoint = long.TryParse(Path.GetFileName(Newest()), CultureInfo.InvariantCulture, out var step) ? step : 0;
            return progress with { At = time.GetUtcNow(), Checkpoint = checkpoint };
        }
    }

    private string Run => Path.Combine(folders.Runs, job.Name);

    /// <returns>The registered model, or <c>null</c> where only the run was asked for.</returns>
    /// <exception cref="OperationCanceledException">It was stopped, and goes on from here when it is done again.</exception>
    /// <exception cref="RecipeException">What is wrong with the recipe.</exception>
    /// <exception cref="RunHeldException">Another process is at this run.</exception>
    public ModelRecord? Do(CancellationToken stop)
    {
        var (recipe, text) = Read(job.Recipe, job.Evaluate, job.Register);
        var corpora = new CorpusFolder(folders.Data);
        var run = new TrainingRun(recipe, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text))), folders.Runs, corpora, plugins, time, device: ComputeDevice.Open(folders.Device));
        using var held = run.Folder.Lock();          // until its model is registered
        torch.set_num_threads(folders.Threads);      // of this thread: OpenMP keeps it for each
        var state = run.Follow(message => progress = progress with { Message = message }, update => Report(recipe, update), stop, held);
        if (state.Stage is not null) throw new OperationCanceledException(stop);
        progress = progress with { Step = state.TotalSteps, Of = Steps(recipe) };      // also where an earlier job had trained it
        WholeFile.WriteText(Path.Combine(Run, RecipeName), text);      // for the runs that start from this one
        return job.Register ? Register(recipe, corpora, stop) : null;
    }

    private ModelRecord Register(TrainingRecipe recipe, CorpusFolder corpora, CancellationToken stop)
    {
        var partial = Path.Combine(folders.Models, $".{job.Id}.partial");
        if (Directory.Exists(partial)) Directory.Delete(partial, recursive: true);
        var folder = Path.Combine(partial, recipe.Card!.Id);
        using (Enter("export", stop)) new ModelExport(folders.Runs, corpora, time).Write(recipe, folder, RecipeOf, ModelCommands.Commit());
        if (job.Evaluate)
        {
            using var _ = Enter("evaluate", stop);
            var quiet = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(TextWriter.Null) });
            new EvaluateCommand(plugins, time, quiet).AtBirthAsync(folder, folders.Data, Path.Combine(Run, "evaluation"), stop).GetAwaiter().GetResult();
        }
        using var registering = Enter("register", stop);
        var target = Path.Combine(folders.Models, ModelFolder.Hash(folder));
        if (Directory.Exists(target)) Directory.Delete(partial, recursive: true);      // made before, and then cut off: the content is the same
        else Directory.Move(partial, target);
        return new(ModelFolder.Open(Directory.GetDirectories(target).Single()).Description, time.GetUtcNow());
    }

    private Activity? Enter(string phase, CancellationToken stop)
    {
        stop.ThrowIfCancellationRequested();
        progress = progress with { Phase = phase, SecondsLeft = null, TokensPerSecond = null, Message = null };
        return TrainingMeter.Spans.StartActivity(phase);
    }

    private void Report(TrainingRecipe recipe, TrainingProgress update)
    {
        var step = recipe.Stages.TakeWhile(s => s.Name != update.Stage.Name).Sum(s => (long)s.Steps) + update.Step;
        var of = Steps(recipe);
        first ??= step;
        var pace = step > first ? time.GetElapsedTime(began).TotalSeconds / (step - first.Value) : (double?)null;
        progress = progress with
        {
            Stage = update.Stage.Name, Step = step, Of = of, Loss = update.Loss, TokensPerSecond = Math.Round(update.TokensPerSecond), SecondsLeft = pace is { } seconds ? Math.Round(seconds * (of - step)) : null,
            Validation = update.Validation ?? progress.Validation, Alarm = update.Alarm ?? progress.Alarm,
        };
    }

    private static long Steps(TrainingRecipe recipe) => recipe.Stages.Sum(s => (long)s.Steps);

    /// <summary>A job's recipe, as far as it can be told to be one without the worker's folders.</summary>
    /// <returns>The recipe, and the text that names it by its hash.</returns>
    /// <exception cref="RecipeException">What is wrong with it, or what a job may not ask for.</exception>
    public static (TrainingRecipe Recipe, string Text) Read(JsonObject asked, bool evaluate, bool register)
    {
        var text = asked.ToJsonString(RecipeFile.Json);
        var recipe = RecipeFile.Parse<TrainingRecipe>(text, "Recipe").Checked();
        if (!TrainingJob.IsName(recipe.Name)) throw new RecipeException($"Recipe: name is {TrainingJob.NameForm}.");
        var distil = recipe.Stages.Select(s => s.Distil).OfType<DistilRecipe>().ToArray();
        string?[] names =
        [
            recipe.Start, recipe.Tokenizer.From, .. recipe.Tokenizer.Corpora?.Keys ?? [], .. recipe.Validation, .. recipe.Stages.SelectMany(s => s.Mixture).Select(m => m.Corpus),
            .. distil.SelectMany(d => new[] { d.Teacher, d.Cache }), .. distil.SelectMany(d => d.Text ?? []).Select(m => m.Corpus),
        ];
        // A file of a command line may name any place; a request may not lead out of the worker's folders.
        if (names.OfType<string>().FirstOrDefault(name => Path.IsPathRooted(name) || name.Split('/', '\\').Contains("..")) is { } outside)
            throw new RecipeException($"Recipe: '{outside}' leads out of the worker's folders; a job names runs, corpora, and model folders below the folder that the worker runs in.");
        // Nor may it have the worker call an address, and show its key there.
        if (distil.FirstOrDefault(d => d.Teacher is { } teacher && TeacherHost.IsAddress(teacher)) is { } calls)
            throw new RecipeException($"Recipe: distil.teacher: '{calls.Teacher}' is an address, and a job may not make the worker call any; name a run, or a model folder below the folder that the worker runs in, or train with 'train' on the command line.");
        if (register && (recipe.Card is not { } card || !TrainingJob.IsName(card.Id))) throw new RecipeException($"Recipe: card.id names the model that is to be registered: {TrainingJob.NameForm}.");
        if (evaluate && recipe.Validation.Count == 0) throw new RecipeException("Recipe: validation names no corpus, so there is nothing to evaluate the model on; name one, or ask with \"evaluate\": false.");
        return (recipe, text);
    }

    /// <summary>The recipe of a run that this one starts from.</summary>
    private TrainingRecipe RecipeOf(string name)
    {
        var path = Path.Combine(folders.Runs, name, RecipeName);
        return File.Exists(path) ? RecipeFile.Read<TrainingRecipe>(path).Checked() : throw new RecipeException($"start: run '{name}' has no {RecipeName}, so the card cannot tell where the weights come from; put its recipe there.");
    }

    private string? Newest()
    {
        try { return new RunFolder(Run).Newest; }
        catch (IOException) { return null; }      // an old one went while they were read
    }
}
