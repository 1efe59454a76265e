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
    private readonly IVocabularyBridge? bridge;
    private readonly TokenNames theirs, ours;

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
                Host = new(name, hosts, time);
                (theirs, Hash) = (Host.Names, Host.Hash);
            }
            else
            {
                (theirs, var weights, var load) = Find(name, runs);
                (Hash, Model) = (ModelFolder.Hash(weights), load(type, device));
                if (keeps && bridge is null) Kept = new(new EncoderDecoderScorer(Model));                 // a bridge asks about samples of its own making
            }
            if (bridge is null) RequireSame(name, theirs, ours);
        }
        catch (Exception error)
        {
            Dispose();
            if (error is ArgumentException or UriFormatException) throw new RecipeException($"distil.teacher: {error.Message}", error);
            throw;
        }
    }

    /// <summary>Content hash of its weights.</summary>
    public string Hash { get; }

    /// <summary>The host that serves it; <c>null</c> where it is in this process.</summary>
    public TeacherHost? Host { get; }

    /// <summary>The model in this process; <c>null</c> at a host.</summary>
    public EncoderDecoder? Model { get; }

    /// <summary>What it has read of replies; <c>null</c> where nothing is kept, which is so at a host and behind a bridge.</summary>
    public KeptRows? Kept { get; }

    /// <summary>Its best tokens come as such; others are found among all.</summary>
    public bool SendsBest => Host is not null && bridge is null;

    /// <param name="kind">At least so much is said.</param>
    /// <param name="k">The best so many; 0: all.</param>
    /// <exception cref="RecipeException">The bridge cannot.</exception>
    public ITeacher Judge(SignalKind kind, int k, double temperature)
    {
        // A student's law over a part of the teacher's tokens cannot be told from one token's probability.
        var asked = bridge is not null && kind == SignalKind.Sampled ? SignalKind.Full : k > 0 ? SignalKind.TopK : kind;
        ITeacher judge = Host is not null ? new HostTeacher(Host, asked, k, temperature) : new ModelTeacher(Kept ?? (IReplyScorer)new EncoderDecoderScorer(Model!), temperature);
        try
        {
            if (bridge is not null) judge = bridge.Judge(judge, theirs, ours);
        }
        catch (ArgumentException error) { throw new RecipeException($"distil.bridge: '{name}': {error.Message}", error); }
        return Host is null && k > 0 ? new TopKTeacher(judge, k, ours.Count) : judge;
    }

    /// <summary>Its runner as one that writes the student's tokens.</summary>
    public IRunner Writer(IRunner runner) => bridge is null ? runner : bridge.Writer(runner, theirs, ours);

    /// <summary>How its whole replies become the student's; <c>null</c> where it writes the student's tokens.</summary>
    public TextBridge? Texts => bridge?.Texts(theirs, ours);

    /// <exception cref="RecipeException">Its host cannot do what the stage asks.</exception>
    public void CheckHost(StageRecipe stage, DistillationObjective objective)
    {
        if (Host is { Writes: false } && objective.Replies.Sources.Contains(ReplySource.Teacher))
            throw new RecipeException($"Recipe: stage '{stage.Name}': {stage.Method} has the teacher write replies, and the host of '{name}' is too old to. Bring it up to date, or name the teacher's folder, or a run, in distil.teacher.");
        if (Host is { Longest: var (context, reply) } && (stage.MaxContext > context || stage.MaxReply > reply))
            throw new RecipeException($"Recipe: stage '{stage.Name}': maxContext {stage.MaxContext} and maxReply {stage.MaxReply} are more than the {context} and {reply} tokens that '{name}' takes.");
    }

    /// <summary>What can be said against a teacher without opening it or asking its host.</summary>
    /// <exception cref="RecipeException">There is no such run or folder, or it cannot do what the stage asks.</exception>
    public static void Check(StageRecipe stage, string name, string runs, IVocabularyBridge? bridge, DistillationObjective objective)
    {
        var atHost = TeacherHost.IsAddress(name);
        if (bridge?.Refuses(objective, stage.Distil!) is { } reason) throw new RecipeException($"Recipe: stage '{stage.Name}': {reason}");
        bool Helps(ReplySource source) => source == ReplySource.Filtered || (source == ReplySource.Mixed && objective.Replies.TeacherShare > 0);
        var (helps, writes) = (objective.Replies.Sources.Any(Helps), objective.Replies.Sources.Contains(ReplySource.Teacher));
        var instead = objective.Replies.Sources.Contains(ReplySource.Mixed) ? "Set distil.teacherShare to 0, or name" : "Name";
        if (atHost && helps)
            throw new RecipeException($"Recipe: stage '{stage.Name}': {stage.Method} has teacher and student write together, token by token, and a model host only judges what is written or writes whole replies. {instead} the teacher's folder, or a run, in distil.teacher.");
        if (atHost && writes && bridge is not null) throw new RecipeException($"Recipe: stage '{stage.Name}': {stage.Method} has the teacher write replies, and a model host writes them in its own tokens alone, not behind a bridge. Name the teacher's folder, or a run, in distil.teacher.");
        if ((helps && bridge is { Writes: false }) || (writes && bridge is { WritesTexts: false }))
            throw new RecipeException($"Recipe: stage '{stage.Name}': {stage.Method} has replies written by the teacher or with its help, and this bridge does not let it{(writes ? "" : " write token by token with the student")}. {instead} a teacher of the student's vocabulary.");
        if (!atHost && Run(name, runs) is null) RequireFolder(name, runs);
    }

    /// <summary>Whether the teacher can teach this student, without its weights: of a run or a folder the vocabulary is read, a host is asked.</summary>
    /// <exception cref="RecipeException">It cannot.</exception>
    /// <exception cref="TeacherLostException">Its host does not answer.</exception>
    public static void Probe(StageRecipe stage, string name, string runs, TokenNames ours, IVocabularyBridge? bridge, DistillationObjective objective, TeacherHostOptions hosts, TimeProvider time)
    {
        if (TeacherHost.IsAddress(name))
        {
            using var teacher = new OpenTeacher(name, runs, ours, bridge, ScalarType.Float32, CPU, keeps: false, hosts, time);
            teacher.CheckHost(stage, objective);
            teacher.Judge(SignalKind.Full, stage.Distil!.TopK, objective.Temperature);
            return;
        }
        var theirs = Find(name, runs).Names;
        try
        {
            if (bridge is null) RequireSame(name, theirs, ours);
            else bridge.Judge(new Unasked(), theirs, ours);
        }
        catch (ArgumentException error) { throw new RecipeException($"distil.{(bridge is null ? "teacher" : "bridge")}: '{name}': {error.Message}", error); }
    }

    public void Dispose()
    {
        Host?.Dispose();
        Kept?.Dispose();
        Model?.Dispose();
    }

    /// <summary>What a run or a model folder says, where its newest weights lie, and what reads these into a model in evaluation mode.</summary>
    private static (TokenNames Names, string Weights, Func<ScalarType, Device, EncoderDecoder> Load) Find(string name, string runs)
    {
        if (Run(name, runs) is { Newest: { } newest } run) return (Names(EncoderDecoderConfig.Load(run.Config), run.Tokenizer), newest, (type, device) => run.LoadModel(type, newest, device));
        RequireFolder(name, runs);
        var folder = ModelFolder.Open(name);
        return folder.Decoder is null ? (Names(folder.Config, Path.Combine(name, TokenizerFiles.HuggingFace)), name, (type, device) => folder.LoadModel(device, type))
            : throw new RecipeException($"distil.teacher: '{name}' is a decoder-only model, and students are encoder-decoders.");
    }

    /// <summary>The run of that name, where it has a checkpoint.</summary>
    private static RunFolder? Run(string name, string runs) => new RunFolder(Path.Combine(runs, name)) is { Newest: not null } run ? run : null;

    private static void RequireFolder(string name, string runs)
    {
        if (!File.Exists(Path.Combine(name, ModelFolder.ConfigFileName)))
            throw new RecipeException($"distil.teacher: '{name}' is neither a run with a checkpoint in {Path.GetFullPath(runs)} nor a model folder. Train it first, or name a folder, for example Chat.Models/Shipped/chat-teacher.");
    }

    private static TokenNames Names(EncoderDecoderConfig config, string tokenizer) =>
        TokenNames.Of(TokenizerFiles.LoadJson(tokenizer, new(config.Start, config.Separator, config.Pad, config.Pad)), config.VocabularySize);

    /// <summary>Stands for a teacher whose weights are not there yet.</summary>
    private sealed class Unasked : ITeacher
    {
        public SignalKind Kind => SignalKind.Full;

        public ITeacherRows Score(Batch batch) => throw new NotSupportedException("Nobody is there to be asked.");
    }

    private static void RequireSame(string name, TokenNames theirs, TokenNames ours)
    {
        if (theirs.FirstDifference(ours) is { } id)
            throw new ArgumentException($"token {id} of '{name}' is another than the student's, {theirs.Show(id)} there and {ours.Show(id)} here: take its vocabulary (tokenizer.from), or bridge the two (distil.bridge).");
        if (theirs.Count != ours.Count) throw new ArgumentException($"'{name}' has {theirs.Count} rows of scores and the student {ours.Count}: bridge the two (distil.bridge).");
    }
}
