using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Chat.Models.Kernels;

/// <summary>
/// The product of a panel and a few vectors as machine code for AVX-512 VNNI, which .NET 10 has no intrinsics for (dotnet/runtime#86849): sixty-four products of bytes
/// in one instruction, two to three times as fast as what C# reaches on the same processor. Made when a width is first met and kept for the process.
/// <para>
/// The code is for one width, so that every operand is a register and a constant. It takes 1, 2, 4 or 8 tokens at once; the weights of a group are loaded
/// once for all of them, the activations are broadcast by the instruction that multiplies. Arithmetic and its order are those of
/// <see cref="IntegerMatrix{TCodes}"/>'s other paths.
/// </para>
/// </summary>
internal sealed unsafe class VnniCode
{
    private const int Group = WeightMatrix.ColumnStep, Lanes = WeightMatrix.PanelRows;

    // Weights come from memory while several tokens are computed: eight tokens twice as fast. Into the second cache, since the first is full of activations, and there it made
    // things slower. With one token, or two and twice the bytes, the processor's own look-ahead is better.
    private const int Ahead = 8192;
    private static readonly ConcurrentDictionary<(int ZeroBits, int Groups), VnniCode> Made = [];
    private readonly delegate* unmanaged<byte*, ushort*, sbyte*, float*, int*, float*, long, void> one, two, four, eight;

    private VnniCode(int zeroBits, int groups)
    {
        var code = new EvexAssembler();
        int[] starts = [.. new[] { 1, 2, 4, 8 }.Select(tokens => Write(code, zeroBits, groups, tokens))];
        var memory = ExecutableMemory.Of(code.Bytes);
        one = At(0);
        two = At(1);
        four = At(2);
        eight = At(3);

        delegate* unmanaged<byte*, ushort*, sbyte*, float*, int*, float*, long, void> At(int which) =>
            (delegate* unmanaged<byte*, ushort*, sbyte*, float*, int*, float*, long, void>)(memory + starts[which]);
    }

    /// <summary>Whether processor and system have what it takes: the instructions, the calling convention it is written for, and memory that may hold code.</summary>
    public static bool IsSupported { get; } = OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64
        && Avx512BW.IsSupported && Vector512.IsHardwareAccelerated && (X86Base.CpuId(7, 0).Ecx >> 11 & 1) == 1 && ExecutableMemory.IsAllowed;

    /// <param name="zeroBits">7 for a byte a weight, 3 for four bits.</param>
    /// <param name="groups">Groups of 32 columns a row has.</param>
    public static VnniCode For(int zeroBits, int groups) => Made.GetOrAdd((zeroBits, groups), key => new(key.ZeroBits, key.Groups));

    /// <summary>A panel's results for the first <paramref name="tokens"/> vectors.</summary>
    /// <param name="stride">Floats from one token's results to the next's.</param>
    public void Multiply(byte* codes, ushort* scales, VectorBatch x, int tokens, float* y, long stride)
    {
        for (var token = 0; token < tokens;)
        {
            var (function, count) = (tokens - token) switch { >= 8 => ((nint)eight, 8), >= 4 => ((nint)four, 4), >= 2 => ((nint)two, 2), _ => ((nint)one, 1) };
            ((delegate* unmanaged<byte*, ushort*, sbyte*, float*, int*, float*, long, void>)function)(codes, scales, x.Codes(token), x.Scales(token), x.Sums(token), y + token * stride, stride * sizeof(float));
            token += count;
        }
    }

    /// <summary>Appends the function for so many tokens.</summary>
    /// <returns>Where it starts.</returns>
    private static int Write(EvexAssembler code, int zeroBits, int groups, int tokens)
    {
        // System V: the first six arguments come in registers, the seventh on the stack; all vector registers are free to use.
        const int w = EvexAssembler.Rdi, s = EvexAssembler.Rsi, x = EvexAssembler.Rdx, scales = EvexAssembler.Rcx, sums = EvexAssembler.R8, y = EvexAssembler.R9, count = EvexAssembler.R10, stride = EvexAssembler.Rax;
        const int total = 0, sum = 8, weights = 16, far = 17, product = 20, factor = 21, offset = 22, scale = 28, zero = 30, low = 31;
        var small = zeroBits == 3;
        var groupBytes = small ? 256 : 512;
        // An instruction's sum is ready four or five cycles later: few tokens need several sums each to keep the processor busy.
        var parts = Math.Max(1, 4 / tokens);
        int Sum(int token, int part) => sum + token * parts + part;

        var start = code.Begin();
        code.LoadStackArgument(stride, 0);
        code.Move(count, groups);
        for (var token = 0; token < tokens; token++) code.Clear(total + token);
        code.Clear(zero);
        if (small) code.FillBytes(low, 0x0f, EvexAssembler.R11);

        var loop = code.Position;
        for (var token = 0; token < tokens; token++)
        {
            code.ShiftLeft32(offset, new EvexAddress(sums, token * groups * sizeof(int), Broadcast: true), zeroBits);
            code.Subtract32(Sum(token, 0), zero, offset);
            for (var part = 1; part < parts; part++) code.Clear(Sum(token, part));
        }
        for (var load = 0; load < groupBytes / 64; load++)
        {
            if (tokens >= (small ? 2 : 4)) code.Prefetch(new(w, Ahead + load * 64));
            code.Load(weights, new(w, load * 64));
            if (small)
            {
                code.ShiftRight16(far, weights, 4);
                code.And(far, low, far);
                code.And(weights, low, weights);
            }
            for (var token = 0; token < tokens; token++) code.MultiplyAddBytes(Sum(token, load % parts), weights, new(x, token * groups * Group + load * 4, Broadcast: true));
            if (small) for (var token = 0; token < tokens; token++) code.MultiplyAddBytes(Sum(token, load % parts), far, new(x, token * groups * Group + Group / 2 + load * 4, Broadcast: true));
        }
        code.WidenWords(scale, new(s, 0));
        code.ShiftLeft32(scale, scale, 16);
        for (var token = 0; token < tokens; token++)
        {
            for (var part = 1; part < parts; part++) code.Add32(Sum(token, 0), Sum(token, 0), Sum(token, part));
            code.ToFloats(product, Sum(token, 0));
            code.Multiply(factor, scale, new(scales, token * groups * sizeof(float), Broadcast: true));
            code.MultiplyAdd(total + token, product, factor);
        }
        code.Add(w, groupBytes);
        code.Add(s, Lanes * sizeof(ushort));
        code.Add(x, Group);
        code.Add(scales, sizeof(float));
        code.Add(sums, sizeof(int));
        code.LoopWhileNotZero(count, loop);

        for (var token = 0; token < tokens; token++)
        {
            code.Store(new(y, 0), total + token);
            code.AddRegister(y, stride);
        }
        code.Return();
        return start;
    }
}
