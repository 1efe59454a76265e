using System.Runtime.InteropServices;
using Chat.Models.Kernels;

namespace Chat.Tests.Kernels;

public sealed unsafe class NativeBufferTests
{
    private const int HugePage = 2 << 20;

    [Theory]
    [InlineData(0, 64)]
    [InlineData(1, 64)]
    [InlineData(HugePage - 1, 64)]
    [InlineData(HugePage, HugePage)]
    [InlineData(3L * HugePage + 5, HugePage)]
    public void A_buffer_is_zero_aligned_and_holds_a_line_more_than_asked_for(long bytes, int alignment)
    {
        for (var round = 0; round < 3; round++)         // a freed block may come back
        {
            using var buffer = new NativeBuffer(bytes);

            Assert.Equal(0, (long)buffer.Pointer % alignment);
            Assert.True(buffer.Length >= bytes + 64);
            var all = new Span<byte>(buffer.Pointer, (int)buffer.Length);
            Assert.False(all.ContainsAnyExcept((byte)0));
            all.Fill(0xFF);
        }
    }

    [Fact]
    public void A_large_buffer_is_resident_only_where_it_was_touched()
    {
        if (!OperatingSystem.IsLinux()) return;
        using var buffer = new NativeBuffer(32L * HugePage);         // above the size from which malloc always maps
        Assert.Equal(0, Resident(buffer));

        buffer.Pointer[5 * HugePage] = 1;

        Assert.InRange(Resident(buffer), Environment.SystemPageSize, HugePage);
    }

    /// <summary>Bytes of the buffer that lie in memory.</summary>
    private static long Resident(NativeBuffer buffer)
    {
        var pages = new byte[buffer.Length / Environment.SystemPageSize];
        fixed (byte* flags = pages) Assert.Equal(0, InCore(buffer.Pointer, (nuint)buffer.Length, flags));
        return pages.LongCount(page => (page & 1) != 0) * Environment.SystemPageSize;
    }

    [DllImport("libc", EntryPoint = "mincore")]
    private static extern int InCore(void* address, nuint length, byte* pages);
}
