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
    [JsonIgnore]
    public string? TimeShares => SamplingSeconds + TeacherSeconds == 0 ? null : string.Create(CultureInfo.InvariantCulture,
        $"sampling {100 * SamplingSeconds / Seconds:F0} %, teacher {100 * TeacherSeconds / Seconds:F0} %, learning {100 * (Seconds - SamplingSeconds - TeacherSeconds) / Seconds:F0} %");
}

/// <summary>Another process has the run's folder.</summary>
public sealed class RunHeldException(string folder, Exception inner) : IOException($"Another process trains in the run folder {folder}: let it end, or give the recipe another name.", inner);

/// <summary>
/// A run on disk: <c>config.json</c>, <c>tokenizer.json</c>, <c>journal.jsonl</c>, <c>loss.png</c> and <c>checkpoints/STEP/</c>. A checkpoint
/// appears whole or not at all: it is written under another name and then moved. It has the sums of its files (<c>sha256sum -c sums.txt</c>). The last two are kept, and in
/// <c>best/STEP/</c> the best one of a stage that watches over quality or patience. Looking at a run changes nothing; who trains it holds <see cref="Lock"/>.
/// </summary>
public sealed class RunFolder(string path)
{
    private const int KeptCheckpoints = 2;
    /// <summary>How a run's state is written.</summary>
    public static JsonSerializerOptions Json { get; } = new(RecipeFile.Json) { DefaultIgnoreCondition = JsonIgnoreCondition.Never, UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip };
    private const string StateFile = "state.json", TensorFile = "state.safetensors", SumFile = "sums.txt";

    public string Root { get; } = Path.GetFullPath(path);
    public string Tokenizer => Path.Combine(Root, "tokenizer.json");
    public string Config => Path.Combine(Root, ModelFolder.ConfigFileName);
    public string Journal => Path.Combine(Root, "journal.jsonl");
    public string LossCurve => Path.Combine(Root, "loss.png");
    private string Checkpoints => Path.Combine(Root, "checkpoints");
    private string BestCheckpoints => Path.Combine(Root, "best");

    /// <summary>Folder of the newest checkpoint, or <c>null</c>.</summary>
    public string? Newest => NewestFirst(Checkpoints).FirstOrDefault();

