using Chat.Models.Kernels;

namespace Chat.Models.Engine;

/// <summary>Shares the steps of a forward pass out over a team, without allocating. One pass at a time.</summary>
internal sealed unsafe class CpuWork
{
    // Below this many bytes or operations a thread is done before another one has looked.
    private const long Alone = 48 << 10;
    private const long SmallestChunk = 8 << 10, LargestChunk = 128 << 10;
    private readonly Team team;
    private readonly Action<int, int> multiply;
    private WeightMatrix? matrix;
    private VectorBatch? x;
    private int tokens, panelsInChunk;
    private float* y;
    private long stride;

    public CpuWork(Team team)
    {
        this.team = team;
        multiply = MultiplyChunk;
    }

    public int Threads => team.Size;

    /// <summary>y[t] = W·x[t] for the first <paramref name="count"/> tokens.</summary>
    public void Multiply(WeightMatrix by, VectorBatch activations, int count, float* target, long targetStride)
    {
        (matrix, x, tokens, stride) = (by, activations, count, targetStride);
        y = target;
        var isSmall = by.Bytes * Math.Max(1, count / 4) <= Alone;
        var chunk = isSmall ? by.Bytes : Math.Clamp(by.Bytes / (team.Size * 8), SmallestChunk, LargestChunk);
        panelsInChunk = Math.Max((int)(by.Panels * chunk / by.Bytes), (by.Panels + Team.MostChunks - 1) / Team.MostChunks);
        team.Run((by.Panels + panelsInChunk - 1) / panelsInChunk, multiply);
    }

    /// <summary>Calls <paramref name="body"/> for each of <paramref name="count"/> independent pieces that take so many operations each.</summary>
    public void Each(int count, long operations, Action<int, int> body)
    {
        if (count * operations > Alone && count <= Team.MostChunks) team.Run(count, body);
        else for (var i = 0; i < count; i++) body(i, 0);
    }

    private void MultiplyChunk(int chunk, int thread)
    {
        var end = Math.Min((chunk + 1) * panelsInChunk, matrix!.Panels);
        for (var panel = chunk * panelsInChunk; panel < end; panel++) matrix.Multiply(panel, x!, tokens, y, stride);
    }
}
