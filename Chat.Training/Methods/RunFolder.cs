using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Training.Recipes;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>Where a run stands; with the tensors of the optimiser it is all that a run needs to go on.</summary>
/// <param name="Stage">Name of the stage in progress; <c>null</c> when all are done.</param>
/// <param name="Step">Updates of this stage so far.</param>
/// <param name="TotalSteps">Updates of all stages.</param>
/// <param name="Best">Lowest validation loss of the stage, and validations since then.</param>
/// <param name="RecipeHash">The run goes on only with the recipe it began with.</param>
/// <param name="Quality">How good the stage's replies are and were, where it looks at them.</param>
/// <param name="SamplingSeconds">Of <paramref name="Seconds"/>, what went into writing replies.</param>
/// <param name="TeacherSeconds">Of them, what went into asking teachers.</param>
public sealed record RunState(
    string? Stage, long Step, long OptimiserSteps, long TotalSteps, long Tokens, double Seconds, StageCursor? Cursor, double? Best, int SinceBest, string RecipeHash,
    ReplyQuality? Quality = null, double SamplingSeconds = 0, double TeacherSeconds = 0)
{
    /// <summary>«sampling 40 %, teacher 11 %, learning 49 %» of the updates' time; <c>null</c> where all of it was learning.</summary>
    public string? TimeShares => SamplingSeconds + TeacherSeconds == 0 ? null : string.Create(CultureInfo.InvariantCulture,
        $"sampling {100 * SamplingSeconds / Seconds:F0} %, teacher {100 * TeacherSeconds / Seconds:F0} %, learning {100 * (Seconds - SamplingSeconds - TeacherSeconds) / Seconds:F0} %");
}

/// <summary>
/// A run on disk: <c>config.json</c>, <c>tokenizer.json</c>, <c>journal.jsonl</c>, <c>loss.png</c> and <c>checkpoints/STEP/</c>. A checkpoint
/// appears whole or not at all: it is written under another name and then moved. The last two are kept, and in <c>best/STEP/</c> the best one of a
/// stage that watches over quality or patience.
/// </summary>
public sealed class RunFolder
{
    private const int KeptCheckpoints = 2;
    /// <summary>How a run's state is written.</summary>
    public static JsonSerializerOptions Json { get; } = new(RecipeFile.Json) { DefaultIgnoreCondition = JsonIgnoreCondition.Never, UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip };
    private const string StateFile = "state.json", TensorFile = "state.safetensors";

    public RunFolder(string path)
    {
        Root = Path.GetFullPath(path);
        try
        {
            Directory.CreateDirectory(Checkpoints);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The run folder {Root} cannot be made: {error.Message} Name another place with --runs.", error);
        }
        foreach (var half in new[] { Checkpoints, BestCheckpoints }.Where(Directory.Exists).SelectMany(d => Directory.EnumerateDirectories(d, "*.part"))) Directory.Delete(half, recursive: true);
    }

    public string Root { get; }
    public string Tokenizer => Path.Combine(Root, "tokenizer.json");
    public string Config => Path.Combine(Root, ModelFolder.ConfigFileName);
    public string Journal => Path.Combine(Root, "journal.jsonl");
    public string LossCurve => Path.Combine(Root, "loss.png");
    private string Checkpoints => Path.Combine(Root, "checkpoints");
    private string BestCheckpoints => Path.Combine(Root, "best");

    /// <summary>Folder of the newest checkpoint, or <c>null</c>.</summary>
    public string? Newest => Last(Checkpoints);

    /// <summary>Folder of the best checkpoint, or <c>null</c> where no stage kept one.</summary>
    public string? Best => Directory.Exists(BestCheckpoints) ? Last(BestCheckpoints) : null;

    /// <summary>Where the best checkpoint of an update lies in the run folder.</summary>
    public static string BestName(long step) => $"best/{step:D8}";

    public void Save(RunState state, MasterAdamW optimiser) => Save(Checkpoints, KeptCheckpoints, state, optimiser);

