using Chat.Training.Recipes;

namespace Chat.Training.Methods;

/// <summary>Learning rates.</summary>
public static class Schedule
{
    /// <param name="step">Number of the update, from 1.</param>
    public static double Rate(StageRecipe stage, long step)
    {
        var warm = stage.Warmup == 0 ? 1 : Math.Min(1, (double)step / stage.Warmup);
        var done = Math.Clamp((double)(step - stage.Warmup) / Math.Max(1, stage.Steps - stage.Warmup), 0, 1);
        return stage.LearningRate * stage.Schedule switch
        {
            "constant" => warm,
            "linear" => warm * (1 - done * (1 - stage.FinalShare)),
            "cosine" => warm * (stage.FinalShare + (1 - stage.FinalShare) * 0.5 * (1 + Math.Cos(Math.PI * done))),
            // Vaswani et al.; EVA's code divides by the root of the step without giving the warm-up's back, here the peak is the rate that is written.
            "noam" => step < stage.Warmup ? warm : Math.Sqrt(Math.Max(1, stage.Warmup) / (double)step),
            _ => throw new RecipeException($"schedule '{stage.Schedule}' is none of constant, cosine, linear, noam."),
        };
    }
}
