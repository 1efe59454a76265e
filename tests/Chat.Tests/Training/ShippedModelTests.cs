using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Training.Tokenization;
using TorchSharp;

namespace Chat.Tests.Training;

/// <summary>What the repository ships as models: whole, small enough, and described.</summary>
public class ShippedModelTests
{
    private static string Folder(string id) => Path.Combine(AppContext.BaseDirectory, "Shipped", id);

    [Theory]
    [InlineData("chat-teacher", 10_000_000, 16_000_000), InlineData("chat-student", 1_000_000, 5_333_333)]
    public void A_shipped_model_opens_and_its_card_tells_where_it_comes_from(string id, long least, long most)
    {
        var folder = ModelFolder.Open(Folder(id));

        Assert.Equal(id, folder.Description.Id);
        Assert.InRange(folder.Description.Parameters, least, most);
        Assert.Equal(folder.Description.Parameters, (long)folder.Card["parameters"]!);
        Assert.Equal(TokenizerFile.Start, folder.Tokenizer.Special.Start);
        foreach (var key in new[] { "licence", "notes", "seed", "commit", "training", "data", "heldOut", "defaultDecoding", "scores" })
            Assert.True(folder.Card[key] is not null, $"{id}: the card says nothing of {key}");
        Assert.Contains(folder.Card["data"]!.AsArray(), d => (string?)d!["corpus"] == "wesnoth-zh" && ((string)d["sha256"]!).Length == 64);
    }

    [Fact]
    public void The_student_is_at_most_a_third_of_the_teacher_and_both_fit_48_megabytes()
    {
        var (teacher, student) = (ModelFolder.Open(Folder("chat-teacher")), ModelFolder.Open(Folder("chat-student")));

        Assert.InRange(student.Description.Parameters * 3, 0, teacher.Description.Parameters);
        Assert.InRange(new DirectoryInfo(Folder(".")).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length), 1, 48_000_000);
        Assert.Equal(File.ReadAllText(Path.Combine(Folder("chat-teacher"), "tokenizer.json")), File.ReadAllText(Path.Combine(Folder("chat-student"), "tokenizer.json")));
    }

    [Fact]
    public void The_teacher_expects_the_reply_it_was_taught_more_than_another()
    {
        var folder = ModelFolder.Open(Folder("chat-teacher"));
        using var model = folder.LoadModel(dtype: torch.ScalarType.Float32);

        Assert.True(Loss(model, folder, "谢谢你！", "不客气！") < Loss(model, folder, "谢谢你！", "The gate is closed."));
        Assert.True(Loss(model, folder, "Thank you!", "You are welcome!") < Loss(model, folder, "Thank you!", "不客气！"));
    }

    private static float Loss(EncoderDecoder model, ModelFolder folder, string prompt, string reply)
    {
        using var scope = torch.NewDisposeScope();
        using var gradients = torch.no_grad();
        int[] context = [.. folder.Tokenizer.Encode(prompt), TokenizerFile.Separator, TokenizerFile.Start];
        var sample = new Chat.Training.Methods.Sample(context, [.. folder.Tokenizer.Encode(reply), TokenizerFile.Separator]);
        return Chat.Training.Methods.Likelihood.TokenLosses(model, new Chat.Training.Methods.Batch([sample])).mean().item<float>();
    }
}
