using Chat.Models.Architectures;
using Chat.Models.Modules;
using Chat.Training.Objectives;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>Where a stage's sources stand.</summary>
/// <param name="Stream">Of the mixture, where samples come straight from it.</param>
/// <param name="Trajectories">Of the replies that a distillation learns from.</param>
/// <param name="Text">Of the plain text learnt beside them.</param>
/// <param name="Alarm">What is watched of the student's own replies.</param>
/// <param name="Teacher">Content hash of the teacher's weights; <c>null</c> where none teaches, or an older version wrote it.</param>
public sealed record StageCursor(StreamCursor? Stream = null, TrajectoryState? Trajectories = null, StreamCursor? Text = null, IReadOnlyDictionary<string, AlarmFigure>? Alarm = null, string? Teacher = null);

/// <summary>What an update found.</summary>
/// <param name="Loss">In nats.</param>
/// <param name="Tokens">Real tokens of both sides that were learnt from.</param>
/// <param name="Parts">Further figures by name, for the journal.</param>
/// <param name="Alarm">What somebody should look at now.</param>
/// <param name="Seconds">Where the time went, if not all of it into learning.</param>
public sealed record UpdateReport(double Loss, long Tokens, IReadOnlyDictionary<string, double>? Parts = null, string? Alarm = null, UpdateSeconds? Seconds = null);

/// <summary>Seconds that were not learning: writing replies (a teacher that is mixed in writes too), and asking the teacher about them. By the clock, so no part of what a resumed run repeats.</summary>
public sealed record UpdateSeconds(double Sampling, double Teacher);

/// <summary>What the updates of a stage learn from, and how. One thread, the trainer's.</summary>
public interface IStageWork
{
    StageCursor Cursor { get; }

    /// <summary>Adds the gradients of one update to the model's parameters.</summary>
    /// <param name="progress">Share of the stage that is done.</param>
    /// <exception cref="DivergedException">The loss is no number.</exception>
    UpdateReport Learn(double progress);

    /// <summary>Hears of each validation's mean loss.</summary>
    void Validated(double loss) { }
}

/// <summary>A method's loss on batches of a mixture.</summary>
public sealed class MethodWork(EncoderDecoder model, ITrainingMethod method, MixtureStream stream, int batchesPerUpdate) : IStageWork
{
    public StageCursor Cursor => new(stream.Cursor);

    public UpdateReport Learn(double progress)
    {
        Batch[] batches = [.. Enumerable.Range(0, batchesPerUpdate).Select(_ => stream.Next())];
        var whole = batches.Sum(method.Weight);
        var value = 0.0;
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            var loss = method.Loss(model, batch).Times(method.Weight(batch) / whole);
            value += loss.item<float>();
            if (!double.IsFinite(value)) throw new DivergedException($"The loss is {value}");
            loss.backward();                                                                    // adds to the gradients
        }
        return new(value, batches.Sum(b => (long)b.Tokens));
    }
}
