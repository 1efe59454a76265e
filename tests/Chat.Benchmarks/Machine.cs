using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Chat.Benchmarks;

/// <summary>What the machine says of itself. Linux; elsewhere the load is unknown.</summary>
internal static class Machine
{
    public static string LoadAverage() => File.Exists("/proc/loadavg") ? File.ReadAllText("/proc/loadavg").Split(' ')[0] : "unknown";

    /// <summary>What the processor has given to this thread, in ticks of <see cref="Stopwatch.Frequency"/>. With one thread both engines of a duel compute on the caller's.</summary>
    public static long ThreadTime()
    {
        const int thread = 3;
        _ = GetTime(thread, out var time);
        return time.Seconds * Stopwatch.Frequency + time.Nanoseconds * Stopwatch.Frequency / 1_000_000_000;
    }

    private struct Time
    {
        public long Seconds, Nanoseconds;
    }

    [DllImport("libc", EntryPoint = "clock_gettime")]
    private static extern int GetTime(int clock, out Time time);
}
