using Chat.Training.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Objectives;

/// <summary>Adds up what parts of an update took, so that a run can say where its time went. One thread.</summary>
/// <param name="device">What computes. A GPU is waited for at both ends of a part: it is only told what to do, and the time would count for whoever asks for a number next.</param>
public sealed class WorkClock(TimeProvider time, Device? device = null)
{
    private double sampling, teacher;

    /// <summary>Time until it is disposed of goes into writing replies.</summary>
    public IDisposable Sampling() => new Span(this, seconds => sampling += seconds);

    /// <summary>Time until it is disposed of goes into asking the teacher.</summary>
    public IDisposable Teacher() => new Span(this, seconds => teacher += seconds);

    /// <summary>What was counted since it was last asked.</summary>
    public UpdateSeconds Take()
    {
        var taken = new UpdateSeconds(sampling, teacher);
        (sampling, teacher) = (0, 0);
        return taken;
    }

    private long Now()
    {
        if (device is { type: DeviceType.CUDA }) cuda.synchronize(device);
        return time.GetTimestamp();
    }

    private double Since(long began) => time.GetElapsedTime(began, Now()).TotalSeconds;

    private sealed class Span(WorkClock clock, Action<double> add) : IDisposable
    {
        private readonly long began = clock.Now();

        public void Dispose() => add(clock.Since(began));
    }
}

/// <summary>A teacher whose time is counted: its pass, and the head for each chunk of rows.</summary>
internal sealed class TimedTeacher(ITeacher teacher, WorkClock clock) : ITeacher
{
    public SignalKind Kind => teacher.Kind;

    public ITeacherRows Score(Batch batch)
    {
        using var timed = clock.Teacher();
        return new Rows(teacher.Score(batch), clock);
    }

    private sealed class Rows(ITeacherRows rows, WorkClock clock) : ITeacherRows
    {
        public SignalKind Kind => rows.Kind;

        public (Tensor P, Tensor Q) Align(int from, int count, Tensor q)
        {
            using var timed = clock.Teacher();
            return rows.Align(from, count, q);
        }

        public int Together(int from, int most) => rows.Together(from, most);

        public double[] Labels() => rows.Labels();

        public void Dispose() => rows.Dispose();
    }
}