    /// <summary>Makes the folder, keeps other processes from training in it until disposed of, and removes what one that died left half-written.</summary>
    /// <exception cref="RunHeldException">Another process trains in it.</exception>
    /// <exception cref="IOException">It cannot be made.</exception>
    public IDisposable Lock()
    {
        try
        {
            Directory.CreateDirectory(Checkpoints);
            var held = new FileStream(Path.Combine(Root, "run.lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);        // the system lets go of it however the process ends
            foreach (var half in new[] { Checkpoints, BestCheckpoints }.Where(Directory.Exists).SelectMany(d => Directory.EnumerateDirectories(d, "*.part"))) Directory.Delete(half, recursive: true);
            foreach (var half in Directory.EnumerateFiles(Root, "*.part")) File.Delete(half);
            return held;
        }
        catch (IOException error) when (error.HResult == WouldBlock)
        {
            throw new RunHeldException(Root, error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The run folder {Root} cannot be made or written to: {error.Message} Name another place with --runs.", error);
        }
    }

    // EWOULDBLOCK, which .NET hands on as the code of a file that another process holds.
    private const int WouldBlock = 11;

    /// <summary>Folder of the best checkpoint, or <c>null</c> where no stage kept one.</summary>
    public string? Best => NewestFirst(BestCheckpoints).FirstOrDefault();

    /// <summary>Where the best checkpoint of an update lies in the run folder.</summary>
    public static string BestName(long step) => $"best/{step:D8}";

    public void Save(RunState state, MasterAdamW optimiser) => Save(Checkpoints, KeptCheckpoints, state, optimiser);

    /// <summary>Keeps this state until a better one comes, however many checkpoints follow.</summary>
    public void SaveBest(RunState state, MasterAdamW optimiser) => Save(BestCheckpoints, 1, state, optimiser);

    private static void Save(string folder, int kept, RunState state, MasterAdamW optimiser)
    {
        var final = Path.Combine(folder, $"{state.TotalSteps:D8}");
        var (part, replaced) = (final + ".part", final + ".old.part");
        try
        {
            Directory.CreateDirectory(part);
            SafetensorsWriter.Write(Path.Combine(part, TensorFile), optimiser.State.Select(s => (s.Name, s.Value)));
            File.WriteAllText(Path.Combine(part, StateFile), JsonSerializer.Serialize(state, Json));
            File.WriteAllLines(Path.Combine(part, SumFile), new[] { StateFile, TensorFile }.Select(name => SumLine(part, name)));
            if (Directory.Exists(final)) Directory.Move(final, replaced);
            Directory.Move(part, final);
        }
        catch
        {
            if (Directory.Exists(part)) Directory.Delete(part, recursive: true);                    // a full disk has room again
            throw;
        }
        if (Directory.Exists(replaced)) Directory.Delete(replaced, recursive: true);
        foreach (var old in NewestFirst(folder).Skip(kept).ToArray()) Directory.Delete(old, recursive: true);
    }

    /// <exception cref="InvalidDataException">The checkpoint's state is no such state.</exception>
    /// <param name="checkpoint">Its folder; <c>null</c>: the newest.</param>
    public RunState? LoadState(string? checkpoint = null) => (checkpoint ?? Newest) is { } folder ? Read(folder) : null;

    /// <summary>The state of the newest checkpoint that is whole. Damaged ones after it are removed, since their steps are made again.</summary>
    /// <param name="say">Hears of each damaged one.</param>
    /// <exception cref="InvalidDataException">There are checkpoints, and none is whole.</exception>
    public RunState? Resume(Action<string>? say)
    {
        List<(string Folder, string Damage)> damaged = [];
        foreach (var folder in NewestFirst(Checkpoints))
        {
            try
            {
                CheckWhole(folder);
                var state = Read(folder);
                foreach (var (bad, damage) in damaged)
                {
                    say?.Invoke($"Checkpoint {bad} is damaged ({damage}): removed, the run goes on from {folder}.");
                    Directory.Delete(bad, recursive: true);
                }
                return state;
            }
            catch (Exception error) when (error is InvalidDataException or CheckpointException or FileNotFoundException)
            {
                damaged.Add((folder, error.Message));
            }
        }
        return damaged.Count == 0 ? null : throw new InvalidDataException($"Every checkpoint of run {Root} is damaged ({damaged[0].Damage}): remove the folder to begin anew.");
    }

    private static string[] NewestFirst(string folder) => !Directory.Exists(folder) ? []
        : [.. Directory.EnumerateDirectories(folder).Where(d => !d.EndsWith(".part", StringComparison.Ordinal)).OrderDescending(StringComparer.Ordinal)];

    private static RunState Read(string folder)
    {
        var file = Path.Combine(folder, StateFile);
        try
        {
            return JsonSerializer.Deserialize<RunState>(File.ReadAllText(file), Json) ?? throw new InvalidDataException($"{file} is empty.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{file} is no state of a run: {error.Message}", error);
        }
    }

    private static string SumLine(string folder, string name) => $"{RecipeFile.Hash(Path.Combine(folder, name))}  {name}";

    /// <summary>Checkpoints that were written before there were sums are looked at as far as their tensors tell.</summary>
    private static void CheckWhole(string folder)
    {
        var sums = Path.Combine(folder, SumFile);
        if (File.Exists(sums))
        {
            var wrong = File.ReadAllLines(sums).Where(line => line.Split("  ") is not [_, var name] || SumLine(folder, name) != line).ToArray();
            if (wrong.Length > 0) throw new InvalidDataException($"not what was written: {string.Join(", ", wrong.Select(line => line.Split("  ")[^1]))}");
        }
        using var tensors = SafetensorsFile.Open(Path.Combine(folder, TensorFile));
    }

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
            Read(file, entry, value);
        }
        optimiser.Publish();
    }

    private static void Read(SafetensorsFile file, TensorEntry entry, Tensor value)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        var here = value.device.type == TorchSharp.DeviceType.CPU ? value : empty(value.shape, value.dtype);
        file.Read(entry, 0, here.bytes);
        if (here.Handle != value.Handle) value.copy_(here);
    }

    /// <summary>A checkpoint's model, in evaluation mode.</summary>
    /// <param name="checkpoint">Its folder; <c>null</c>: the newest.</param>
    /// <exception cref="CheckpointException">The run has no shape yet.</exception>
    /// <exception cref="InvalidOperationException">It has no checkpoint.</exception>
    public EncoderDecoder LoadModel(ScalarType dtype, string? checkpoint = null, Device? device = null)
    {
        var model = new EncoderDecoder(EncoderDecoderConfig.Load(Config), seed: null, device, dtype);
        using var weights = new MasterAdamW(model.named_parameters(), 0);
        LoadTensors(weights, weightsOnly: true, checkpoint);
        model.eval();
        return model;
    }

    /// <summary>Journal lines after the checkpoint belong to steps that are made again: they go.</summary>
    public void CutJournal(long totalSteps)
    {
        if (!File.Exists(Journal)) return;
        WholeFile.Write(Journal, part => File.WriteAllLines(part, File.ReadLines(Journal).Where(line => JournalEntry.Parse(line)?.Step <= totalSteps)));
    }
}
