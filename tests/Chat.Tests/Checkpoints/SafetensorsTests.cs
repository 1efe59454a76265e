using System.Buffers.Binary;
using System.Text;
using Chat.Models.Checkpoints;
using Chat.Tests.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Checkpoints;

public sealed class SafetensorsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void What_was_written_is_read_bit_by_bit_in_every_type()
    {
        using var scope = NewDisposeScope();
        var numbers = tensor(Enumerable.Range(0, 12).Select(i => (i - 5) / 7f).ToArray(), [3, 4]);
        (string, Tensor)[] tensors = [("a", numbers), ("b", numbers.to_type(ScalarType.BFloat16)), ("c", numbers.to_type(ScalarType.Float16)), ("none", zeros(0, 4)), ("one", tensor(2.5f))];
        SafetensorsWriter.Write(folder.At("x.safetensors"), tensors, new Dictionary<string, string> { ["format"] = "pt" });

        using var file = SafetensorsFile.Open(folder.At("x.safetensors"));
        Assert.Equal(["a", "b", "c", "none", "one"], file.Entries.Keys);
        foreach (var (name, expected) in tensors)
        {
            var entry = file.Entries[name];
            Assert.Equal(expected.shape, entry.Shape);
            Assert.Equal(SafetensorsWriter.Dtype(expected.dtype), entry.Dtype);
            var bytes = new byte[entry.End - entry.Begin];
            file.Read(entry, 0, bytes);
            Assert.Equal(expected.contiguous().bytes.ToArray(), bytes);
        }
        var length = BinaryPrimitives.ReadInt64LittleEndian(File.ReadAllBytes(folder.At("x.safetensors")));
        Assert.Equal(0, length % 8);
    }

    [Fact]
    public void Two_tensors_of_one_name_are_not_written()
    {
        using var scope = NewDisposeScope();
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(folder.At("x"), [("a", zeros(1)), ("a", zeros(1))]));
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(folder.At("x"), [("a", zeros(1, dtype: ScalarType.Int64))]));
    }

    [Theory]
    // the JSON header, the bytes of data behind it, the kind of error
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, null)]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}     """, 8, null)]
    [InlineData("""{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}""", 4, null)]
    [InlineData("""{}""", 0, null)]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 7, "truncated")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "bad_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "bad_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "bad_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8, "bad_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,99999999999999999999]}}""", 8, "bad_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}""", 12, "bad_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "bad_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "size_mismatch")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "size_mismatch")]
    [InlineData("""{"a":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807,2],"data_offsets":[0,8]}}""", 8, "size_mismatch")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2305843009213693953],"data_offsets":[0,4]}}""", 4, "size_mismatch")]
    [InlineData("""{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}""", 8, "bad_dtype")]
    [InlineData("""{"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"stride":1}}""", 8, "bad_header")]
    [InlineData("""{"a":[]}""", 8, "bad_header")]
    [InlineData("""{"__metadata__":{"n":1}}""", 0, "bad_header")]
    [InlineData("""[]""", 0, "bad_header")]
    [InlineData("""{"a":""", 8, "bad_header")]
    [InlineData("""{}{}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[[[[[[[[[[[[]]]]]]]]]]]],"data_offsets":[0,8]}}""", 8, "bad_header")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "duplicate_key")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "duplicate_key")]
    [InlineData("""{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "duplicate_key")]
    [InlineData("""{"__metadata__":{"x":"1","x":"2"}}""", 0, "duplicate_key")]
    [InlineData("""{"__metadata__":{},"__metadata__":{}}""", 0, "duplicate_key")]
    public void A_header_is_sound_or_has_its_kind_of_error(string header, int data, string? kind)
    {
        var error = Record.Exception(() => SafetensorsHeader.Read(Encoding.UTF8.GetBytes(header), data, "x"));
        Assert.Equal(kind, (error as CheckpointException)?.Kind ?? error?.GetType().Name);
    }

    [Fact]
    public void A_header_that_is_no_UTF8_is_refused()
    {
        byte[] header = [.. "{\""u8, 0xff, 0xc0, .. "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"u8];
        Assert.Equal("bad_header", Assert.Throws<CheckpointException>(() => SafetensorsHeader.Read(header, 8, "x")).Kind);
    }

    [Theory]
    [InlineData(0, 3, "truncated")]
    [InlineData(100_000_001, 64, "header_too_large")]
    [InlineData(-1, 64, "header_too_large")]
    [InlineData(99_999_999, 64, "truncated")]
    public void A_claimed_header_length_is_not_believed(long claimed, int size, string kind)
    {
        var bytes = new byte[Math.Max(size, 8)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, claimed);
        File.WriteAllBytes(folder.At("x"), bytes[..size]);
        Assert.Equal(kind, Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(folder.At("x"))).Kind);
    }

    [Theory]
    [InlineData("F32", new byte[] { 0, 0, 0xc0, 0x7f })]
    [InlineData("F32", new byte[] { 0, 0, 0x80, 0xff })]
    [InlineData("BF16", new byte[] { 0x80, 0x7f })]
    [InlineData("F16", new byte[] { 0x01, 0xfc })]
    public void NaN_and_infinity_are_found(string dtype, byte[] value)
    {
        var header = $$$"""{"a":{"dtype":"{{{dtype}}}","shape":[{{{4 * 40_000 / value.Length}}}],"data_offsets":[0,160000]}}""";
        var data = new byte[160_000];
        value.CopyTo(data, data.Length - value.Length);          // the very last one
        File.WriteAllBytes(folder.At("x"), [.. BitConverter.GetBytes((long)header.Length), .. Encoding.UTF8.GetBytes(header), .. data]);
        using var file = SafetensorsFile.Open(folder.At("x"));
        Assert.Equal("non_finite", Assert.Throws<CheckpointException>(() => file.CheckFinite(file.Entries["a"])).Kind);
        Assert.Equal("non_finite", Assert.Throws<CheckpointException>(() => file.Read(file.Entries["a"], 0, new byte[160_000])).Kind);
        file.Read(file.Entries["a"], 0, new byte[800]);
    }

    [Fact]
    public void A_damaged_file_is_sound_or_refused_and_nothing_else()
    {
        var sound = File.ReadAllBytes(Golden.At("families/broken/good/model.safetensors"));
        var random = new Random(20);
        for (var i = 0; i < 3000; i++)
        {
            var bytes = (byte[])sound.Clone();
            for (var hits = random.Next(1, 4); hits > 0; hits--) bytes[random.Next(Math.Min(bytes.Length, 1200))] = (byte)random.Next(256);
            File.WriteAllBytes(folder.At("x"), bytes[..random.Next(bytes.Length + 1)]);
            try
            {
                using var file = SafetensorsFile.Open(folder.At("x"));
                foreach (var entry in file.Entries.Values) file.CheckFinite(entry);
            }
            catch (CheckpointException error)
            {
                Assert.NotEmpty(error.Message);
            }
        }
    }
}
