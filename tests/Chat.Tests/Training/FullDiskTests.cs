using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Training.Evaluation;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using static Chat.Tests.Training.TinyRun;

namespace Chat.Tests.Training;

/// <summary>
/// A disk that is full where one file is written: the name that is about to be written to is a link to <c>/dev/full</c>, whose writes fail with ENOSPC. It needs no rights and no mount.
/// </summary>
[Collection(nameof(SerialTorch))]
public sealed class FullDiskTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("full-disk-").FullName;
    private readonly StandingClock clock = new();

    public void Dispose() => Directory.Delete(root, recursive: true);

    /// <summary>What is written, when it becomes full (what is said, or the step that was made), and the newest checkpoint that is left.</summary>
    public static TheoryData<string, string, string> Files { get; } = new()
    {
        { "run/tokenizer.json.part", "vocabulary", "none" },
        { "run/config.json.part", "vocabulary", "none" },
        { "run/TOKENS.part.part", "encoding small-talk-en", "none" },
        { "run/journal.jsonl", "first:", "none" },
        { "run/EVENTS", "first:", "none" },
        { "run/checkpoints/00000003.part/state.safetensors.part", "3", "none" },
        { "run/checkpoints/00000003.part/state.json", "3", "none" },
        { "run/checkpoints/00000003.part/sums.txt", "3", "none" },
        { "run/loss.png.part", "3", "00000003" },
        { "run/checkpoints/00000006.part/state.safetensors.part", "6", "00000003" },
        { "run/checkpoints/00000013.part/state.json", "13", "00000012" },
    };

    [Theory, MemberData(nameof(Files))]
    public void A_run_says_what_to_do_and_goes_on_bit_for_bit_once_there_is_room(string file, string when, string left)
    {
        var tokens = "";
        if (file.Contains("TOKENS", StringComparison.Ordinal))
        {
            Follow(Recipe("other"), root, time: clock);
            tokens = Path.GetFileName(Assert.Single(Directory.GetFiles(Path.Combine(root, "tokens"))));
            Directory.Delete(Path.Combine(root, "tokens"), recursive: true);
        }
        var full = Path.Combine(root, file.Replace("TOKENS", tokens, StringComparison.Ordinal).Replace("EVENTS", $"events.out.tfevents.{clock.GetUtcNow().ToUnixTimeSeconds()}.{Environment.ProcessId}.1", StringComparison.Ordinal));

        var error = Assert.Throws<IOException>(() => Follow(Recipe("run"), root, time: clock,
            report: update => { if (update.Validation is null && $"{update.Step + (update.Stage.Name == "first" ? 0 : 9)}" == when) Fill(full); },
            say: message => { if (message.StartsWith(when, StringComparison.Ordinal)) Fill(full); }));

        Assert.Contains("No space left", error.Message, StringComparison.Ordinal);
        Assert.Contains($"stays at its newest checkpoint ({left}): make room", error.Message, StringComparison.Ordinal);
        if (Directory.Exists(Path.GetDirectoryName(full))) File.Delete(full);
        Assert.Empty(Directory.EnumerateFileSystemEntries(root, "*.part", SearchOption.AllDirectories));
        Follow(Recipe("run"), root, time: clock);
        Assert.Equal(Unbroken, Lines(root, "run"));
    }

    [Theory]
    [InlineData("tvd", """{"teacher":"teacher","cache":"words"}""", "words", "")]
    [InlineData("minillm", """{"teacher":"teacher","replies":24,"textWeight":0}""", "run/writing.part.part", "only:")]
    public void So_does_a_distillation(string objective, string distil, string file, string when)
    {
        Follow(Recipe("teacher"), root);
        Follow(Distilled("whole", objective, distil.Replace("words", "others", StringComparison.Ordinal)), root);

        if (when == "") Fill(Path.Combine(root, file));
        var error = Assert.Throws<IOException>(() => Follow(Distilled("run", objective, distil), root, say: message => { if (when != "" && message.StartsWith(when, StringComparison.Ordinal)) Fill(Path.Combine(root, file)); }));

        Assert.Contains("make room", error.Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(root, file));
        Follow(Distilled("run", objective, distil), root);
        Assert.Equal(Lines(root, "whole"), Lines(root, "run"));
    }

    [Fact]
    public void An_export_leaves_no_half_folder()
    {
        var recipe = Recipe("run") with { Card = new("tiny", "none", "notes", new JsonObject()) };
        Follow(recipe, root);
        var folder = Path.Combine(root, "model");
        var part = folder + ".part";
        Directory.CreateDirectory(part);
        File.WriteAllText(Path.Combine(part, "left"), "by a process that was killed");
        var export = new ModelExport(root, Corpora, clock);

        clock.Asked = () => { if (Directory.Exists(part)) Fill(Path.Combine(part, "chat-model.json.part")); };
        Assert.Throws<IOException>(() => export.Write(recipe, folder, _ => recipe, "commit"));
        Assert.False(Directory.Exists(folder) || Directory.Exists(part));

        clock.Asked = null;
        export.Write(recipe, folder, _ => recipe, "commit");
        Assert.Equal("tiny", ModelFolder.Open(folder).Description.Id);
        Assert.False(Directory.Exists(part));
    }

    private static void Fill(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (File.Exists(path)) File.Delete(path);
        File.CreateSymbolicLink(path, "/dev/full");
    }

    private sealed class StandingClock : TimeProvider
    {
        public Action? Asked { get; set; }

        public override DateTimeOffset GetUtcNow()
        {
            Asked?.Invoke();
            return DateTimeOffset.UnixEpoch.AddDays(20_000);
        }
    }
}
