using Chat.Models.Architectures;
using Chat.Models.Modules;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>A loss that is no number. The newest checkpoint is from before it.</summary>
public sealed class DivergedException(string message) : Exception(message);

/// <summary>
/// The one training loop: gradients, clip, update, journal. What is taught, and from what, is the stage's work.
/// All of it on the calling thread; stopping is asked for by the token and leaves a checkpoint.
/// </summary>
public sealed class Trainer(EncoderDecoder model, RunFolder folder, TimeProvider time, Action<TrainingProgress>? report = null)
{
    /// <summary>Trains one stage from <paramref name="state"/> on.</summary>
    /// <param name="work">Stands where <paramref name="state"/> does.</param>
    /// <param name="validate">Held-out losses; their mean decides about patience.</param>
    /// <returns>The state at the stage's end, or where it was stopped.</returns>
    /// <exception cref="DivergedException">The loss or the gradient is not finite.</exception>
    /// <exception cref="TeacherLostException">The teacher answers no more; the last whole step is saved.</exception>
    public RunState Train(StageRecipe stage, IStageWork work, MasterAdamW optimiser, ulong seed, RunState state, Func<HeldOutLosses> validate, CancellationToken stop)
    {
        using var journal = new Journal(folder, state.TotalSteps + 1, time);
        model.train();
        while (state.Step < stage.Steps && !stop.IsCancellationRequested)
        {
            var began = time.GetTimestamp();
            var step = state.Step + 1;
            var rate = Schedule.Rate(stage, step);
            if (stage.Dropout > 0) Generator.Default.manual_seed((long)(RandomStream.Of(seed, "dropout " + stage.Name, step).Next() >> 1));       // modules draw their masks from torch's own stream
            UpdateReport update;
            double norm;
            try
            {
                (update, norm) = Update(work, optimiser, rate, stage, (step - 1) / (double)stage.Steps);
            }
            catch (TeacherLostException)
            {
                if (state.Step > 0) Save(state, optimiser);                                // weights and cursor are those before this step
                throw;
            }
            var seconds = time.GetElapsedTime(began).TotalSeconds;
            var (loss, tokens) = (update.Loss, update.Tokens);
            state = state with
            {
                Step = step, OptimiserSteps = optimiser.Steps, TotalSteps = state.TotalSteps + 1, Tokens = state.Tokens + tokens,
                Seconds = state.Seconds + seconds, Cursor = work.Cursor,
            };
            var speed = tokens / Math.Max(seconds, 1e-9);
            journal.Write(new(state.TotalSteps, stage.Name, loss, norm, rate, state.Tokens, Math.Round(speed), Parts: update.Parts, Alarm: update.Alarm));
            report?.Invoke(new TrainingProgress(stage, step, loss, speed, null, update.Alarm));

            if (step % stage.ValidateEvery == 0 || step == stage.Steps)
            {
                var losses = validate();
                model.train();
                var mean = losses.Loss.Count == 0 ? double.NaN : losses.Loss.Values.Average();
                journal.Write(new(state.TotalSteps, stage.Name, Validation: losses.Loss, ContextGain: losses.ContextGain));
                report?.Invoke(new TrainingProgress(stage, step, loss, speed, losses.Loss));
                work.Validated(mean);
                state = state with { Cursor = work.Cursor };
                state = mean < (state.Best ?? double.PositiveInfinity) ? state with { Best = mean, SinceBest = 0 } : state with { SinceBest = state.SinceBest + 1 };
                if (stage.Patience > 0 && state.SinceBest >= stage.Patience) break;
            }
            if (step % stage.SaveEvery == 0) Save(state, optimiser);
        }
        Save(state, optimiser);
        return state;
    }

    private (UpdateReport Report, double Norm) Update(IStageWork work, MasterAdamW optimiser, double rate, StageRecipe stage, double progress)
    {
        try
        {
            var report = work.Learn(progress);
            var norm = optimiser.GradientNorm();
            if (!double.IsFinite(norm)) throw new DivergedException($"The gradient norm is {norm}");
            optimiser.Step(rate, norm, stage.Clip);
            return (report, norm);
        }
        catch (DivergedException error)
        {
            throw new DivergedException(
                $"{error.Message}: training diverged. The newest checkpoint is {folder.Newest ?? "none"}. Lower the stage's learningRate or clip, or lengthen its warmup, in a recipe of another name.");
        }
    }

    private void Save(RunState state, MasterAdamW optimiser)
    {
        folder.Save(state, optimiser);
        LossCurve.Draw(folder.Journal, folder.LossCurve, Path.GetFileName(folder.Root));
    }
}

/// <summary>What a progress bar shows.</summary>
/// <param name="Validation">Set when a validation was just made.</param>
/// <param name="Alarm">What somebody should look at now.</param>
public sealed record TrainingProgress(StageRecipe Stage, long Step, double Loss, double TokensPerSecond, IReadOnlyDictionary<string, double>? Validation, string? Alarm = null);
