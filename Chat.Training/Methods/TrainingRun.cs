using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>
/// Follows a recipe from wherever its run folder stands: vocabulary, then stage after stage. Calling it again with the same recipe goes on.
/// </summary>
/// <param name="runs">Folder with one folder a run.</param>
/// <param name="hosts">How a teacher at a model host is asked.</param>
/// <param name="device">What computes; the CPU when <c>null</c>. A run may go on on another one, though bit for bit only on the CPU.</param>
public sealed class TrainingRun(TrainingRecipe recipe, string recipeHash, string runs, CorpusFolder corpora, PluginCatalog plugins, TimeProvider time, TeacherHostOptions? hosts = null, Device? device = null)
{
    private readonly RunFolder folder = new(Path.Combine(runs, recipe.Name));
    private readonly Regex heldOut = new(recipe.HeldOut, RegexOptions.CultureInvariant);

    public RunFolder Folder => folder;

    /// <summary>The shape, as the model's config.json will say it.</summary>
    public static EncoderDecoderConfig Shape(ModelRecipe model, int vocabulary, double dropout) => new()
    {
        VocabularySize = vocabulary,
        Width = model.Width,
        FeedForward = model.FeedForward,
        Heads = model.Heads,
        HeadWidth = model.HeadWidth,
        EncoderLayers = model.EncoderLayers,
        DecoderLayers = model.DecoderLayers,
        AttentionScale = true,
        Dropout = dropout,
        InitialDeviation = model.InitialDeviation,
        Roles = false,
        Pad = TokenizerFile.Pad,
        Separator = TokenizerFile.Separator,
        Start = TokenizerFile.Start,
        MaxContext = model.MaxContext,
        MaxReply = model.MaxReply,
    };

    /// <returns>The last state; its stage is <c>null</c> when all stages are done.</returns>
    /// <param name="held">The run folder's lock, where the caller has it.</param>
    /// <exception cref="RecipeException">The run was begun with another recipe, or its stage with another teacher.</exception>
    /// <exception cref="TeacherLostException">A teacher at a model host answers no more. A checkpoint holds the last whole step.</exception>
    public RunState Follow(Action<string>? say, Action<TrainingProgress>? report, CancellationToken stop, IDisposable? held = null)
    {
        using var own = held is null ? folder.Lock() : null;
        try
        {
            return FollowLocked(say, report, stop);
        }
        catch (Exception error) when (error.GetType() == typeof(IOException) || error is UnauthorizedAccessException)
        {
            throw new IOException($"{error.Message} Run {folder.Root} stays at its newest checkpoint ({Path.GetFileName(folder.Newest) ?? "none"}): make room, or mend what is named, then the same command goes on.", error);
        }
    }

    private RunState FollowLocked(Action<string>? say, Action<TrainingProgress>? report, CancellationToken stop)
    {
        CheckStages();
        var pairs = Vocabulary(say);
        var encoder = new BytePairEncoder(pairs);
        WholeFile.WriteText(folder.Config, Shape(recipe.Model, encoder.VocabularySize, dropout: 0).ToJson());
        var state = folder.Resume(say);
        if (state is not null && state.RecipeHash != recipeHash)
            throw new RecipeException($"Run {folder.Root} was begun with another version of the recipe; give this one another name, or remove the folder.");
        if (state is { Stage: null }) return state;
        state ??= new RunState(recipe.Stages[0].Name, 0, 0, 0, 0, 0, null, null, 0, recipeHash);
        folder.CutJournal(state.TotalSteps);

        StageRecipe[] ahead = [.. recipe.Stages.SkipWhile(s => s.Name != state.Stage)];
        // A run that was killed between a stage's last step and the next stage needs that stage's teacher no more.
        foreach (var stage in ahead.Where(s => s != ahead[0] || !Trainer.IsOver(s, state))) Setup(stage).CheckTeacher(encoder.VocabularySize);
        foreach (var stage in ahead)
        {
            using var model = new EncoderDecoder(Shape(recipe.Model, encoder.VocabularySize, stage.Dropout), recipe.Seed, device, ScalarType.BFloat16);
            using var optimiser = new MasterAdamW(model.named_parameters(), stage.WeightDecay);
            Restore(optimiser, state);
            if (!Trainer.IsOver(stage, state)) state = Train(stage, model, optimiser, encoder, state, say, report, stop);
            if (stop.IsCancellationRequested && state.Step < stage.Steps) return state;
            if (Trainer.HasBest(stage, state)) folder.LoadTensors(optimiser, weightsOnly: true, folder.Best);

            var next = recipe.Stages.SkipWhile(s => s != stage).Skip(1).FirstOrDefault();
            state = state with { Stage = next?.Name, Step = 0, OptimiserSteps = 0, Cursor = null, Best = null, SinceBest = 0, Quality = null };
            folder.Save(state, optimiser);
            if (stop.IsCancellationRequested) return state;
        }
        return state;
    }