    /// <summary>Keeps this state until a better one comes, however many checkpoints follow.</summary>
    public void SaveBest(RunState state, MasterAdamW optimiser) => Save(BestCheckpoints, 1, state, optimiser);

    private static string? Last(string folder) => Directory.EnumerateDirectories(folder).Where(d => !d.EndsWith(".part", StringComparison.Ordinal)).Max(StringComparer.Ordinal);

    private static void Save(string folder, int kept, RunState state, MasterAdamW optimiser)
    {
        var final = Path.Combine(folder, $"{state.TotalSteps:D8}");
        if (Directory.Exists(final)) Directory.Delete(final, recursive: true);
        var part = Directory.CreateDirectory(final + ".part").FullName;
        SafetensorsWriter.Write(Path.Combine(part, TensorFile), optimiser.State.Select(s => (s.Name, s.Value)));
        File.WriteAllText(Path.Combine(part, StateFile), JsonSerializer.Serialize(state, Json));
        Directory.Move(part, final);
        foreach (var old in Directory.EnumerateDirectories(folder).OrderDescending(StringComparer.Ordinal).Skip(kept).ToArray())
            Directory.Delete(old, recursive: true);
    }

    /// <exception cref="InvalidDataException">The checkpoint's state is no such state.</exception>
    /// <param name="checkpoint">Its folder; <c>null</c>: the newest.</param>
    public RunState? LoadState(string? checkpoint = null) => (checkpoint ?? Newest) is { } folder
        ? JsonSerializer.Deserialize<RunState>(File.ReadAllText(Path.Combine(folder, StateFile)), Json) ?? throw new InvalidDataException($"{folder}/{StateFile} is empty.")
        : null;

    /// <summary>Reads a checkpoint's tensors into the optimiser, whose weights follow.</summary>
    /// <param name="weightsOnly">Leave the moments as they are: another stage or run begins from these weights.</param>
    /// <param name="checkpoint">Its folder; <c>null</c>: the newest.</param>
    public void LoadTensors(MasterAdamW optimiser, bool weightsOnly = false, string? checkpoint = null)
    {
        var folder = checkpoint ?? Newest ?? throw new InvalidOperationException($"Run {Root} has no checkpoint.");
        using var file = SafetensorsFile.Open(Path.Combine(folder, TensorFile));
        foreach (var (name, value) in optimiser.State.Where(s => !weightsOnly || s.Name.StartsWith("weight/", StringComparison.Ordinal)))
        {
            if (!file.Entries.TryGetValue(name, out var entry) || !entry.Shape.SequenceEqual(value.shape))
                throw new InvalidDataException($"Checkpoint {folder}: '{name}' is missing or not [{string.Join(' ', value.shape)}].");
            file.Read(entry, 0, value.bytes);
        }
        optimiser.Publish();
    }

    /// <summary>A checkpoint's model, in evaluation mode.</summary>
    /// <param name="checkpoint">Its folder; <c>null</c>: the newest.</param>
    /// <exception cref="CheckpointException">The run has no shape yet.</exception>
    /// <exception cref="InvalidOperationException">It has no checkpoint.</exception>
    public EncoderDecoder LoadModel(ScalarType dtype, string? checkpoint = null)
    {
        var model = new EncoderDecoder(EncoderDecoderConfig.Load(Config), seed: null, dtype: dtype);
        using var weights = new MasterAdamW(model.named_parameters(), 0);
        LoadTensors(weights, weightsOnly: true, checkpoint);
        model.eval();
        return model;
    }

    /// <summary>Journal lines after the checkpoint belong to steps that are made again: they go.</summary>
    public void CutJournal(long totalSteps)
    {
        if (!File.Exists(Journal)) return;
        var kept = File.ReadLines(Journal).Where(line => line.StartsWith('{') && line.EndsWith('}'))
            .Where(line => JsonSerializer.Deserialize<JournalEntry>(line, JournalEntry.Json)!.Step <= totalSteps).ToArray();
        File.WriteAllLines(Journal + ".part", kept);
        File.Move(Journal + ".part", Journal, overwrite: true);
    }
}
