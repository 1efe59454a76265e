using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>A stage's work with what it holds open.</summary>
/// <param name="Tokens">Of the mixture's corpora.</param>
public sealed record OpenStage(IStageWork Work, long Tokens, IReadOnlyList<IDisposable> Held) : IDisposable
{
    public void Dispose()
    {
        foreach (var each in Held) each.Dispose();
    }
}

/// <summary>Opens what a stage learns from: the mixture for a method; for an objective the teacher, the engine that writes and the text beside it as well.</summary>
public sealed class StageSetup(TrainingRecipe recipe, StageRecipe stage, RunFolder folder, string runs, PluginCatalog plugins, TimeProvider time)
{
    private const string Method = "method", Objective = "objective";

    /// <summary>What can be said against the stage without opening anything.</summary>
    /// <inheritdoc cref="Open"/>
    /// <exception cref="FileNotFoundException">No such corpus.</exception>
    public void Check(CorpusFolder corpora)
    {
        foreach (var mixture in stage.Mixture.Concat(stage.Distil?.Text ?? []))
        {
            plugins.Get("sampler", mixture.As);
            corpora.Find(mixture.Corpus);
        }
        if (ConfiguredObjective() is { NeedsTeacher: true } && TeacherRun(stage.Distil!.Teacher!) is null) CheckModelFolder(stage.Distil.Teacher!);
    }

    /// <param name="cursor">Where the stage stood, or <c>null</c> at its beginning.</param>
    /// <param name="source">Encodes a corpus.</param>
    /// <exception cref="RecipeException">No such teacher, another vocabulary, choices that do not go together.</exception>
    /// <exception cref="UnknownPluginException">Neither a method nor an objective.</exception>
    public OpenStage Open(EncoderDecoder model, StageCursor? cursor, Func<MixtureRecipe, MixtureSource> source)
    {
        MixtureSource[] sources = [.. stage.Mixture.Select(source)];
        var tokens = sources.Sum(s => (long)s.Corpus.Tokens);
        if (ConfiguredObjective() is not { } objective)
        {
            var method = plugins.Create<ITrainingMethod>(stage.Method);
            return new(new MethodWork(model, method, Stream(sources, cursor?.Stream, stage.Pack), stage.Accumulate), tokens, []);
        }

        var distil = stage.Distil ?? new();
        List<IDisposable> held = [];
        EncoderDecoder? teacher = null;
        if (objective.NeedsTeacher)
        {
            teacher = Teacher(distil.Teacher!, model);
            held.Add(teacher);
        }
        IReplyScorer? scorer = teacher is null ? null : new EncoderDecoderScorer(teacher);
        var kept = scorer is not null && objective.Delivery.NeedsLogprobs ? new KeptRows(scorer) : null;
        if (kept is not null) held.Insert(0, kept);
        ITeacher? signal = scorer is null ? null : new ModelTeacher(kept ?? scorer, objective.Temperature);
        if (signal is not null && distil.Cache is { } file)
        {
            var words = new TeacherCache(Path.Combine(runs, file), CacheHeader(distil, model.Config.VocabularySize), signal);
            held.Add(words);
            signal = words;
        }
        else if (signal is not null && distil.TopK > 0) signal = new TopKTeacher(signal, distil.TopK, model.Config.VocabularySize);

        var clock = new WorkClock(time);
        var vocabulary = TokenTable.From(Tokenizer(folder.Tokenizer), model.Config.VocabularySize);
        var models = new RolloutModels(model, teacher, vocabulary, stage.MaxReply, stage.BatchTokens, get_num_threads(), folder.Root, clock, kept);
        held.Add(models);
        var trajectories = new TrajectorySource(objective.Replies, objective.Delivery.NeedsLogprobs, models, at => Stream(sources, at), stage.BatchTokens, stage.Accumulate, recipe.Seed, cursor?.Trajectories);
        var text = objective.TextWeight == 0 ? null : Stream([.. distil.Text!.Select(source)], cursor?.Text);
        return new(new DistillationWork(objective, new EncoderDecoderScorer(model), signal, trajectories, text, new(cursor?.Alarm), clock), tokens, held);
    }

