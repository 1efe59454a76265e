using System.IO.Compression;
using System.Runtime.InteropServices;
using Chat.Models.Checkpoints;

namespace Chat.Tests.Checkpoints;

public class TorchFileTests
{
    private static readonly WrittenTensor Good = new("w", "FloatStorage", [2, 2], new byte[16], 4);

    [Theory]
    [InlineData("torch/state.pt")]      // under «module», beside optimizer, random states and a loss scale
    [InlineData("torch/state.bin")]     // the form before PyTorch 1.6
    public void Both_forms_of_torch_save_are_read(string path)
    {
        using var file = TorchFile.Open(Golden.At(path));

        Assert.Equal(["a.weight", "b.weight", "columns", "empty", "rows", "scalar", "transposed"], file.Tensors.Keys.Order(StringComparer.Ordinal));
        Assert.Equal([1, 1.5f, 2, 2.5f, 3, 3.5f], Floats("a.weight"));
        Assert.Equal([2, 3], file.Tensors["a.weight"].Shape);
        Assert.Equal("F16", file.Tensors["b.weight"].Dtype);
        Assert.Equal([-2, -1.5f, -1, -0.5f], MemoryMarshal.Cast<byte, Half>(file.Read(file.Tensors["b.weight"])).ToArray().Select(half => (float)half));
        Assert.Equal([4, 5, 6, 7, 8, 9, 10, 11], Floats("rows"));
        Assert.Equal([2, 3, 6, 7, 10, 11], Floats("columns"));
        Assert.Equal([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11], Floats("transposed"));
        Assert.Equal([7.5f], Floats("scalar"));
        Assert.Empty(Floats("empty"));

        float[] Floats(string name) => MemoryMarshal.Cast<byte, float>(file.Read(file.Tensors[name])).ToArray();
    }

    [Theory]
    [InlineData("posix", "system")]
    [InlineData("builtins", "eval")]
    [InlineData("torch", "load")]
    [InlineData("torch._utils", "_rebuild_qtensor")]
    public void A_name_that_is_no_tensors_is_refused_by_name(string module, string name)
    {
        var error = Refused([Good], beside: writer =>
        {
            writer.Text("extra");
            writer.Global(module, name);
            writer.Raw((byte)'(');
            writer.Text("touch /tmp/owned");
            writer.Raw((byte)'t', (byte)'R');
        });
        Assert.Equal(CheckpointErrors.Unsupported, error.Kind);
        Assert.Contains($"{module}.{name}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Names_of_a_training_run_are_no_weights_and_make_none()
    {
        // An argparse.Namespace called with a tensor's arguments is not looked at; a dictionary of nothing else is no checkpoint.
        Assert.Equal(CheckpointErrors.BadHeader, Refused([], beside: writer =>
        {
            writer.Text("w");
            writer.Global("argparse", "Namespace");
            writer.Raw((byte)')', (byte)'R');
        }).Kind);
    }

    public static TheoryData<string, string> Lies => new()
    {
        { "storage", CheckpointErrors.Truncated },
        { "offset", CheckpointErrors.BadOffsets },
        { "stride", CheckpointErrors.BadOffsets },
        { "huge", CheckpointErrors.BadOffsets },
        { "repeated", CheckpointErrors.SizeMismatch },
        { "negative", CheckpointErrors.BadHeader },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public void What_a_tensor_says_of_its_place_is_checked(string lie, string kind) => Assert.Equal(kind, Refused([lie switch
    {
        "storage" => Good with { Shape = [8, 2], Claimed = 16 },
        "offset" => Good with { Offset = 1 },
        "stride" => Good with { Strides = [3, 1] },
        "huge" => Good with { Shape = [long.MaxValue, long.MaxValue], Strides = [long.MaxValue, 1] },
        "repeated" => Good with { Shape = [1 << 30, 4], Strides = [0, 1] },
        _ => Good with { Shape = [-2, 2] },
    }]).Kind);

    [Fact]
    public void A_name_twice_an_entry_twice_and_a_compressed_entry_are_refused()
    {
        Assert.Equal(CheckpointErrors.DuplicateKey, Refused([Good, Good]).Kind);
        Assert.Equal(CheckpointErrors.DuplicateKey, Refused([Good], twice: true).Kind);
        Assert.Equal(CheckpointErrors.Unsupported, Refused([Good], level: CompressionLevel.Optimal).Kind);
    }

    [Theory]
    [InlineData("torch/state.pt")]
    [InlineData("torch/state.bin")]
    public void A_file_cut_anywhere_is_an_error_with_a_sentence(string path)
    {
        var whole = File.ReadAllBytes(Golden.At(path));
        using var folder = new TemporaryFolder();
        for (var length = 0; length < whole.Length; length += length < 1200 ? 3 : 37)
        {
            File.WriteAllBytes(folder.At("cut"), whole[..length]);
            Assert.Throws<CheckpointException>(() => ReadAll(folder.At("cut")));
        }
    }

    [Theory]
    [InlineData("torch/state.pt")]
    [InlineData("torch/state.bin")]
    public void A_file_with_any_byte_changed_is_read_or_refused(string path)
    {
        var bytes = File.ReadAllBytes(Golden.At(path));
        var random = new Random(11);
        using var folder = new TemporaryFolder();
        for (var at = 0; at < bytes.Length; at += 1 + random.Next(5))
        {
            var before = bytes[at];
            bytes[at] = (byte)random.Next(256);
            File.WriteAllBytes(folder.At("changed"), bytes);
            try
            {
                ReadAll(folder.At("changed"));
            }
            catch (CheckpointException)
            {
            }
            bytes[at] = before;
        }
    }

    private static void ReadAll(string path)
    {
        using var file = TorchFile.Open(path);
        foreach (var tensor in file.Tensors.Values) file.Read(tensor);
    }

    private static CheckpointException Refused(WrittenTensor[] tensors, Action<TorchFileWriter>? beside = null, CompressionLevel level = CompressionLevel.NoCompression, bool twice = false)
    {
        using var folder = new TemporaryFolder();
        TorchFileWriter.Write(folder.At("w.pt"), tensors, "module", beside, level, twice);
        return Assert.Throws<CheckpointException>(() => ReadAll(folder.At("w.pt")));
    }
}
