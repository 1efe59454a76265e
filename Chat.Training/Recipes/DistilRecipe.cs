using Chat.Training.Objectives;

namespace Chat.Training.Recipes;

/// <summary>
/// How a stage distils: what differs from its objective's preset. What is left out stays the preset's.
/// </summary>
/// <param name="Teacher">Name of a run, whose newest weights teach, a model folder, or <c>http://HOST:PORT/MODEL</c>, a model host; its vocabulary must be the student's, token by token.</param>
/// <param name="Bridge">What makes a teacher of another vocabulary understood: <c>tokens</c> where the student's tokens are all among the teacher's, under whatever ids; <c>spans</c> or <c>uld</c> where the two cut texts differently.</param>
/// <param name="Divergence"><c>fkl</c>, <c>rkl</c>, <c>tvd</c>, <c>jsd:β</c>, <c>skl:a</c>, <c>srkl:a</c> or <c>preference:β</c>, for objectives that back-propagate one.</param>
/// <param name="Likelihood">Share of likelihood beside it, 0 to 1.</param>
/// <param name="Temperature">Both sides' scores are divided by it before a divergence is measured.</param>
/// <param name="TopK">The teacher says only its best so many tokens; 0: all.</param>
/// <param name="Cache">File in the folder of runs where the teacher's words are kept and found again, for objectives that learn from the data's or the teacher's own replies.</param>
/// <param name="Share">λ: how often replies are written, 0 to 1; else the data's are learnt from.</param>
/// <param name="TeacherShare">α of the mixture that replies are drawn from, 0 up to below 1.</param>
/// <param name="FilterTop">K of the teacher's filter.</param>
/// <param name="Replies">Replies written at a time.</param>
/// <param name="Epochs">How often each is learnt from.</param>
/// <param name="Replay">Replies kept by the adaptive scheme.</param>
/// <param name="SampleTemperature">Scores are divided by it when replies are drawn.</param>
/// <param name="TextWeight">Weight of the plain text in <paramref name="Text"/>.</param>
/// <param name="Text">Corpora of plain text.</param>
/// <param name="SampleMean">Each reply counts the same; else each token.</param>
/// <param name="Reference">MiniLLM as its published code does it, not as its paper says.</param>
/// <param name="SingleStep">Off: MiniLLM samples the single step too (an ablation of the paper).</param>
/// <param name="LengthNormalise">Off: rewards are summed, not averaged (another).</param>
/// <param name="Weights">Importance weights of a policy gradient: <c>none</c>, <c>step</c>, <c>sequence</c> or <c>perDecision</c>.</param>
/// <param name="Whiten">Advantages less their mean over their deviation; MiniLLM's code does so, its paper does not say it.</param>
/// <param name="Clip">ε of a policy gradient.</param>
public sealed record DistilRecipe(
    string? Teacher = null,
    string? Bridge = null,
    string? Divergence = null,
    double? Likelihood = null,
    double? Temperature = null,
    int TopK = 0,
    string? Cache = null,
    double? Share = null,
    double? TeacherShare = null,
    int? FilterTop = null,
    int? Replies = null,
    int? Epochs = null,
    int? Replay = null,
    double? SampleTemperature = null,
    double? TextWeight = null,
    IReadOnlyList<MixtureRecipe>? Text = null,
    bool? SampleMean = null,
    bool Reference = false,
    bool? SingleStep = null,
    bool? LengthNormalise = null,
    ImportanceWeights? Weights = null,
    bool? Whiten = null,
    double? Clip = null)
{
    /// <summary>The preset with what the recipe says otherwise.</summary>
    /// <exception cref="RecipeException">A value out of its range, or one that the objective has no use for.</exception>
    public DistillationObjective Apply(string name, DistillationObjective preset)
    {
        void Require(bool condition, string message) => TrainingRecipe.Require(condition, $"distil ({name}): {message}");
        Require(TopK >= 0, $"topK {TopK} must not be negative");
        Require(Share is null or >= 0 and <= 1, $"share {Share} must be in [0, 1]");
        Require(TeacherShare is null or >= 0 and < 1, $"teacherShare {TeacherShare} must be in [0, 1)");
        Require(Likelihood is null or >= 0 and <= 1, $"likelihood {Likelihood} must be in [0, 1]");
        Require(Temperature is null or > 0 and <= 100 && SampleTemperature is null or > 0 and <= 2, "temperature must be in (0, 100], sampleTemperature in (0, 2]");
        Require(FilterTop is null or > 0 && Epochs is null or > 0 && Replies is null or >= 0 && Replay is null or >= 0, "filterTop and epochs must be positive, replies and replay not negative");
        Require(Clip is null or > 0 and < 1, $"clip {Clip} must be between 0 and 1");
        Require(TextWeight is null or >= 0, $"textWeight {TextWeight} must not be negative");
        Require(Text is null || Text.All(m => m.Weight > 0), "text: all weights positive");
        Require((TextWeight ?? preset.TextWeight) == 0 || Text is { Count: > 0 }, "this objective learns from plain text beside the replies: name its corpora in 'text', or set textWeight to 0");

        var delivery = preset.Delivery;
        switch (delivery)
        {
            case DirectDelivery direct:
                Require(!Reference && SingleStep is null && LengthNormalise is null && Weights is null && Whiten is null && Clip is null, "reference, singleStep, lengthNormalise, weights, whiten and clip are a policy gradient's");
                delivery = direct with { Measure = Divergence is null ? direct.Measure : Parse(name, Divergence), LikelihoodShare = Likelihood ?? direct.LikelihoodShare };
                break;
            case PolicyDelivery policy:
                Require(Divergence is null && Likelihood is null, "a policy gradient follows KL(q‖p): divergence and likelihood have no meaning here");
                if (Reference) policy = PolicyDelivery.Reference;
                delivery = policy with
                {
                    SingleStep = SingleStep ?? policy.SingleStep,
                    CountCurrent = policy.CountCurrent || SingleStep == false,
                    LengthNormalise = LengthNormalise ?? policy.LengthNormalise,
                    TeacherShare = TeacherShare ?? policy.TeacherShare,
                    Weights = Weights ?? policy.Weights,
                    Whiten = Whiten ?? policy.Whiten,
                    Clip = Clip ?? policy.Clip,
                };
                break;
            default:
                Require(Divergence is null && Likelihood is null && !Reference && SingleStep is null && LengthNormalise is null && Weights is null && Whiten is null && Clip is null,
                    "divergence, likelihood, reference, singleStep, lengthNormalise, weights, whiten and clip have no meaning here");
                break;
        }
        var replies = preset.Replies;
        return preset with
        {
            Delivery = delivery,
            TextWeight = TextWeight ?? preset.TextWeight,
            Temperature = Temperature ?? preset.Temperature,
            SampleMean = SampleMean ?? preset.SampleMean,
            Replies = replies with
            {
                Share = Share ?? replies.Share,
                TeacherShare = TeacherShare ?? replies.TeacherShare,
                FilterTop = FilterTop ?? replies.FilterTop,
                AtOnce = Replies ?? replies.AtOnce,
                Epochs = Epochs ?? replies.Epochs,
                Replay = Replay ?? replies.Replay,
                Temperature = SampleTemperature ?? replies.Temperature,
            },
        };
    }

    private static Divergence Parse(string name, string text)
    {
        try { return Objectives.Divergence.Parse(text); }
        catch (FormatException error) { throw new RecipeException($"Recipe: distil ({name}): {error.Message}", error); }
    }
}
