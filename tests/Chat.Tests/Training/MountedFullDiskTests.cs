using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Tests.Checkpoints;
using Chat.Training.Evaluation;
using Chat.Training.Recipes;
using static Chat.Tests.Training.TinyRun;

namespace Chat.Tests.Training;

/// <summary>A file system of 1 MB that is really full, mounted in a namespace of its own (<c>unshare -rm</c>), under the program as it is shipped. Skipped, with the reason, where nobody may mount one.</summary>
[Collection(nameof(SerialTorch))]
public sealed class MountedFullDiskTests : IDisposable
{
    private const string Script = """
        set -eu
        cd "$1"; program="$2"
        mount -t tmpfs -o size=1m tmpfs disk
        # name, kilobytes that are left, command: the files and their sums before and after, what was said, the exit code.
        attempt() {
            name=$1; left=$2; shift 2
            find disk -type f -exec sha256sum {} + | sort > "said/$name.before"
            if [ "$left" != all ]; then
                head -c 2m /dev/zero > disk/fill 2> /dev/null || true
                truncate -s "-${left}K" disk/fill
            fi
            code=0; dotnet "$program" "$@" > "said/$name.out" 2> "said/$name.err" < /dev/null || code=$?
            echo $code > "said/$name.code"
            rm -f disk/fill
            find disk -mindepth 1 -type d -empty -delete
            find disk -type f -exec sha256sum {} + | sort > "said/$name.after"
            find disk -name '*.part' >> "said/$name.after"
        }
        attempt evaluate-first all evaluate model --to disk/evaluation --prompts prompts.txt --most 4
        attempt evaluate-full 12 evaluate model --to disk/evaluation --prompts prompts.txt --most 4 --seed 2
        attempt report-full 0 evaluate model --report disk/new/replies.md --prompts prompts.txt --most 4
        attempt compare-full 4 compare --plot disk/losses.png
        attempt compare all compare --plot disk/losses.png
        attempt export-full 40 export run.json --to disk/exported
        attempt export all export run.json --to disk/exported
        attempt convert-full 40 convert published --to disk/converted
        attempt convert all convert published --to disk/converted
        """;

    private readonly string root = Directory.CreateTempSubdirectory("mounted-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Fact]
    public async Task On_a_full_file_system_every_command_says_so_and_leaves_what_was_there()
    {
        foreach (var name in new[] { "disk", "said" }) Directory.CreateDirectory(At(name));
        await SkipUnlessMountingWorksAsync();
        var recipe = Recipe("run") with { Card = new("tiny", "none", "notes", new JsonObject { ["strategy"] = "greedy" }) };
        Follow(recipe, At("runs"));
        new ModelExport(At("runs"), Corpora, TimeProvider.System).Write(recipe, At("model"), _ => recipe, "commit");
        await File.WriteAllTextAsync(At("run.json"), JsonSerializer.Serialize(recipe, RecipeFile.Json), TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(At("prompts.txt"), string.Join('\n', File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Evaluation", "prompts.txt")).Take(12)), TestContext.Current.CancellationToken);
        Publish();

        var (code, errors) = await RunAsync("unshare", "-rm", "sh", "-c", Script, "sh", root, Path.Combine(AppContext.BaseDirectory, "Chat.Training.dll"));

        Assert.True(code == 0, errors);
        foreach (var name in new[] { "evaluate-full", "report-full", "compare-full", "export-full", "convert-full" })
        {
            Assert.True(Said(name, "code") == "1", $"{name}: {Said(name, "out")} {Said(name, "err")}");
            Assert.Contains("No space left on device", Said(name, "err"), StringComparison.Ordinal);
            Assert.Contains("Make room, then run the same again", Said(name, "err"), StringComparison.Ordinal);
            Assert.Single(Said(name, "err").Split('\n'));
            Assert.Equal(Said(name, "before"), Said(name, "after"));
        }
        Assert.Equal(["evaluation.json", "evaluation.md", "text.png"], Files("evaluate-first"));
        Assert.Contains("heldOutLoss", Said("report-full", "out"), StringComparison.Ordinal);      // what was measured is not lost with the disk
        Assert.Contains("losses.png", Files("compare"));
        Assert.Contains("model.safetensors", Files("export"));
        Assert.Equal(2, Files("convert").Count(name => name == "model.safetensors"));
        foreach (var name in new[] { "evaluate-first", "compare", "export", "convert" }) Assert.True(Said(name, "code") == "0", $"{name}: {Said(name, "out")} {Said(name, "err")}");
    }

    private async Task SkipUnlessMountingWorksAsync()
    {
        try
        {
            var (code, errors) = await RunAsync("unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", At("disk"));
            Assert.SkipWhen(code != 0, $"No file system can be mounted here: {errors}");
        }
        catch (Win32Exception missing)
        {
            Assert.Skip($"No file system can be mounted here: {missing.Message}");
        }
    }

    /// <summary>The golden model as its publisher would give it, as PyTorch's file.</summary>
    private void Publish()
    {
        var (model, source) = (Golden.At("eva/models/m1"), Directory.CreateDirectory(At("published")).FullName);
        foreach (var name in new[] { "config.json", "vocab.txt" }) File.Copy(Path.Combine(model, name), Path.Combine(source, name));
        using var checkpoint = Checkpoint.OpenFile(Path.Combine(model, "model.safetensors"));
        TorchFileWriter.Write(Path.Combine(source, "pytorch_model.bin"), [.. checkpoint.Entries.Select(entry =>
        {
            var bytes = new byte[entry.End - entry.Begin];
            checkpoint.Read(entry, 0, bytes);
            return new WrittenTensor(entry.Name, "FloatStorage", [.. entry.Shape], bytes, 4);
        })]);
    }

    private string At(string name) => Path.Combine(root, name);

    private string Said(string name, string what) => File.ReadAllText(At(string.Create(CultureInfo.InvariantCulture, $"said/{name}.{what}"))).Trim();

    private string[] Files(string name) => [.. Said(name, "after").Split('\n').Select(line => Path.GetFileName(line))];

    private async Task<(int Code, string Errors)> RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true, WorkingDirectory = root })!;
        var (errors, output) = (process.StandardError.ReadToEndAsync(), process.StandardOutput.ReadToEndAsync());
        await process.WaitForExitAsync();
        return (process.ExitCode, $"{await errors}{await output}".Trim());
    }
}
