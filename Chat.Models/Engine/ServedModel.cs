using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Kernels;
using Chat.Models.Tokenizers;
using static TorchSharp.torch;

namespace Chat.Models.Engine;

/// <summary>All that serving needs of a model; how its runner computes is the runner's business.</summary>
public sealed record ServedModel
{
    public const string AntonymsFileName = "antonyms.json";
    public const long DefaultCacheBytes = 1L << 30;

    public required ModelDescription Description { get; init; }
    public required ITextTokenizer Tokenizer { get; init; }
    public required TokenTable Tokens { get; init; }

    /// <summary>Turns messages into ids; <c>null</c> for the dialogue format of EVA and of our own models.</summary>
    public IDialogueReader? Reader { get; init; }

    /// <summary>Id of the model that this one guesses ahead for where both are served.</summary>
    public string? DraftOf { get; init; }

    /// <summary>Beginnings of prompts that stay read as long as the model is served: a name for each, and the system message that it ends with.</summary>
    public IReadOnlyDictionary<string, string> Pins { get; init; } = new Dictionary<string, string>();

    /// <summary>How the runner keeps its numbers.</summary>
    public WeightFormat Weights { get; init; } = WeightFormat.Exact;

    /// <summary>Makes a runner with so many rows. Who makes it may hand it over to the thread that makes all later calls.</summary>
    public required Func<int, IRunner> CreateRunner { get; init; }

    /// <exception cref="CheckpointException"><c>bad_config</c>: the two do not mean the same by the same ids.</exception>
    public void RequireDraft(ServedModel draft)
    {
        if (!Tokens.MeansTheSameAs(draft.Tokens)) throw new CheckpointException(CheckpointErrors.BadConfig, $"{draft.Description.Id} is said to be the draft of {Description.Id}, but their vocabularies differ.");
    }

    /// <summary>A model folder, run by the kernels of this process. Weights are read when the runner is made; libtorch never is.</summary>
    /// <param name="cacheBytes">Memory for keys and values.</param>
    /// <param name="pinBytes">Memory beside it, for those of <see cref="Pins"/>.</param>
    public static ServedModel OnKernels(ModelFolder folder, WeightFormat format = WeightFormat.Exact, Team? team = null, long cacheBytes = DefaultCacheBytes, long pinBytes = 0) => From(folder, rows =>
    {
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        return WarmedUp(folder.Decoder is { } decoder
            ? new CpuRunner(decoder, checkpoint, rows, folder.Description.MaxPromptTokens, folder.Description.MaxCompletionTokens, format, team, cacheBytes, pinBytes)
            : new CpuRunner(folder.Config, checkpoint, rows, format, team, cacheBytes: cacheBytes), folder);
    }) with { Weights = format };

    /// <summary>A model folder, run by libtorch. Weights are read when the runner is made.</summary>
    public static ServedModel OnTorch(ModelFolder folder, Device? device = null, ScalarType? dtype = null) => From(folder, rows => WarmedUp(Torch(folder, device, dtype, rows), folder));

    private static OwningRunner Torch(ModelFolder folder, Device? device, ScalarType? dtype, int rows)
    {
        if (folder.Decoder is null)
        {
            var model = folder.LoadModel(device, dtype);
            return new OwningRunner(new TorchRunner(model, rows), model);
        }
        var decoder = folder.LoadDecoder(device, dtype);
        return new OwningRunner(new TorchRunner(decoder, rows), decoder);
    }

    private static ServedModel From(ModelFolder folder, Func<int, IRunner> createRunner) => new()
    {
        Description = folder.Description,
        DraftOf = folder.DraftOf,
        Tokenizer = folder.Tokenizer,
        Reader = folder.Decoder is null && folder.Config.Family == EncoderDecoderFamily.Eva ? null
            : new ChatTemplateReader((HuggingFaceTokenizer)folder.Tokenizer, folder.Chat ?? (folder.Decoder is null ? ChatFormat.TextToText : null), folder.Description.MaxPromptTokens, TimeProvider.System),
        Tokens = TokenTable.From(folder.Tokenizer, folder.VocabularySize, Antonyms(Path.Combine(folder.Path, AntonymsFileName))),
        CreateRunner = createRunner,
    };

    // The first pass takes many times as long as any later one: libraries are loaded, kernels compiled, memory touched.
    private static IRunner WarmedUp(IRunner runner, ModelFolder folder)
    {
        var special = folder.Tokenizer.Special;
        runner.Prefill([new(0, new[] { special.Separator, special.Start }, default)]);
        runner.Decode([0], [special.Separator]);
        runner.Free(0);
        return folder.Decoder is { Ends.Count: > 1 } decoder ? new OneEndRunner(runner, decoder.Ends) : runner;
    }

    /// <summary>The word pairs of an <c>antonyms.json</c> (<c>{"pairs": [["高", "低"]]}</c>); none when there is no such file.</summary>
    /// <exception cref="CheckpointException"><c>bad_config</c>.</exception>
    public static IReadOnlyList<(string, string)> Antonyms(string path)
    {
        if (!File.Exists(path)) return [];
        try
        {
            return [.. JsonNode.Parse(File.ReadAllBytes(path))!["pairs"]!.AsArray().Select(p => ((string)p![0]!, (string)p[1]!))];
        }
        catch (Exception error) when (error is System.Text.Json.JsonException or InvalidOperationException or NullReferenceException or ArgumentOutOfRangeException or FormatException)
        {
            throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} must hold {{\"pairs\": [[word, word], …]}}.");
        }
    }

    /// <summary>A <see cref="TorchRunner"/> that disposes of its model too.</summary>
    private sealed class OwningRunner(TorchRunner runner, TorchSharp.torch.nn.Module model) : IRunner
    {
        public int VocabularySize => runner.VocabularySize;
        public int Rows => runner.Rows;
        public int MaxContext => runner.MaxContext;
        public int MaxReply => runner.MaxReply;
        public bool ReadsInParts => runner.ReadsInParts;
        public double Usage => runner.Usage;

        public int Open(PrefillItem item) => runner.Open(item);
        public bool Fits(ReadOnlySpan<RowTokens> feeds) => runner.Fits(feeds);
        public ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts) => runner.Read(parts);
        public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens) => runner.Decode(rows, tokens);
        public ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens) => runner.Verify(rows, counts, tokens);
        public void Truncate(int row, int length) => runner.Truncate(row, length);
        public void Fork(ReadOnlySpan<(int From, int To)> copies) => runner.Fork(copies);
        public void Free(int row) => runner.Free(row);

        public void Dispose()
        {
            runner.Dispose();
            model.Dispose();
        }
    }
}
