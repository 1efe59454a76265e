using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Tokenizers;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>A stage's teacher: a model in this process or one of a model host, behind a bridge where its vocabulary is another.</summary>
internal sealed class OpenTeacher : IDisposable
{
    private readonly string name;
    private readonly TeacherHost? host;
    private readonly IVocabularyBridge? bridge;
    private readonly TokenNames theirs, ours;
    private readonly Lazy<string> hash;

    /// <param name="name">A run in <paramref name="runs"/>, a model folder, or a model host's address with the model's id.</param>
    /// <param name="ours">The student's vocabulary.</param>
    /// <param name="type">Of the weights in this process, which lie on <paramref name="device"/>.</param>
    /// <param name="keeps">Whether the same replies are asked about more than once, so that what it reads is worth <see cref="Kept"/>.</param>
    /// <exception cref="RecipeException">There is no such teacher, or it speaks another vocabulary and there is no bridge.</exception>
    public OpenTeacher(string name, string runs, TokenNames ours, IVocabularyBridge? bridge, ScalarType type, Device device, bool keeps, TeacherHostOptions hosts, TimeProvider time)
    {
        (this.name, this.bridge, this.ours) = (name, bridge, ours);
        try
        {
            if (TeacherHost.IsAddress(name))
            {
                host = new(name, hosts, time);
                (theirs, hash) = (host.Names, new(host.Hash));
            }
            else
            {
                (Model, theirs, hash) = Open(name, runs, type, device);
                if (keeps && bridge is null) Kept = new(new EncoderDecoderScorer(Model));                 // a bridge asks about samples of its own making
            }
            if (bridge is null && theirs.FirstDifference(ours) is { } id)
                throw new ArgumentException($"token {id} of '{name}' is another than the student's, {theirs.Show(id)} there and {ours.Show(id)} here: take its vocabulary (tokenizer.from), or bridge the two (distil.bridge).");
            if (bridge is null && theirs.Count != ours.Count) throw new ArgumentException($"'{name}' has {theirs.Count} rows of scores and the student {ours.Count}: bridge the two (distil.bridge).");
        }
        catch (Exception error)
        {
            Dispose();
            if (error is ArgumentException or UriFormatException) throw new RecipeException($"distil.teacher: {error.Message}", error);
            throw;
        }
    }

    /// <summary>Content hash of its weights.</summary>
    public string Hash => hash.Value;

    /// <summary>The model in this process; <c>null</c> at a host.</summary>
    public EncoderDecoder? Model { get; }

    /// <summary>What it has read of replies; <c>null</c> where nothing is kept, which is so at a host and behind a bridge.</summary>
    public KeptRows? Kept { get; }

    /// <summary>Its best tokens come as such; others are found among all.</summary>
    public bool SendsBest => host is not null && bridge is null;

    /// <param name="kind">At least so much is said.</param>
    /// <param name="k">The best so many; 0: all.</param>
    /// <exception cref="RecipeException">The bridge cannot.</exception>
    public ITeacher Judge(SignalKind kind, int k, double temperature)
    {
        // A student's law over a part of the teacher's tokens cannot be told from one token's probability.
        var asked = bridge is not null && kind == SignalKind.Sampled ? SignalKind.Full : k > 0 ? SignalKind.TopK : kind;
        ITeacher judge = host is not null ? new HostTeacher(host, asked, k, temperature) : new ModelTeacher(Kept ?? (IReplyScorer)new EncoderDecoderScorer(Model!), temperature);
        try
        {
            if (bridge is not null) judge = bridge.Judge(judge, theirs, ours);
        }
        catch (ArgumentException error) { throw new RecipeException($"distil.bridge: '{name}': {error.Message}", error); }
        return host is null && k > 0 ? new TopKTeacher(judge, k, ours.Count) : judge;
    }

    /// <summary>Its runner as one that writes the student's tokens.</summary>
    public IRunner Writer(IRunner runner) => bridge is null ? runner : bridge.Writer(runner, theirs, ours);

    /// <exception cref="RecipeException">The stage's samples are longer than its host takes.</exception>
    public void CheckLengths(StageRecipe stage)
    {
        if (host is { Longest: var (context, reply) } && (stage.MaxContext > context || stage.MaxReply > reply))
            throw new RecipeException($"Recipe: stage '{stage.Name}': maxContext {stage.MaxContext} and maxReply {stage.MaxReply} are more than the {context} and {reply} tokens that '{name}' takes.");
    }

    /// <summary>What can be said against a teacher without opening it or asking its host.</summary>
    /// <exception cref="RecipeException">There is no such run or folder, or it cannot do what the stage asks.</exception>
    public static void Check(StageRecipe stage, string name, string runs, IVocabularyBridge? bridge, DistillationObjective objective)
    {
        var atHost = TeacherHost.IsAddress(name);
        if (!atHost && Run(name, runs) is null) RequireFolder(name, runs);
        var writing = objective.Replies.Sources.FirstOrDefault(source => source is ReplySource.Teacher or ReplySource.Filtered || (source == ReplySource.Mixed && objective.Replies.TeacherShare > 0));
        if (writing == ReplySource.Data) return;
        var instead = writing == ReplySource.Mixed ? "Set distil.teacherShare to 0, or name" : "Name";
        if (atHost) throw new RecipeException($"Recipe: stage '{stage.Name}': {stage.Method} has replies written by the teacher or with its help, and a model host only judges what is written. {instead} the teacher's folder, or a run, in distil.teacher.");
        if (bridge is { Writes: false }) throw new RecipeException($"Recipe: stage '{stage.Name}': {stage.Method} has replies written by the teacher or with its help, and this bridge only lets it judge. {instead} a teacher of the student's vocabulary.");
    }

    public void Dispose()
    {
        host?.Dispose();
        Kept?.Dispose();
        Model?.Dispose();
    }

    /// <summary>A run's newest weights, or a model folder's, in evaluation mode.</summary>
    private static (EncoderDecoder, TokenNames, Lazy<string>) Open(string name, string runs, ScalarType type, Device device)
    {
        if (Run(name, runs) is { } run) return Opened(run.LoadModel(type, device: device), run.Tokenizer, run.Newest!);
        RequireFolder(name, runs);
        var folder = ModelFolder.Open(name);
        return folder.Decoder is null ? Opened(folder.LoadModel(device, type), Path.Combine(name, TokenizerFiles.HuggingFace), name)
            : throw new RecipeException($"distil.teacher: '{name}' is a decoder-only model, and students are encoder-decoders.");
    }

    /// <summary>The run of that name, where it has a checkpoint.</summary>
    private static RunFolder? Run(string name, string runs) => new RunFolder(Path.Combine(runs, name)) is { Newest: not null } run ? run : null;

    private static void RequireFolder(string name, string runs)
    {
        if (!File.Exists(Path.Combine(name, ModelFolder.ConfigFileName)))
            throw new RecipeException($"distil.teacher: '{name}' is neither a run with a checkpoint in {Path.GetFullPath(runs)} nor a model folder. Train it first, or name a folder, for example Chat.Models/Shipped/chat-teacher.");
    }

    private static (EncoderDecoder, TokenNames, Lazy<string>) Opened(EncoderDecoder model, string tokenizer, string weights)
    {
        var config = model.Config;
        return (model, TokenNames.Of(TokenizerFiles.LoadJson(tokenizer, new(config.Start, config.Separator, config.Pad, config.Pad)), config.VocabularySize), new(() => ModelFolder.Hash(weights)));
    }
}
