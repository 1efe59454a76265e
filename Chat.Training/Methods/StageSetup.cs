using Chat.Domain.Plugins;
using Chat.Models.Architectures;
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
public sealed class StageSetup(TrainingRecipe recipe, StageRecipe stage, RunFolder folder, string runs, PluginCatalog plugins, TeacherHostOptions hosts, TimeProvider time)
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
        if (ConfiguredObjective() is { NeedsTeacher: true } objective) OpenTeacher.Check(stage, stage.Distil!.Teacher!, runs, Bridge(stage.Distil), objective);
    }

    /// <summary>Whether the stage's teacher speaks a vocabulary that its student understands; a model host is asked once. Loads no weights.</summary>
    /// <param name="vocabulary">Of the student, whose tokenizer lies in the run folder.</param>
    /// <exception cref="RecipeException">It does not, or the host serves something else than is wanted.</exception>
    /// <exception cref="TeacherLostException">The host does not answer.</exception>
    public void CheckTeacher(int vocabulary)
    {
        if (ConfiguredObjective() is not { NeedsTeacher: true } objective) return;
        var distil = stage.Distil!;
        OpenTeacher.Probe(stage, distil.Teacher!, runs, TokenNames.Of(Tokenizer(), vocabulary), Bridge(distil), objective, hosts.Once, time);
    }

    /// <param name="cursor">Where the stage stood, or <c>null</c> at its beginning.</param>
    /// <param name="source">Encodes a corpus.</param>
    /// <exception cref="RecipeException">No such teacher, another one than the stage began with, another vocabulary, choices that do not go together.</exception>
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
        var clock = new WorkClock(time, model.WeightDevice);
        var tokenizer = Tokenizer();
        List<IDisposable> held = [];
        try
        {
            OpenTeacher? teacher = null;
            ITeacher? signal = null;
            if (objective.NeedsTeacher)
            {
                held.Add(teacher = new(distil.Teacher!, runs, TokenNames.Of(tokenizer, model.Config.VocabularySize), Bridge(distil), model.WeightType, model.WeightDevice, objective.Delivery.NeedsLogprobs, hosts, time));
                teacher.CheckHost(stage, objective);
                if (cursor?.Teacher is { } before && before != teacher.Hash)
                    throw new RecipeException($"distil.teacher: '{distil.Teacher}' has other weights ({teacher.Hash[..12]}…) than when stage '{stage.Name}' began ({before[..12]}…): it was trained further or exchanged. Put those back (a run teaches from its newest checkpoint, an exported folder stays as it is), or give the recipe another name to begin anew.");
                signal = teacher.Judge(SignalKind.Full, distil.Cache is null || teacher.SendsBest ? distil.TopK : 0, objective.Temperature);
                if (distil.Cache is { } file)
                {
                    var words = new TeacherCache(Path.Combine(runs, file), CacheHeader(distil.TopK, teacher.Hash, model.Config.VocabularySize), signal);
                    held.Add(words);
                    signal = words;
                }
            }
            SampleLimits? pack = stage.Pack ? Limits : null;                              // of what is learnt from; prompts come as without it
            var vocabulary = TokenTable.From(tokenizer, model.Config.VocabularySize);
            var models = new RolloutModels(model, teacher?.Model, vocabulary, stage.MaxReply, stage.BatchTokens, get_num_threads(), folder.Root, teacher?.Judge(SignalKind.Sampled, 0, 1), teacher is null ? null : teacher.Writer, clock, teacher?.Kept, teacher?.Host, teacher?.Texts, pack);
            held.Add(models);
            var trajectories = new TrajectorySource(objective.Replies, objective.Delivery.NeedsLogprobs, models, at => Stream(sources, at), stage.BatchTokens, stage.Accumulate, recipe.Seed, cursor?.Trajectories, pack);
            var text = objective.TextWeight == 0 ? null : Stream([.. distil.Text!.Select(source)], cursor?.Text);
            return new(new DistillationWork(objective, new EncoderDecoderScorer(model), signal, trajectories, text, new(cursor?.Alarm), clock, teacher?.Hash, pack), tokens, held);
        }
        catch
        {
            foreach (var each in held) each.Dispose();
            throw;
        }
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
        var distil = stage.Distil ?? new();
        var objective = distil.Apply(stage.Method, plugins.Create<IObjective>(stage.Method).Default);
        Require(!objective.NeedsTeacher || distil.Teacher is not null, $"{stage.Method} needs distil.teacher, a run, a model folder or a model host's address");
        Require(distil.Cache is null || objective.Temperature == 1, $"a cache holds the teacher's words at temperature 1, not {objective.Temperature}");
        try { objective.Check(!objective.NeedsTeacher ? SignalKind.None : distil.TopK > 0 ? SignalKind.TopK : SignalKind.Full); }
        catch (ArgumentException error) { throw new RecipeException($"Recipe: stage '{stage.Name}': {error.Message}", error); }
        return objective;
    }

    private SampleLimits Limits => new(stage.MaxContext, stage.MaxReply);

    private MixtureStream Stream(IReadOnlyList<MixtureSource> sources, StreamCursor? at, bool pack = false) => new(sources, Limits, stage.BatchTokens, recipe.Seed, at, pack);

    private ByteLevelTokenizer Tokenizer() => new(TokenizerJson.Load(folder.Tokenizer), Tokenization.TokenizerFile.Tokens);

    private IVocabularyBridge? Bridge(DistilRecipe distil) => distil.Bridge is null ? null : plugins.Create<IVocabularyBridge>(distil.Bridge);

    private TeacherCacheHeader CacheHeader(int k, string teacher, int vocabulary) =>
        new(teacher, RecipeFile.Hash(folder.Tokenizer), vocabulary, k > 0 ? SignalKind.TopK : SignalKind.Full, k > 0 ? k : vocabulary);
}
