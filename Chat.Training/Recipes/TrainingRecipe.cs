using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Chat.Training.Data;

namespace Chat.Training.Recipes;

/// <summary>How a model comes to be: a vocabulary, a shape, and stages that each teach from a mixture of corpora.</summary>
/// <param name="Name">Name of the run folder and of the model.</param>
/// <param name="Seed">All random choices follow from it.</param>
/// <param name="HeldOut">Regular expression over scenes (<c>campaign/file#n</c>): documents that match are never trained on.</param>
/// <param name="Validation">Dialogue corpora whose held-out part gives the validation loss, for example wesnoth-en and wesnoth-zh.</param>
/// <param name="Start">Name of a run whose newest weights are taken instead of fresh ones, or a model folder; its vocabulary must be this run's (<c>tokenizer.from</c>).</param>
/// <param name="EmbeddingScale">
/// Word embeddings are multiplied by it before the first step. Fresh ones have a deviation of 0.02, a fraction of what the first attention
/// adds to them: a word's identity then reaches the encoder's output late (DECISIONS.md). 16 or more puts that right.
/// </param>
/// <param name="Card">What the model's card says that training does not know; needed by <c>export</c>.</param>
/// <param name="Templates">Sets of wordings by name, for mixtures of instructions.</param>
public sealed record TrainingRecipe(
    string Name,
    ulong Seed,
    TokenizerRecipe Tokenizer,
    ModelRecipe Model,
    string HeldOut,
    IReadOnlyList<string> Validation,
    IReadOnlyList<StageRecipe> Stages,
    string? Start = null,
    double EmbeddingScale = 1,
    CardRecipe? Card = null,
    IReadOnlyDictionary<string, IReadOnlyList<PromptTemplate>>? Templates = null)
{
    /// <exception cref="RecipeException">A value out of its range; the message names it.</exception>
    public TrainingRecipe Checked()
    {
        Require(Name.Length > 0 && Name[0] != '.' && Name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.'), $"name '{Name}': letters, digits, '-' and '.' only, and no '.' at its beginning");
        try { _ = new Regex(HeldOut, RegexOptions.CultureInvariant); }
        catch (ArgumentException error) { throw new RecipeException($"Recipe: heldOut: {error.Message}", error); }
        Require(Stages.Count > 0, "stages: at least one");
        Require(Stages.Select(s => s.Name).Distinct(StringComparer.Ordinal).Count() == Stages.Count, "stages: names must differ");
        Require((Tokenizer.From is null) == (Tokenizer.Corpora is { Count: > 0 }), "tokenizer: give either 'from' (a run) or 'corpora' and 'vocabulary'");
        Require(Tokenizer.From is not null || Tokenizer.Vocabulary is >= 300 and <= 65_536, $"tokenizer.vocabulary {Tokenizer.Vocabulary}: 300 to 65536");
        Require(Model.Width > 0 && Model.FeedForward > 0 && Model.Heads > 0 && Model.HeadWidth > 0 && Model.EncoderLayers > 0 && Model.DecoderLayers > 0, "model: all sizes must be positive");
        Require(EmbeddingScale > 0 && double.IsFinite(EmbeddingScale), $"embeddingScale {EmbeddingScale} must be positive");
        Require(Model.MaxContext > 0 && Model.MaxReply > 0 && Model.InitialDeviation > 0, "model: maxContext, maxReply and initialDeviation must be positive");
        Require(Validation.Count > 0 || Stages.All(s => s.Patience == 0), "patience waits for a better validation loss: name a corpus in validation");
        foreach (var (set, templates) in Templates ?? new Dictionary<string, IReadOnlyList<PromptTemplate>>())
        {
            Require(templates.Count > 0 && templates.Select(t => t.Name).Distinct(StringComparer.Ordinal).Count() == templates.Count, $"templates '{set}': at least one, and names must differ");
            foreach (var template in templates) Require(template.Problem is null, $"templates '{set}', '{template.Name}': {template.Problem}");
        }
        foreach (var stage in Stages)
        {
            stage.Check();
            foreach (var entry in stage.Mixture.Concat(stage.Distil?.Text ?? []).Where(m => m.Templates is not null))
                Require(Templates?.ContainsKey(entry.Templates!) ?? false, $"stage '{stage.Name}': no templates '{entry.Templates}'; the recipe has {(Templates is null ? "none" : string.Join(", ", Templates.Keys))}");
        }
        Require(Validation.Count > 0 || Stages.All(s => s.Quality is null), "quality: it looks at replies to held-out prompts, and validation names no corpus");
        return this;
    }

    internal static void Require(bool condition, string message)
    {
        if (!condition) throw new RecipeException($"Recipe: {message}.");
    }
}

/// <param name="Id">The served model's id.</param>
/// <param name="Teacher">Id of the model it was distilled from.</param>
/// <param name="Parent">Id of the model its weights came from.</param>
/// <param name="Licence">Of the weights, with what is open about it.</param>
/// <param name="Notes">What a reader must know before using it.</param>
/// <param name="DefaultDecoding">Options used where nobody gives others.</param>
public sealed record CardRecipe(string Id, string Licence, string Notes, JsonObject DefaultDecoding, string? Teacher = null, string? Parent = null, string? DraftOf = null);

/// <param name="Vocabulary">Tokens, specials and bytes among them.</param>
/// <param name="Corpora">Corpus to the number of characters that are counted, from documents spread evenly over it.</param>
/// <param name="From">Name of a run, or a model folder, whose vocabulary is taken: teacher and student share one.</param>
public sealed record TokenizerRecipe(int Vocabulary = 0, IReadOnlyDictionary<string, long>? Corpora = null, string? From = null);

/// <summary>Sizes of the encoder-decoder (EVA2.0's architecture).</summary>
/// <param name="MaxContext">Tokens that serving feeds the encoder at most.</param>
/// <param name="MaxReply">Tokens that serving generates at most.</param>
public sealed record ModelRecipe(int Width, int FeedForward, int Heads, int EncoderLayers, int DecoderLayers, int HeadWidth = 64, double InitialDeviation = 0.02, int MaxContext = 128, int MaxReply = 64);

/// <summary>A stretch of training with one method, one mixture and one schedule.</summary>
/// <param name="Method">Plugin of kind <c>method</c>, which learns from the mixture as it is, or of kind <c>objective</c>, which distils.</param>
/// <param name="BatchTokens">Tokens of a batch, both sides with their padding, at most.</param>
/// <param name="Accumulate">Batches an update learns from. A batch holds samples of like length, hence often of one corpus: several make an update less one-sided.</param>
/// <param name="LearningRate">At its highest.</param>
/// <param name="Schedule"><c>constant</c>, <c>cosine</c>, <c>linear</c> (both fall to <paramref name="FinalShare"/> of the rate) or <c>noam</c>; all after a linear warm-up.</param>
/// <param name="ValidateEvery">Steps between two validations.</param>
/// <param name="SaveEvery">Steps between two checkpoints.</param>
/// <param name="Patience">Validations without a better loss after which the stage ends with its best weights; 0 never.</param>
/// <param name="Distil">What an objective is to do otherwise than its preset, and who teaches.</param>
/// <param name="Pack">Rows of a batch hold several short samples, which do not see each other, instead of pads.</param>
/// <param name="Quality">Validations look at replies too, and the stage ends with the weights that gave the best.</param>
public sealed record StageRecipe(
    string Name,
    string Method,
    int Steps,
    int BatchTokens,
    double LearningRate,
    IReadOnlyList<MixtureRecipe> Mixture,
    int MaxContext,
    int MaxReply,
    int Warmup = 100,
    string Schedule = "constant",
    double FinalShare = 0.0,
    double Clip = 1.0,
    double WeightDecay = 0.01,
    double Dropout = 0.0,
    int Accumulate = 1,
    int ValidateEvery = 200,
    int SaveEvery = 200,
    int Patience = 0,
    DistilRecipe? Distil = null,
    QualityStopRecipe? Quality = null,
    bool Pack = false)
{
    internal void Check()
    {
        void Require(bool condition, string message) => TrainingRecipe.Require(condition, $"stage '{Name}': {message}");
        Require(Steps > 0, $"steps {Steps} must be positive");
        Require(MaxContext >= 8 && MaxReply >= 4, $"maxContext {MaxContext} must be at least 8, maxReply {MaxReply} at least 4");
        Require(BatchTokens >= MaxContext + MaxReply, $"batchTokens {BatchTokens} must hold one sample of {MaxContext} + {MaxReply}");
        Require(Accumulate > 0, $"accumulate {Accumulate} must be positive");
        Require(LearningRate is > 0 and <= 1e37, $"learningRate {LearningRate} must be positive, and a tenth of what float32 holds at most");
        Require(Schedule is "constant" or "cosine" or "linear" or "noam", $"schedule '{Schedule}' is none of constant, cosine, linear, noam");
        Require(FinalShare is >= 0 and <= 1, $"finalShare {FinalShare} must be in [0, 1]");
        Require(Clip > 0 && WeightDecay is >= 0 and < 1, $"clip {Clip} must be positive, weightDecay {WeightDecay} in [0, 1)");
        Require(Dropout is >= 0 and < 1, $"dropout {Dropout} must be in [0, 1)");
        Require(Warmup >= 0 && ValidateEvery > 0 && SaveEvery > 0 && Patience >= 0, "warmup and patience must not be negative, validateEvery and saveEvery be positive");
        Require(Quality is null or { Prompts: > 0, Patience: >= 0, MinDelta: >= 0 and < 1 }, "quality: prompts must be positive, patience not negative, minDelta in [0, 1)");
        Require(Mixture.Count > 0 && Mixture.All(m => m.Weight > 0), "mixture: at least one corpus, all weights positive");
    }
}

/// <summary>
/// Ends a stage by what the model says, greedily, to held-out prompts of the recipe's validation corpora: where Rouge-L stops rising, or, in a distillation, where replies collapse.
/// </summary>
/// <param name="Prompts">Of all corpora together.</param>
/// <param name="Patience">Validations without a better Rouge-L after which the stage ends; 0: only a collapse ends it.</param>
/// <param name="MinDelta">What Rouge-L, 0 to 1, must rise by to count as better.</param>
public sealed record QualityStopRecipe(int Prompts = 64, int Patience = 5, double MinDelta = 0.001);

/// <summary>One corpus of a mixture.</summary>
/// <param name="Corpus">Its file lies in the data folder, or with the repository's own corpora.</param>
/// <param name="As">Plugin of kind <c>sampler</c>: <c>dialogue</c>, <c>answer</c>, <c>instruction</c> or <c>continuation</c>.</param>
/// <param name="Weight">Its share of the samples is its weight over the sum of all.</param>
/// <param name="Templates">Name of a set of the recipe's templates: every record of instruction, input and output is put into each of its wordings.</param>
public sealed record MixtureRecipe(string Corpus, string As, double Weight, string? Templates = null);

/// <summary>A wording of instructions: what the model reads for a record of instruction and input; its reply is the record's output.</summary>
/// <param name="Name">Unique in its set; it ends the sample's scene.</param>
/// <param name="Plain">For records without input, with <c>{instruction}</c>.</param>
/// <param name="WithInput">For records with one, with <c>{instruction}</c> and <c>{input}</c>; <c>null</c>: those are not put into this wording.</param>
/// <param name="Language">Of the records it is for; <c>null</c>: all.</param>
public sealed record PromptTemplate(string Name, string Plain, string? WithInput = null, string? Language = null)
{
    private const string Instruction = "{instruction}", Input = "{input}";

    /// <summary>What is wrong with it, or <c>null</c>.</summary>
    internal string? Problem => Name.Length == 0 || Name.Contains('/', StringComparison.Ordinal) ? "a name has letters and no slash"
        : !Plain.Contains(Instruction, StringComparison.Ordinal) || Plain.Contains(Input, StringComparison.Ordinal) ? "plain must have {instruction}, and no {input}"
        : WithInput is not null && !(WithInput.Contains(Instruction, StringComparison.Ordinal) && WithInput.Contains(Input, StringComparison.Ordinal)) ? "withInput must have {instruction} and {input}"
        : null;

    /// <summary>What the model reads; <c>null</c> where the wording is not for such a record.</summary>
    public string? Prompt(InstructionRecord record)
    {
        if (Language is not null && Language != record.Language) return null;
        // One pass, so that what a record says is never taken for a field.
        return (record.Input.Length == 0 ? Plain : WithInput)?.Split(Instruction) is { } parts ? string.Join(record.Instruction, parts.Select(part => part.Replace(Input, record.Input, StringComparison.Ordinal))) : null;
    }
}