    /// <summary>The stage's objective as its recipe wants it; <c>null</c> where it has a method.</summary>
    private DistillationObjective? ConfiguredObjective()
    {
        void Require(bool condition, string message) => TrainingRecipe.Require(condition, $"stage '{stage.Name}': {message}");
        if (plugins.OfKind(Objective).All(p => p.Name != stage.Method))
        {
            if (plugins.OfKind(Method).All(p => p.Name != stage.Method)) throw new UnknownPluginException("method or objective", stage.Method, plugins.OfKind(Method).Concat(plugins.OfKind(Objective)).Select(p => p.Name));
            Require(stage.Distil is null, $"distil is for objectives, and '{stage.Method}' is a method");
            return null;
        }
        Require(!stage.Pack, $"pack is for methods, and '{stage.Method}' is an objective");
        var distil = stage.Distil ?? new();
        var objective = distil.Apply(stage.Method, plugins.Create<IObjective>(stage.Method).Default);
        Require(!objective.NeedsTeacher || distil.Teacher is not null, $"{stage.Method} needs distil.teacher, a run or a model folder");
        Require(distil.Cache is null || objective.Temperature == 1, $"a cache holds the teacher's words at temperature 1, not {objective.Temperature}");
        try { objective.Check(!objective.NeedsTeacher ? SignalKind.None : distil.TopK > 0 ? SignalKind.TopK : SignalKind.Full); }
        catch (ArgumentException error) { throw new RecipeException($"Recipe: stage '{stage.Name}': {error.Message}", error); }
        return objective;
    }

    private MixtureStream Stream(IReadOnlyList<MixtureSource> sources, StreamCursor? at, bool pack = false) => new(sources, new SampleLimits(stage.MaxContext, stage.MaxReply), stage.BatchTokens, recipe.Seed, at, pack);

    /// <summary>A run's newest weights, or a model folder's, in the student's type and in evaluation mode.</summary>
    private EncoderDecoder Teacher(string name, EncoderDecoder student)
    {
        if (TeacherRun(name) is { } run)
        {
            CheckVocabulary(name, run.Tokenizer);
            return run.LoadModel(student.WeightType);
        }
        CheckModelFolder(name);
        CheckVocabulary(name, Path.Combine(name, TokenizerFiles.HuggingFace));
        return ModelFolder.Open(name).LoadModel(dtype: student.WeightType);
    }

    /// <summary>The run of that name, where it has a checkpoint.</summary>
    private RunFolder? TeacherRun(string name) => new RunFolder(Path.Combine(runs, name)) is { Newest: not null } run ? run : null;

    private void CheckModelFolder(string name)
    {
        if (!File.Exists(Path.Combine(name, ModelFolder.ConfigFileName)))
            throw new RecipeException($"distil.teacher: '{name}' is neither a run with a checkpoint in {Path.GetFullPath(runs)} nor a model folder. Train it first, or name a folder, for example Chat.Models/Shipped/chat-teacher.");
    }

    private TeacherCacheHeader CacheHeader(DistilRecipe distil, int vocabulary)
    {
        var weights = ModelFolder.Hash(TeacherRun(distil.Teacher!)?.Newest ?? distil.Teacher!);
        return new(weights, RecipeFile.Hash(folder.Tokenizer), vocabulary, distil.TopK > 0 ? SignalKind.TopK : SignalKind.Full, distil.TopK > 0 ? distil.TopK : vocabulary);
    }

    /// <summary>Token by token: equal sizes prove nothing.</summary>
    private void CheckVocabulary(string name, string file)
    {
        ByteLevelTokenizer ours = Tokenizer(folder.Tokenizer), theirs = Tokenizer(file);
        if (ours.VocabularySize != theirs.VocabularySize) throw new RecipeException($"distil.teacher: '{name}' has {theirs.VocabularySize} tokens, the student {ours.VocabularySize}: take its vocabulary (tokenizer.from).");
        for (var id = 0; id < ours.VocabularySize; id++)
            if (!ours.Bytes(id).SequenceEqual(theirs.Bytes(id))) throw new RecipeException($"distil.teacher: token {id} of '{name}' is another than the student's: take its vocabulary (tokenizer.from).");
    }

    private static ByteLevelTokenizer Tokenizer(string file) => new(TokenizerJson.Load(file), Tokenization.TokenizerFile.Tokens);
}
