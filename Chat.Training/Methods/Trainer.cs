using Chat.Models.Architectures;
using Chat.Models.Modules;
using Chat.Training.Recipes;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>A loss that is no number. The newest checkpoint is from before it.</summary>
public sealed class DivergedException(string message) : Exception(message);

/// <summary>
/// The one training loop: batches, loss, backward, clip, update, journal. What is taught is the method's, from what the stream's.
/// All of it on the calling thread; stopping is asked for by the token and leaves a checkpoint.
/// </summary>
public sealed class Trainer(EncoderDecoder model, RunFolder folder, TimeProvider time, Action<TrainingProgress>? report = null)
{
    /// <summary>Trains one stage from <paramref name="state"/> on.</summary>
    /// <param name="open">Opens the stage's stream at a cursor.</param>
    /// <param name="validate">Held-out losses; their mean decides about patience.</param>
    /// <returns>The state at the stage's end, or where it was stopped.</returns>
    /// <exception cref="DivergedException">The loss or the gradient is not finite.</exception>
    public RunState Train(
        StageRecipe stage, ITrainingMethod method, MasterAdamW optimiser, ulong seed, RunState state,
        Func<StreamCursor?, MixtureStream> open, Func<HeldOutLosses> validate, CancellationToken stop)
    {
        var stream = open(state.Cursor);
        using var journal = new StreamWriter(folder.Journal, append: true) { AutoFlush = true };
        model.train();
        while (state.Step < stage.Steps && !stop.IsCancellationRequested)
        {
            var began = time.GetTimestamp();
            Batch[] batches = [.. Enumerable.Range(0, stage.Accumulate).Select(_ => stream.Next())];
            var tokens = batches.Sum(b => b.Tokens);
            var step = state.Step + 1;
            var rate = Schedule.Rate(stage, step);
            var (loss, norm) = Update(method, optimiser, batches, rate, stage, RandomStream.Of(seed, "dropout " + stage.Name, step));
            var seconds = time.GetElapsedTime(began).TotalSeconds;
            state = state with
            {
                Step = step, OptimiserSteps = optimiser.Steps, TotalSteps = state.TotalSteps + 1, Tokens = state.Tokens + tokens,
                Seconds = state.Seconds + seconds, Cursor = stream.Cursor,
            };
            var speed = tokens / Math.Max(seconds, 1e-9);
            journal.WriteLine(new JournalEntry(state.TotalSteps, stage.Name, loss, norm, rate, state.Tokens, Math.Round(speed)).ToLine());
            report?.Invoke(new TrainingProgress(stage, step, loss, speed, null));

            if (step % stage.ValidateEvery == 0 || step == stage.Steps)
            {
                var losses = validate();
                model.train();
                var mean = losses.Loss.Count == 0 ? double.NaN : losses.Loss.Values.Average();
                journal.WriteLine(new JournalEntry(state.TotalSteps, stage.Name, Validation: losses.Loss, ContextGain: losses.ContextGain).ToLine());
                report?.Invoke(new TrainingProgress(stage, step, loss, speed, losses.Loss));
                state = mean < (state.Best ?? double.PositiveInfinity) ? state with { Best = mean, SinceBest = 0 } : state with { SinceBest = state.SinceBest + 1 };
                if (stage.Patience > 0 && state.SinceBest >= stage.Patience) break;
            }
            if (step % stage.SaveEvery == 0) Save(state, optimiser);
        }
        Save(state, optimiser);
        return state;
    }

    private (double Loss, double Norm) Update(ITrainingMethod method, MasterAdamW optimiser, Batch[] batches, double rate, StageRecipe stage, RandomStream random)
    {
        if (stage.Dropout > 0) Generator.Default.manual_seed((long)(random.Next() >> 1));       // modules draw their masks from torch's own stream
        var whole = batches.Sum(method.Weight);
        var value = 0.0;
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            var loss = method.Loss(model, batch).Times(method.Weight(batch) / whole);
            value += loss.item<float>();
            if (!double.IsFinite(value)) throw Diverged("loss", value);
            loss.backward();                                                                    // adds to the gradients
        }
        var norm = optimiser.GradientNorm();
        if (!double.IsFinite(norm)) throw Diverged("gradient norm", norm);
        optimiser.Step(rate, norm, stage.Clip);
        return (value, norm);
    }

    private void Save(RunState state, MasterAdamW optimiser)
    {
        folder.Save(state, optimiser);
        LossCurve.Draw(folder.Journal, folder.LossCurve, Path.GetFileName(folder.Root));
    }

    private DivergedException Diverged(string what, double value) => new(
        $"The {what} is {value}: training diverged. The newest checkpoint is {folder.Newest ?? "none"}. Lower the stage's learningRate or clip, or lengthen its warmup, in a recipe of another name.");
}

/// <summary>What a progress bar shows.</summary>
/// <param name="Validation">Set when a validation was just made.</param>
public sealed record TrainingProgress(StageRecipe Stage, long Step, double Loss, double TokensPerSecond, IReadOnlyDictionary<string, double>? Validation);
