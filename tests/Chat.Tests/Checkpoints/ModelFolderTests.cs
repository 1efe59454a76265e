using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;

namespace Chat.Tests.Checkpoints;

public sealed class ModelFolderTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public ModelFolderTests()
    {
        foreach (var name in new[] { "config.json", "model.safetensors", "vocab.txt" }) File.Copy(Golden.At($"eva/models/m1/{name}"), folder.At(name));
        File.WriteAllText(folder.At("chat-model.json"), """{"id":"tiny","createdAt":"2026-01-02T03:04:05Z","licence":"MIT","teacher":"big","defaultDecoding":{"strategy":"sample","topP":0.9},"scores":{"loss":2}}""");
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_folder_describes_its_model()
    {
        var model = ModelFolder.Open(folder.Path);
        Assert.Equal("tiny", model.Description.Id);
        Assert.Equal("big", model.Description.Teacher);
        Assert.Null(model.Description.Parent);
        Assert.Equal("MIT", model.Description.Licence);
        Assert.Equal(new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero), model.Description.CreatedAt);
        Assert.Equal(0.9, (double)model.Description.DefaultDecoding!["topP"]!);
        Assert.Equal(2, (int)model.Card["scores"]!["loss"]!);
        Assert.IsType<EvaTokenizer>(model.Tokenizer);
        using var weights = model.LoadModel();
        Assert.Equal(model.Description.Parameters, weights.parameters().Sum(weight => weight.numel()));
    }

    [Fact]
    public void Without_a_card_the_folders_name_is_the_id()
    {
        File.Delete(folder.At("chat-model.json"));
        Assert.Equal(Path.GetFileName(folder.Path), ModelFolder.Open(folder.Path).Description.Id);
    }

    [Fact]
    public void The_hash_is_of_every_file_but_the_card()
    {
        var hash = ModelFolder.Open(folder.Path).Description.Hash;
        Assert.Equal(64, hash.Length);
        File.AppendAllText(folder.At("chat-model.json"), " ");
        Assert.Equal(hash, ModelFolder.Hash(folder.Path));
        File.AppendAllText(folder.At("vocab.txt"), "\n");
        var other = ModelFolder.Hash(folder.Path);
        Assert.NotEqual(hash, other);
        File.WriteAllText(folder.At("generation_config.json"), "{}");
        Assert.NotEqual(other, ModelFolder.Hash(folder.Path));
    }

    [Fact]
    public void The_hash_is_the_documented_one()
    {
        using var one = new TemporaryFolder();
        File.WriteAllText(one.At("b"), "hello");
        File.WriteAllText(one.At("a"), "");
        // printf 'a\t%s\nb\t%s\n' $(printf '' | sha256sum | cut -c-64) $(printf hello | sha256sum | cut -c-64) | sha256sum
        Assert.Equal("496afc27bc1050fec00b0dcb64505843d1deeebe88e88552bf020889371645be", ModelFolder.Hash(one.Path));
    }

    [Theory]
    [InlineData("chat-model.json", "[]", "bad_config")]
    [InlineData("chat-model.json", "{", "bad_config")]
    [InlineData("chat-model.json", """{"id":7}""", "bad_config")]
    [InlineData("chat-model.json", """{"createdAt":"yesterday"}""", "bad_config")]
    [InlineData("chat-model.json", """{"defaultDecoding":"greedy"}""", "bad_config")]
    [InlineData("vocab.txt", "<s_0>\n<sep>\n<pad>\n", "bad_config")]
    [InlineData("vocab.txt", "<s_0>\n<sep>\n<pad>\n<unk>\na\na\n", "bad_config")]
    [InlineData("config.json", """{"model_type":"bert"}""", "unsupported")]
    [InlineData("config.json", """{"model_type":"eva"}""", "bad_config")]
    public void A_folder_with_a_bad_file_is_refused(string name, string text, string kind)
    {
        File.WriteAllText(folder.At(name), text);
        Assert.Equal(kind, Assert.Throws<CheckpointException>(() => ModelFolder.Open(folder.Path)).Kind);
    }

    [Fact]
    public void A_tokenizer_larger_than_the_model_is_refused()
    {
        File.AppendAllText(folder.At("vocab.txt"), "another entry\n");
        Assert.Equal("bad_config", Assert.Throws<CheckpointException>(() => ModelFolder.Open(folder.Path)).Kind);
    }

    [Fact]
    public void A_folder_without_a_tokenizer_is_refused()
    {
        File.Delete(folder.At("vocab.txt"));
        Assert.Equal("missing_file", Assert.Throws<CheckpointException>(() => ModelFolder.Open(folder.Path)).Kind);
    }
}
