using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Models.Tokenizers;
using Chat.Tests.Architectures;
using CsCheck;

namespace Chat.Tests.Engine;

/// <summary>Model, request and seed make the reply, whatever else is in the batch: each strategy of the catalog, on the kernels.</summary>
public sealed class SeedTests
{
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private static readonly string[] Strategies = [.. Catalog.Strategies.Keys.Order(StringComparer.Ordinal)];
    private static readonly Letters Tokenizer = new();

    private static readonly Gen<GenerationRequest> Requests = Gen.Select(Gen.Int[0, Strategies.Length - 1], Gen.Int[0, 1_000_000], Gen.Int[0, 2], Gen.Char['a', 'z'].Array[1, 20], Gen.Int[1, 14])
        .Select((strategy, seed, index, text, maxTokens) => new GenerationRequest
        {
            RequestId = "r", Model = "tiny", Messages = [new(ChatRole.User, new string(text))], Index = index, TopLogprobs = 2,
            Decoding = new JsonObject { ["strategy"] = Strategies[strategy], ["seed"] = seed, ["maxTokens"] = maxTokens },
        });

    [Theory]
    [InlineData(WeightFormat.Exact), InlineData(WeightFormat.Int8)]
    public async Task A_reply_is_the_same_alone_and_in_company(WeightFormat format)
    {
        using var folder = new TemporaryFolder();
        using (var model = TinyModel.Build()) EvaWeights.Save(model, folder.At(Checkpoint.SingleFile));
        using var team = new Team(2);
        using var alone = Serve(folder, format, team, rows: 4);
        using var company = Serve(folder, format, team, rows: 13);
        var spoken = 0;

        await Requests.Array[2, 9].SampleAsync(async requests =>
        {
            var together = await Task.WhenAll(requests.Select(request => Hear(company, request)));

            for (var i = 0; i < requests.Length; i++)
            {
                Assert.Equal(await Hear(alone, requests[i]), together[i]);
                Interlocked.Add(ref spoken, together[i].Count(line => line.Length > 0));
            }
        }, iter: 25, threads: 1);
        Assert.True(spoken > 100);
    }

    /// <summary>One line a token: id, log-probability and alternatives, to the last bit; then the end.</summary>
    private static async Task<List<string>> Hear(InProcessChatModels models, GenerationRequest request)
    {
        var lines = new List<string>();
        await foreach (var chunk in models.GenerateAsync(request, TestContext.Current.CancellationToken))
        {
            lines.AddRange(chunk.Tokens.Select(t => $"{t.Chosen.Id} {t.Chosen.Logprob:R} {string.Join(' ', t.Top.Select(a => $"{a.Id} {a.Logprob:R}"))}"));
            if (chunk.End is not null) lines.Add($"{chunk.End}");
        }
        return lines;
    }

    private static InProcessChatModels Serve(TemporaryFolder folder, WeightFormat format, Team team, int rows) => new(
    [
        new()
        {
            Description = new() { Id = "tiny", Hash = "0", CreatedAt = default, Parameters = 1, MaxPromptTokens = TinyModel.Config.MaxContext, MaxCompletionTokens = TinyModel.Config.MaxReply - 1 },
            Tokenizer = Tokenizer,
            Tokens = TokenTable.From(Tokenizer, TinyModel.Config.VocabularySize),
            CreateRunner = count =>
            {
                using var checkpoint = Checkpoint.OpenFolder(folder.Path);
                return new CpuRunner(TinyModel.Config, checkpoint, count, format, team);
            },
        },
    ], Catalog, null, new() { Rows = rows, PrefillTokens = 30 }, TimeProvider.System, () => 1);

    /// <summary>A token a letter behind the special ones of <see cref="TinyModel"/>.</summary>
    private sealed class Letters : ITextTokenizer
    {
        public int VocabularySize => TinyModel.Config.VocabularySize;
        public SpecialTokens Special { get; } = new(TinyModel.Config.Start, TinyModel.Config.Separator, TinyModel.Config.Pad, 0);
        public IReadOnlyList<int> Encode(string text) => [.. text.Select(c => c - 'a' + 6)];
        public ReadOnlySpan<byte> Bytes(int id) => id is >= 6 and < 32 ? new[] { (byte)('a' + id - 6) } : [];
    }
}