    private RunState Train(StageRecipe stage, EncoderDecoder model, MasterAdamW optimiser, BytePairEncoder encoder, RunState state, Action<string>? say, Action<TrainingProgress>? report, CancellationToken stop)
    {
        var heldOutSet = new HeldOutSet(recipe.Validation.Select(name => (name, HeldOut(name, encoder))), new SampleLimits(stage.MaxContext, stage.MaxReply), stage.BatchTokens);
        using var replies = stage.Quality is null ? null : Replies(stage, model);
        using var work = Setup(stage).Open(model, state.Cursor, mixture => Source(mixture, stage, encoder, say));
        say?.Invoke($"{stage.Name}: {EncoderDecoder.ParameterCount(model.Config):N0} parameters, {work.Tokens:N0} tokens in {stage.Mixture.Count} corpora, {heldOutSet.Samples} held-out samples");
        return new Trainer(model, folder, time, report).Train(stage, work.Work, optimiser, recipe.Seed, state, () => new(heldOutSet.Losses(model), replies?.Score()), stop);
    }

    /// <summary>What can be said against any stage before anything is trained: a mistake in the last one must not show after hours.</summary>
    private void CheckStages()
    {
        foreach (var (name, characters) in recipe.Tokenizer.Corpora ?? new Dictionary<string, long>())
        {
            TrainingRecipe.Require(characters > 0, $"tokenizer.corpora: {name} with {characters} characters");
            corpora.Find(name);
        }
        foreach (var name in recipe.Validation) corpora.Find(name);
        TrainingRecipe.Require(recipe.Start is null || ModelOf(recipe.Start) is not null || new RunFolder(Path.Combine(runs, recipe.Start)).Newest is not null, $"start: '{recipe.Start}' is neither a run with a checkpoint nor a model folder; train it first");
        foreach (var stage in recipe.Stages) Setup(stage).Check(corpora);
    }

    private StageSetup Setup(StageRecipe stage) => new(recipe, stage, folder, runs, plugins, hosts ?? TeacherHostOptions.Default, time);

    /// <summary>A stage in progress has its moments back; a stage that begins takes the weights alone.</summary>
    private void Restore(MasterAdamW optimiser, RunState state)
    {
        if (state.TotalSteps > 0)
        {
            folder.LoadTensors(optimiser, weightsOnly: state.Step == 0);
            optimiser.Steps = state.OptimiserSteps;
            return;
        }
        if (recipe.Start is { } start)
        {
            if (ModelOf(start) is { } folder) LoadFolder(folder, optimiser);
            else new RunFolder(Path.Combine(runs, start)).LoadTensors(optimiser, weightsOnly: true);
        }
        optimiser.Scale("shared.weight", recipe.EmbeddingScale);
    }

    /// <summary>The path itself where it is a model folder, and <c>null</c> where it is the name of a run.</summary>
    public static string? ModelOf(string start) => File.Exists(Path.Combine(start, ModelFolder.ConfigFileName)) && File.Exists(Path.Combine(start, Checkpoint.SingleFile)) ? start : null;

    /// <exception cref="RecipeException">A model of another shape.</exception>
    private void LoadFolder(string path, MasterAdamW optimiser)
    {
        using var model = ModelFolder.Open(path).LoadModel(dtype: ScalarType.Float32);
        using var gradients = no_grad();
        var given = model.named_parameters().ToDictionary(p => "weight/" + p.name, p => p.parameter);
        foreach (var (name, master) in optimiser.State.Where(s => s.Name.StartsWith("weight/", StringComparison.Ordinal)))
        {
            if (!given.TryGetValue(name, out var weight) || !weight.shape.SequenceEqual(master.shape))
                throw new RecipeException($"start: '{path}' has no {name[7..]} of [{string.Join(' ', master.shape)}]; the recipe's model must have its shape.");
            master.copy_(weight);
        }
        optimiser.Publish();
    }

