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
    /// <param name="validate">Held-out losses, whose mean decides about patience, and replies where the stage looks at them.</param>
    /// <returns>The state at the stage's end, or where it was stopped.</returns>
    /// <exception cref="DivergedException">The loss or the gradient is not finite.</exception>
    /// <exception cref="TeacherLostException">The teacher answers no more; the last whole step is saved.</exception>
    public RunState Train(StageRecipe stage, IStageWork work, MasterAdamW optimiser, ulong seed, RunState state, Func<StageValidation> validate, CancellationToken stop)
    {
        using var journal = new Journal(folder, state.TotalSteps + 1, time);
        using var span = TrainingMeter.Spans.StartActivity("stage")?.SetTag(TrainingMeter.Stage, stage.Name);
        model.train();
        while (!IsOver(stage, state) && !stop.IsCancellationRequested)
        {
            var began = time.GetTimestamp();
            var step = state.Step + 1;
            var rate = Schedule.Rate(stage, step);
            if (stage.Dropout > 0) SeedTorch((long)(RandomStream.Of(seed, "dropout " + stage.Name, step).Next() >> 1));
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
                SamplingSeconds = state.SamplingSeconds + (update.Seconds?.Sampling ?? 0), TeacherSeconds = state.TeacherSeconds + (update.Seconds?.Teacher ?? 0),
            };
            var speed = tokens / Math.Max(seconds, 1e-9);
            var entry = new JournalEntry(state.TotalSteps, stage.Name, loss, norm, rate, state.Tokens, Math.Round(speed), Parts: update.Parts, Alarm: update.Alarm, Seconds: update.Seconds);
            journal.Write(entry);
            TrainingMeter.Updated(entry, tokens, seconds);
            report?.Invoke(new TrainingProgress(stage, step, loss, speed, null, state, update.Alarm));

            if (step % stage.ValidateEvery == 0 || step == stage.Steps)
            {
                using var validation = TrainingMeter.Spans.StartActivity("validation");
                var (losses, replies) = validate();
                model.train();
                if (!losses.Loss.Values.All(double.IsFinite)) throw Diverged("A held-out loss is no number");
                if (losses.Loss.Count > 0) work.Validated(losses.Loss.Values.Average());
                state = Judged(stage, state with { Cursor = work.Cursor }, losses, replies);
                var ending = Ending(stage, state);
                journal.Write(new(state.TotalSteps, stage.Name, Validation: losses.Loss, ContextGain: losses.ContextGain, Replies: replies, Ended: ending));
                report?.Invoke(new TrainingProgress(stage, step, loss, speed, losses.Loss, state, ending));
                if (BestIsNow(stage, state)) folder.SaveBest(state, optimiser);
            }
            if (step % stage.SaveEvery == 0) Save(state, optimiser);
        }
        Save(state, optimiser);
        return state;
    }

    /// <summary>Modules draw their masks from torch's own stream, of which each device has one.</summary>
    private void SeedTorch(long seed)
    {
        if (model.WeightDevice.type == DeviceType.CPU) Generator.Default.manual_seed(seed);
        else cuda.manual_seed_all(seed);
    }

    /// <summary>Whether the stage that <paramref name="state"/> stands in has no step left.</summary>
    public static bool IsOver(StageRecipe stage, RunState state) => state.Step >= stage.Steps || Ending(stage, state) is not null;

    /// <summary>Why a stage ends before its last step; <c>null</c>: it does not. A function of the state, so a run that was killed here ends here.</summary>
    private static string? Ending(StageRecipe stage, RunState state) =>
        stage.Quality is { } quality && state.Quality?.Ending(quality) is { } reason ? reason
        : stage.Patience > 0 && state.SinceBest >= stage.Patience ? $"The held-out loss has not fallen for {state.SinceBest} validations; the stage ends with its best weights."
        : null;

    /// <summary>Whether the stage keeps its best weights, and has such.</summary>
    public static bool HasBest(StageRecipe stage, RunState state) => stage.Quality is not null ? state.Quality is not null : stage.Patience > 0 && state.Best is not null;

    private static bool BestIsNow(StageRecipe stage, RunState state) => HasBest(stage, state) && (stage.Quality is null ? state.SinceBest : state.Quality!.Since) == 0;

    private static RunState Judged(StageRecipe stage, RunState state, HeldOutLosses losses, ReplyFigures? replies)
    {
        if (losses.Loss.Count == 0) return state;
        var mean = losses.Loss.Values.Average();
        state = mean < (state.Best ?? double.PositiveInfinity) ? state with { Best = mean, SinceBest = 0 } : state with { SinceBest = state.SinceBest + 1 };
        return stage.Quality is null || replies is null ? state
            : state with { Quality = ReplyQuality.After(state.Quality, replies, state.TotalSteps, stage.Quality.MinDelta, state.Cursor?.Alarm) };
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
            throw Diverged(error.Message);
        }
    }

    private DivergedException Diverged(string what) =>
        new($"{what}: training diverged. The newest checkpoint is {folder.Newest ?? "none"}. Lower the stage's learningRate or clip, or lengthen its warmup, in a recipe of another name.");

    private void Save(RunState state, MasterAdamW optimiser)
    {
        if (!optimiser.IsFinite()) throw Diverged("Weights became NaN or infinite");
        folder.Save(state, optimiser);
        LossCurve.Draw(folder.Journal, folder.LossCurve, Path.GetFileName(folder.Root));
    }
}

/// <summary>What a validation found.</summary>
/// <param name="Replies"><c>null</c> where the stage does not look at them.</param>
public sealed record StageValidation(HeldOutLosses Losses, ReplyFigures? Replies = null);

/// <summary>What a progress bar shows.</summary>
/// <param name="Validation">Set when a validation was just made.</param>
/// <param name="State">After this step, not yet saved.</param>
/// <param name="Alarm">What somebody should look at now.</param>
public sealed record TrainingProgress(StageRecipe Stage, long Step, double Loss, double TokensPerSecond, IReadOnlyDictionary<string, double>? Validation, RunState State, string? Alarm = null);
