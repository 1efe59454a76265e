using System.CommandLine;
using System.Diagnostics;
using Chat.Models.Kernels;

namespace Chat.Benchmarks;

/// <summary>Packed products alone: bytes of weights a second, beside what plain reading of as much memory gets at that moment. What fits a cache stays in it.</summary>
internal static class KernelSpeed
{
    // A round ends within milliseconds, before the system gives the processor to somebody else: on a busy machine the best round is the kernel's speed.
    private const long WalkedInARound = 64 << 20;

    public static Command Command()
    {
        var rows = new Option<int>("--rows") { DefaultValueFactory = _ => 1536 };
        var columns = new Option<int>("--columns") { DefaultValueFactory = _ => 256 };
        var batches = new Option<int[]>("--batch") { DefaultValueFactory = _ => [1, 2, 4, 8, 32], AllowMultipleArgumentsPerToken = true };
        var threads = new Option<int>("--threads") { DefaultValueFactory = _ => Environment.ProcessorCount };
        var rounds = new Option<int>("--rounds") { DefaultValueFactory = _ => 31 };
        var command = new Command("kernels", "Bytes of weights a second, by format, instruction path and batch size.") { rows, columns, batches, threads, rounds };
        command.SetAction(result => Run(result.GetValue(rows), result.GetValue(columns), result.GetValue(batches)!, result.GetValue(threads), result.GetValue(rounds)));
        return command;
    }

    private static void Run(int rows, int columns, int[] batches, int threads, int rounds)
    {
        using var team = new Team(threads);
        Console.WriteLine($"[{rows} × {columns}], {threads} threads on {Environment.ProcessorCount} processors, {rounds} rounds");
        RowReader read = (first, count, target) =>
        {
            for (var i = 0; i < target.Length; i++) target[i] = (first + i) % 31 - 15;
        };
        Measure(team, "bfloat16", new FloatMatrix<BFloat16Pair>(rows, columns, read), batches, rounds);
        foreach (var path in InstructionPaths.Supported.Where(path => path != InstructionPath.Portable))
        {
            Measure(team, $"int8, {path}", new IntegerMatrix<Int8Codes>(rows, columns, read, path), batches, rounds);
            Measure(team, $"int4, {path}", new IntegerMatrix<Int4Codes>(rows, columns, read, path), batches, rounds);
        }
    }

    private static unsafe void Measure(Team team, string name, WeightMatrix matrix, int[] batches, int rounds)
    {
        using var plain = PlainReading.Memory((int)matrix.Bytes);
        foreach (var batch in batches)
        {
            var times = Math.Max(1, WalkedInARound / matrix.Bytes / batch);
            using var x = new VectorBatch(batch, matrix.Columns, sealable: true);
            for (var t = 0; t < batch; t++)
            {
                for (var i = 0; i < matrix.Columns; i++) x.Row(t)[i] = MathF.Cos(t * matrix.Columns + i);
                x.Seal(t);
            }
            var stride = matrix.Panels * WeightMatrix.PanelRows;
            using var y = NativeBuffer.OfFloats((long)batch * stride);
            const int pieces = 64;
            var panels = (matrix.Panels + pieces - 1) / pieces;
            Action<int, int> multiply = (piece, _) =>
            {
                for (var panel = piece * panels; panel < Math.Min((piece + 1) * panels, matrix.Panels); panel++) matrix.Multiply(panel, x, batch, y.Floats, stride);
            };
            Action<int, int> walk = (piece, _) => PlainReading.Walk(plain.Pointer + matrix.Bytes / pieces * piece, matrix.Bytes / pieces);
            List<double> rates = [], reads = [];
            for (var round = 0; round <= rounds; round++)
            {
                var (rate, readRate) = (Rate(multiply), Rate(walk));
                if (round == 0) continue;
                rates.Add(rate);
                reads.Add(rate / readRate);
            }
            Figures.PrintQuantiles($"{name}, batch {batch}", rates, "GB/s");
            if (batch == batches[0]) Figures.PrintQuantiles("  … of plain reading", reads, "×");

            double Rate(Action<int, int> body)
            {
                var start = Stopwatch.GetTimestamp();
                for (var time = 0; time < times; time++) team.Run(pieces, body);
                return matrix.Bytes * (double)times / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e9;
            }
        }
        matrix.Dispose();
    }
}
