using Chat.Models.Libtorch;
using static TorchSharp.torch;

namespace Chat.Tests.Libtorch;

public class LibtorchLoaderTests
{
    [Fact]
    public void A_tensor_computes()
    {
        using var sum = ones(2, 3).sum();
        Assert.Equal(6f, sum.item<float>());
    }

    [Fact]
    public void A_chosen_folder_without_libtorch_is_an_error_and_no_other_is_taken()
    {
        using var empty = new TemporaryFolder();
        var error = Assert.Throws<DllNotFoundException>(() => LibtorchLoader.Find(LibtorchLoader.Candidates(empty.Path)));
        Assert.Contains(empty.Path, error.Message, StringComparison.Ordinal);
        Assert.Contains("CHAT_LIBTORCH", error.Message, StringComparison.Ordinal);
        File.WriteAllBytes(empty.At("libtorch_cpu.so"), []);
        Assert.Equal(empty.Path, LibtorchLoader.Find(LibtorchLoader.Candidates(empty.Path)));
    }

    [Fact]
    public void No_part_of_libtorch_lies_in_the_output_folder() =>
        Assert.DoesNotContain(Directory.EnumerateFiles(AppContext.BaseDirectory, "*", SearchOption.AllDirectories), file => Path.GetFileName(file).StartsWith("libtorch", StringComparison.Ordinal));

    [Fact]
    public void Weakening_a_version_need_changes_one_flag_and_only_once()
    {
        var path = Directory.EnumerateFiles(AppContext.BaseDirectory, "libLibTorchSharp.so", SearchOption.AllDirectories).First();
        var before = File.ReadAllBytes(path);
        var after = (byte[])before.Clone();

        Assert.True(OlderSystem.WeakenVersionNeed(after, "GLIBCXX_3.4.32"));
        var changed = Enumerable.Range(0, before.Length).Where(i => before[i] != after[i]).ToArray();
        Assert.Single(changed);
        Assert.Equal(before[changed[0]] | 2, after[changed[0]]);

        var again = (byte[])after.Clone();
        Assert.True(OlderSystem.WeakenVersionNeed(again, "GLIBCXX_3.4.32"));
        Assert.Equal(after, again);
    }

    [Fact]
    public void An_unknown_version_or_a_file_that_is_no_ELF_is_left_alone()
    {
        Assert.False(OlderSystem.WeakenVersionNeed(new byte[200], "GLIBCXX_3.4.32"));
        Assert.False(OlderSystem.WeakenVersionNeed("not an ELF file"u8.ToArray(), "GLIBCXX_3.4.32"));
    }
}
