using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Chat.Models.Kernels;

/// <summary>Instructions that the integer kernels are written for. All give the same bits; they differ in speed and in the machines that have them.</summary>
public enum InstructionPath
{
    /// <summary>Whatever vectors the runtime has: ARM, old x86, or none.</summary>
    Portable,

    /// <summary>x86 of 2013 and later.</summary>
    Avx2,

    /// <summary>Sixteen rows a register, 16-bit products.</summary>
    Avx512,

    /// <summary>Four products and their sum in one instruction (AVX-VNNI: Alder Lake, Sapphire Rapids, Zen 5 and later).</summary>
    AvxVnni,

    /// <summary>The same with sixteen rows a register (Cascade Lake, Ice Lake, Zen 4 and later), by machine code of our own: <see cref="VnniCode"/>.</summary>
    Avx512Vnni,
}

/// <summary>Which paths this machine has.</summary>
public static class InstructionPaths
{
    /// <summary>From the slowest to the fastest with int8 weights.</summary>
    public static IReadOnlyList<InstructionPath> Supported { get; } =
        [.. Enum.GetValues<InstructionPath>().Where(IsSupported)];

    /// <summary>The fastest for int8 weights, and for int4 ones: these must be unpacked first, which whole registers of 512 bits make up for (BENCHMARKS.md).</summary>
    public static InstructionPath Int8 => Supported[^1];
    public static InstructionPath Int4 => Supported[^1] == InstructionPath.AvxVnni && IsSupported(InstructionPath.Avx512) ? InstructionPath.Avx512 : Supported[^1];

    public static bool IsSupported(InstructionPath path) => path switch
    {
        InstructionPath.Avx512Vnni => VnniCode.IsSupported,
        InstructionPath.AvxVnni => AvxVnni.IsSupported,
        InstructionPath.Avx512 => Avx512BW.IsSupported && Vector512.IsHardwareAccelerated,
        InstructionPath.Avx2 => Avx2.IsSupported,
        _ => true,
    };
}
