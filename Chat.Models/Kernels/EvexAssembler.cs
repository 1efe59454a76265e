using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Chat.Models.Kernels;

/// <summary>What an address is: a register and a constant; broadcast means one 32-bit number for all lanes.</summary>
internal readonly record struct EvexAddress(int Register, int Offset, bool Broadcast = false);

/// <summary>
/// The few x86-64 instructions that <see cref="VnniCode"/> needs, as bytes (Intel's Software Developer's Manual, volume 2, sections 2.7 and 3 to 5).
/// Vector registers are numbered 0 to 31 and 512 bits wide. Addresses always have a 32-bit offset, which spares EVEX's scaled short ones.
/// </summary>
internal sealed class EvexAssembler
{
    public const int Rax = 0, Rcx = 1, Rdx = 2, Rsi = 6, Rdi = 7, R8 = 8, R9 = 9, R10 = 10, R11 = 11;
    private const int None = 0, Prefix66 = 1, PrefixF3 = 2;
    private const int Map0F = 1, Map0F38 = 2;
    private readonly List<byte> bytes = [];

    public ReadOnlySpan<byte> Bytes => CollectionsMarshal.AsSpan(bytes);
    public int Position => bytes.Count;

    /// <summary>Starts a function on a cache line of its own.</summary>
    public int Begin()
    {
        while (bytes.Count % 64 != 0) bytes.Add(0x90);
        return bytes.Count;
    }

    public void Load(int to, EvexAddress from) => Evex(PrefixF3, Map0F, 0x6f, to, 0, from);                    // vmovdqu32
    public void Store(EvexAddress to, int from) => Evex(None, Map0F, 0x11, from, 0, to);                       // vmovups
    public void Clear(int register) => Evex(Prefix66, Map0F, 0xef, register, register, register);              // vpxord
    public void And(int to, int a, int b) => Evex(Prefix66, Map0F, 0xdb, to, a, b);                            // vpandd
    public void Add32(int to, int a, int b) => Evex(Prefix66, Map0F, 0xfe, to, a, b);                          // vpaddd
    public void Subtract32(int to, int a, int b) => Evex(Prefix66, Map0F, 0xfa, to, a, b);                     // vpsubd
    public void WidenWords(int to, EvexAddress from) => Evex(Prefix66, Map0F38, 0x33, to, 0, from);            // vpmovzxwd
    public void ToFloats(int to, int from) => Evex(None, Map0F, 0x5b, to, 0, from);                            // vcvtdq2ps
    public void Multiply(int to, int a, EvexAddress b) => Evex(None, Map0F, 0x59, to, a, b);                   // vmulps
    public void MultiplyAdd(int sum, int a, int b) => Evex(Prefix66, Map0F38, 0xb8, sum, a, b);                // vfmadd231ps

    /// <summary>vpdpbusd: adds four products of unsigned and signed bytes to each lane.</summary>
    public void MultiplyAddBytes(int sum, int unsigned, EvexAddress signed) => Evex(Prefix66, Map0F38, 0x50, sum, unsigned, signed);

    // In shifts by a constant the first operand's place holds a part of the instruction, and the target stands in the second's.
    public void ShiftLeft32(int to, int from, int bits) => Shift(0x72, 6, to, from, bits);                     // vpslld
    public void ShiftRight16(int to, int from, int bits) => Shift(0x71, 2, to, from, bits);                    // vpsrlw

    public void ShiftLeft32(int to, EvexAddress from, int bits)
    {
        Evex(Prefix66, Map0F, 0x72, 6, to, from);
        bytes.Add((byte)bits);
    }

    /// <summary>Asks for a line to come into the second cache.</summary>
    public void Prefetch(EvexAddress at)
    {
        if (at.Register >= 8) throw new ArgumentOutOfRangeException(nameof(at));
        bytes.AddRange([0x0f, 0x18]);                                                                           // prefetcht1
        Address(2, at);
    }

    /// <summary>Fills a vector register with a byte, by way of a general one.</summary>
    public void FillBytes(int to, byte value, int through)
    {
        Move(through, value * 0x0101_0101);
        Evex(Prefix66, Map0F38, 0x7c, to, 0, through);                                                          // vpbroadcastd
    }

    public void Move(int to, int value)
    {
        if (to >= 8) bytes.Add(0x41);
        bytes.Add((byte)(0xb8 | to & 7));
        Number(value);
    }

    public void Add(int to, int value)
    {
        bytes.AddRange([(byte)(0x48 | to >> 3), 0x81, (byte)(0xc0 | to & 7)]);
        Number(value);
    }

    public void AddRegister(int to, int other) => bytes.AddRange([(byte)(0x48 | other >> 3 << 2 | to >> 3), 0x01, (byte)(0xc0 | (other & 7) << 3 | to & 7)]);

    /// <summary>The argument of that index among those that did not fit into registers; nothing may have been pushed.</summary>
    public void LoadStackArgument(int to, int index) => bytes.AddRange([(byte)(0x48 | to >> 3 << 2), 0x8b, (byte)(0x44 | (to & 7) << 3), 0x24, checked((byte)(8 + 8 * index))]);

    /// <summary>Counts a 32-bit register down and goes back to <paramref name="target"/> while it is not zero.</summary>
    public void LoopWhileNotZero(int counter, int target)
    {
        if (counter >= 8) bytes.Add(0x41);
        bytes.AddRange([0xff, (byte)(0xc8 | counter & 7), 0x0f, 0x85]);                                         // dec, jnz
        Number(target - (bytes.Count + 4));
    }

    public void Return() => bytes.AddRange([0xc5, 0xf8, 0x77, 0xc3]);                                           // vzeroupper, ret

    private void Shift(byte operation, int extension, int to, int from, int bits)
    {
        Evex(Prefix66, Map0F, operation, extension, to, from);
        bytes.Add((byte)bits);
    }

    private void Evex(int prefix, int map, byte operation, int reg, int second, int rm)
    {
        Evex(prefix, map, operation, reg, second, rm >> 3 & 1, rm >> 4, broadcast: false);
        bytes.Add((byte)(0xc0 | (reg & 7) << 3 | rm & 7));
    }

    private void Evex(int prefix, int map, byte operation, int reg, int second, EvexAddress rm)
    {
        Evex(prefix, map, operation, reg, second, rm.Register >> 3, 0, rm.Broadcast);
        Address(reg, rm);
    }

    /// <summary>The four bytes of the prefix, whose register bits are inverted, and the operation.</summary>
    private void Evex(int prefix, int map, byte operation, int reg, int second, int b, int x, bool broadcast)
    {
        const int wide = 2 << 5;                                                                                // 512 bits
        bytes.Add(0x62);
        bytes.Add((byte)((~reg >> 3 & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | (~reg >> 4 & 1) << 4 | map));
        bytes.Add((byte)((~second & 15) << 3 | 4 | prefix));
        bytes.Add((byte)(wide | (broadcast ? 16 : 0) | (~second >> 4 & 1) << 3));
        bytes.Add(operation);
    }

    private void Address(int reg, EvexAddress at)
    {
        if ((at.Register & 7) == 4) throw new ArgumentOutOfRangeException(nameof(at), "That register would need a byte more.");
        bytes.Add((byte)(0x80 | (reg & 7) << 3 | at.Register & 7));
        Number(at.Offset);
    }

    private void Number(int value)
    {
        Span<byte> four = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(four, value);
        bytes.AddRange(four);
    }
}
