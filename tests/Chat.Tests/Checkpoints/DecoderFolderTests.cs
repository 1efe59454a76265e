using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Models.Tokenizers;
using Chat.Tests.Architectures;

namespace Chat.Tests.Checkpoints;

/// <summary>A decoder-only folder in Hugging Face's layout, from its files to a reply.</summary>
public sealed class DecoderFolderTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public DecoderFolderTests()
    {
        var config = TinyDecoder.Families["llama3"] with { VocabularySize = 304, MaxPositions = 256, Start = null, Ends = [303] };
        using var model = TinyDecoder.Build(config);
        DecoderWeights.Save(model, folder.At("model.safetensors"));
        File.WriteAllText(folder.At("config.json"), DecoderConfigFile.ToJson(config));
        File.Copy(Golden.At("families/tokenizers/a/tokenizer.json"), folder.At("tokenizer.json"));
        File.WriteAllText(folder.At("generation_config.json"), """{"eos_token_id":[300,303,999]}""");
        File.WriteAllText(folder.At("tokenizer_config.json"), """{"chat_template":"{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor %}assistant:","eos_token":{"content":"<|user|>"}}""");
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_folder_tells_its_ends_its_format_and_its_limits()
    {
        var model = ModelFolder.Open(folder.Path);
        Assert.Equal([301, 300, 303], model.Decoder!.Ends);                        // the turn's end first, then what the other files name
        Assert.Equal(301, model.Tokenizer.Special.Separator);
        Assert.Equal("<|user|>", model.Chat!.EndToken);
        Assert.Equal((128, 128), (model.Description.MaxPromptTokens, model.Description.MaxCompletionTokens));
        using var weights = model.LoadDecoder();
        Assert.Equal(model.Description.Parameters, weights.parameters().Sum(weight => weight.numel()));
        Assert.Throws<InvalidOperationException>(() => model.Config);
        Assert.Throws<InvalidOperationException>(() => model.LoadModel());
    }

    [Fact]
    public async Task A_pinned_system_prompt_is_read_before_anybody_asks_and_changes_no_reply()
    {
        const string prompt = "You help people of 三 towns to find the right bus, politely.";
        var model = ModelFolder.Open(folder.Path);
        var (pinned, plain) = (ServedModel.OnKernels(model, pinBytes: 1 << 20) with { Pins = new Dictionary<string, string> { ["bus"] = prompt } }, ServedModel.OnKernels(model));
        IRunner? runner = null;
        using var models = Serve(pinned with { CreateRunner = rows => runner = pinned.CreateRunner(rows) });
        using var others = Serve(plain);
        await models.Ready;

        var beginning = pinned.Reader!.Beginning(prompt);
        Assert.Equal($"system: {prompt}<|user|>user: ", ((ByteLevelTokenizer)model.Tokenizer).Decode(beginning, skipSpecial: false));
        var (whole, bytes) = (beginning.Length / 16 * 16, beginning.Length / 16 * KeyValuePages.BytesOf(model.Decoder!.Layers, model.Decoder.KeyValueHeads, model.Decoder.HeadWidth));
        Assert.Equal([new("bus", whole, bytes)], models.Pins(models.Models[0].Id).Select(pin => pin.Kept));
        Assert.Empty(models.Pins("another"));
        ChatMessage[] question = [new(ChatRole.System, prompt), new(ChatRole.User, "where?")];
        var context = pinned.Reader!.Read(question).Context;
        Assert.Equal(context.Length - whole, runner!.Open(new(0, context, default)));        // its thread sleeps: nobody has asked yet
        runner.Free(0);
        Assert.Equal(await SayAsync(others, question), await SayAsync(models, question));
    }

    [Fact]
    public async Task What_cannot_be_pinned_fails_the_start_and_says_why()
    {
        async Task<string> Failure(ServedModel served)
        {
            using var models = Serve(served with { Pins = new Dictionary<string, string> { ["bus"] = "You help people of three towns to find the right bus." } });
            return (await Assert.ThrowsAsync<PinException>(() => models.Ready)).Message;
        }
        Assert.Contains("Models:PinBytes", await Failure(ServedModel.OnKernels(ModelFolder.Open(folder.Path))), StringComparison.Ordinal);
        Assert.Contains("Models:Runner", await Failure(ServedModel.OnTorch(ModelFolder.Open(folder.Path))), StringComparison.Ordinal);
        Assert.Contains("encoder reads each context as a whole", await Failure(ServedModel.OnKernels(ModelFolder.Open(Golden.At("eva/models/m1")))), StringComparison.Ordinal);
    }

    private static InProcessChatModels Serve(ServedModel model) => new([model], new DecodingCatalog(new PluginCatalog(typeof(IDecodingStrategy).Assembly)), null, new() { Rows = 4 }, TimeProvider.System, () => 9);

    private static async Task<string> SayAsync(InProcessChatModels models, ChatMessage[] messages)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var ids = new List<int>();
        var request = new GenerationRequest { RequestId = "r", Model = models.Models[0].Id, Messages = messages, Decoding = new JsonObject { ["strategy"] = "greedy", ["maxTokens"] = 12 } };
        await foreach (var chunk in models.GenerateAsync(request, deadline.Token)) ids.AddRange(chunk.Tokens.Select(token => token.Chosen.Id));
        Assert.NotEmpty(ids);
        return string.Join(' ', ids);
    }

    [Theory, InlineData("torch"), InlineData("kernels")]
    public async Task It_chats_through_the_engine(string runner)
    {
        var model = ModelFolder.Open(folder.Path);
        using var models = new InProcessChatModels([runner == "torch" ? ServedModel.OnTorch(model) : ServedModel.OnKernels(model)], new DecodingCatalog(new PluginCatalog(typeof(IDecodingStrategy).Assembly)), null, new() { Rows = 4 }, TimeProvider.System, () => 9);
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        async Task<List<GenerationChunk>> Hear(string text, string strategy)
        {
            var request = new GenerationRequest { RequestId = "r", Model = models.Models[0].Id, Messages = [new(ChatRole.User, text)], Decoding = new JsonObject { ["strategy"] = strategy, ["maxTokens"] = 12 } };
            var chunks = new List<GenerationChunk>();
            await foreach (var chunk in models.GenerateAsync(request, deadline.Token)) chunks.Add(chunk);
            return chunks;
        }
        var together = await Task.WhenAll(Hear("hello", "greedy"), Hear("你好", "greedy"), Hear("hello", "beam"));
        Assert.All(together, chunks => Assert.InRange(chunks[^1].End!.CompletionTokens, 1, 12));
        Assert.NotEqual(Ids(together[0]), Ids(together[1]));
        Assert.Equal(Ids(await Hear("hello", "greedy")), Ids(together[0]));
        Assert.Equal(Best("hello"), Ids(together[0]));

        // The best token of one full pass each, by libtorch.
        IEnumerable<int> Best(string text)
        {
            using var served = ServedModel.OnTorch(model).CreateRunner(1);
            var context = ServedModel.OnTorch(model).Reader!.Read([new(ChatRole.User, text)]).Context;
            var best = new List<int>();
            while (best.Count < 12)
            {
                best.Add(Scores.ArgMax(served.Prefill([new(0, context, best.ToArray())])));
                served.Free(0);
                if (best[^1] == model.Tokenizer.Special.Separator) return best[..^1];
            }
            return best;
        }

        static IEnumerable<int> Ids(List<GenerationChunk> chunks) => chunks.SelectMany(chunk => chunk.Tokens).Select(token => token.Chosen.Id).ToArray();
    }

    [Fact]
    public async Task With_pieces_and_bytes_it_chats_and_keeps_a_form()
    {
        var config = TinyDecoder.Families["llama3"] with { VocabularySize = 464, MaxPositions = 256, Start = 1, Ends = [2] };
        using (var model = TinyDecoder.Build(config)) DecoderWeights.Save(model, folder.At("model.safetensors"));
        File.WriteAllText(folder.At("config.json"), DecoderConfigFile.ToJson(config));
        File.WriteAllText(folder.At("tokenizer_config.json"), """{"chat_template":"{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}","bos_token":"<s>","eos_token":"</s>"}""");
        File.Copy(Golden.At("pieces/legacy/tokenizer.json"), folder.At("tokenizer.json"), overwrite: true);
        File.Delete(folder.At("generation_config.json"));

        var opened = ModelFolder.Open(folder.Path);
        var tokenizer = Assert.IsType<PieceMergeTokenizer>(opened.Tokenizer);
        Assert.Equal(new SpecialTokens(1, 2, 2, 0), tokenizer.Special);
        Assert.Equal([1, .. tokenizer.Encode("[INST] hello </s> [/INST]")], ServedModel.OnKernels(opened).Reader!.Read([new(ChatRole.User, "hello </s>")]).Context);
        using var models = Serve(ServedModel.OnKernels(opened));
        foreach (var strategy in new[] { "greedy", "sample" })
        {
            var text = "";
            await foreach (var chunk in models.GenerateAsync(new() { RequestId = "r", Model = models.Models[0].Id, Messages = [new(ChatRole.User, "hello")], Decoding = new JsonObject { ["strategy"] = strategy, ["guidedRegex"] = " ?(é|你){1,2}\\n\\n", ["maxTokens"] = 40 } }, TestContext.Current.CancellationToken)) text += chunk.Text;
            Assert.Matches("^ ?(é|你){1,2}\n\n$", text);
        }
    }

    [Fact]
    public void A_template_beside_the_configuration_is_read_first_and_a_bad_file_is_named()
    {
        File.WriteAllText(folder.At("chat_template.jinja"), "{{ 1 }}");
        Assert.Equal("{{ 1 }}", ModelFolder.Open(folder.Path).Chat!.Template);
        foreach (var wrong in new[] { "[]", "{", """{"chat_template":[{"name":"x","template":"y"}]}""", """{"chat_template":"x","eos_token":7}""" })
        {
            File.Delete(folder.At("chat_template.jinja"));
            File.WriteAllText(folder.At("tokenizer_config.json"), wrong);
            var error = Assert.Throws<CheckpointException>(() => ModelFolder.Open(folder.Path));
            Assert.Equal(CheckpointErrors.BadConfig, error.Kind);
            Assert.Contains(ChatFormat.ConfigFileName, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_folder_without_any_end_token_is_refused()
    {
        File.Delete(folder.At("generation_config.json"));
        File.Delete(folder.At("tokenizer_config.json"));
        Assert.Equal([303], ModelFolder.Open(folder.Path).Decoder!.Ends);
        var config = JsonNode.Parse(File.ReadAllText(folder.At("config.json")))!.AsObject();
        config.Remove("eos_token_id");
        File.WriteAllText(folder.At("config.json"), config.ToJsonString());
        Assert.Contains("eos_token_id", Assert.Throws<CheckpointException>(() => ModelFolder.Open(folder.Path)).Message, StringComparison.Ordinal);
    }
}