    private BytePairs Vocabulary(Action<string>? say)
    {
        if (File.Exists(folder.Tokenizer)) return TokenizerFile.Read(File.ReadAllText(folder.Tokenizer));
        if (recipe.Tokenizer.From is { } other)
        {
            var source = ModelOf(other) is { } model ? Path.Combine(model, TokenizerFiles.HuggingFace) : Path.Combine(runs, other, TokenizerFiles.HuggingFace);
            if (!File.Exists(source)) throw new RecipeException($"tokenizer.from: '{other}' is no model folder, nor a run with a vocabulary; train it first.");
            WholeFile.Write(folder.Tokenizer, part => File.Copy(source, part));
            return TokenizerFile.Read(File.ReadAllText(folder.Tokenizer));
        }
        say?.Invoke($"vocabulary: counting {recipe.Tokenizer.Corpora!.Values.Sum():N0} characters");
        var trainer = new BytePairTrainer();
        foreach (var (name, characters) in recipe.Tokenizer.Corpora!) CountWords(trainer, name, characters);
        var pairs = trainer.Train(recipe.Tokenizer.Vocabulary - 256 - TokenizerFile.Specials.Count);
        WholeFile.WriteText(folder.Tokenizer, TokenizerFile.ToJson(pairs));
        return pairs;
    }

    /// <summary>Documents spread evenly over the corpus until so many characters are counted.</summary>
    private void CountWords(BytePairTrainer trainer, string corpus, long characters)
    {
        var documents = corpora.Read(corpus).Where(d => !heldOut.IsMatch(d.Scene)).ToArray();
        var total = documents.Sum(d => d.Turns.Sum(t => (long)t.Length));
        var share = Math.Min(1.0, (double)characters / Math.Max(1, total));
        for (var i = 0; i < documents.Length; i++)
        {
            if ((long)((i + 1) * share) == (long)(i * share)) continue;
            foreach (var turn in documents[i].Turns) trainer.Add(turn);
        }
    }

    private MixtureSource Source(MixtureRecipe mixture, StageRecipe stage, BytePairEncoder encoder, Action<string>? say)
    {
        var sampler = plugins.Create<ISampler>(mixture.As);
        var corpus = Tokens(mixture, encoder, say);
        return new MixtureSource(mixture.Corpus, corpus, sampler, sampler.Places(corpus, new SampleLimits(stage.MaxContext, stage.MaxReply)), mixture.Weight);
    }

    /// <summary>The corpus without its held-out documents, encoded once and kept in the run folder under a name made of what it depends on.</summary>
    private TokenizedCorpus Tokens(MixtureRecipe mixture, BytePairEncoder encoder, Action<string>? say)
    {
        var (name, wordings) = (mixture.Corpus, mixture.Templates is { } set ? JsonSerializer.Serialize(recipe.Templates![set], RecipeFile.Json) : "");
        var key = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(
            $"{RecipeFile.Hash(corpora.Find(name))} {RecipeFile.Hash(folder.Tokenizer)} {recipe.HeldOut}{wordings}")))[..16];
        var path = Path.Combine(Directory.CreateDirectory(Path.Combine(runs, "tokens")).FullName, $"{name}-{key}.tokens");
        if (File.Exists(path)) return TokenizedCorpus.Load(path);
        say?.Invoke($"encoding {name}");
        var corpus = TokenizedCorpus.Encode(Documents(name, mixture.Templates).Where(d => !heldOut.IsMatch(d.Scene)), encoder);
        var own = Path.Combine(folder.Root, Path.GetFileName(path) + ".part");                  // another run may be at the same corpus
        corpus.Save(own);
        File.Move(own, path, overwrite: true);
        return corpus;
    }

    /// <summary>A corpus, its instructions in every wording of a set. Scenes keep their beginning, so what is held out does not depend on wordings.</summary>
    private IEnumerable<Document> Documents(string corpus, string? templates) => templates is null ? corpora.Read(corpus)
        : from record in corpora.Records(corpus)
          from template in recipe.Templates![templates]
          let prompt = template.Prompt(record)
          where prompt is not null
          select new Document(corpus, record.Language, $"{record.Scene}/{template.Name}", [prompt, record.Output]);

    private TokenizedCorpus HeldOut(string name, BytePairEncoder encoder) => TokenizedCorpus.Encode(HeldOut(name), encoder);

    /// <summary>Worded as the stages word it that train on the corpus.</summary>
    private IEnumerable<Document> HeldOut(string name) =>
        Documents(name, recipe.Stages.SelectMany(s => s.Mixture).FirstOrDefault(m => m.Corpus == name && m.Templates is not null)?.Templates).Where(d => heldOut.IsMatch(d.Scene));

    private HeldOutReplies Replies(StageRecipe stage, EncoderDecoder model) => new(model, [.. recipe.Validation.Select(name => (name, (IReadOnlyList<Document>)[.. HeldOut(name)]))], stage.Quality!.Prompts,
        new ByteLevelTokenizer(TokenizerJson.Load(folder.Tokenizer), TokenizerFile.Tokens), new(stage.MaxContext, stage.MaxReply), get_num_threads(), folder.Root);
}
