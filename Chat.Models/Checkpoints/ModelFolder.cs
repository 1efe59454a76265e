using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Models.Architectures;
using Chat.Models.Tokenizers;
using static TorchSharp.torch;

namespace Chat.Models.Checkpoints;

/// <summary>A file of a model folder: its path below the folder (with slashes), its length in bytes, and its sha256 in lower-case hex.</summary>
public sealed record ModelFile(string Path, long Size, string Sha256);

/// <summary>
/// What crosses from training to serving: <c>config.json</c>, weights, <c>tokenizer.json</c>, <c>spiece.model</c> or <c>vocab.txt</c>, and the model's card
/// <c>chat-model.json</c> (<c>id</c>, <c>createdAt</c>, <c>parent</c>, <c>teacher</c>, <c>licence</c>, <c>defaultDecoding</c>, and whatever else is worth telling).
/// Opening checks everything but the numbers, which are checked as they are read. Immutable.
/// </summary>
public sealed class ModelFolder
{
    public const string ConfigFileName = "config.json";
    public const string CardFileName = "chat-model.json";

    private readonly EncoderDecoderConfig? encoderDecoder;

    private ModelFolder(string path, EncoderDecoderConfig? encoderDecoder, DecoderConfig? decoder, ITextTokenizer tokenizer, ChatFormat? chat, JsonObject card, ModelDescription description) =>
        (Path, this.encoderDecoder, Decoder, Tokenizer, Chat, Card, Description) = (path, encoderDecoder, decoder, tokenizer, chat, card, description);

    public string Path { get; }

    /// <summary>Sizes of an encoder-decoder.</summary>
    /// <exception cref="InvalidOperationException">The folder holds a decoder-only model.</exception>
    public EncoderDecoderConfig Config => encoderDecoder ?? throw new InvalidOperationException($"{Path} holds a decoder-only model, not an encoder-decoder.");

    /// <summary>Sizes of a decoder-only model, or <c>null</c> when the folder holds an encoder-decoder. Its first end token is the tokenizer's separator.</summary>
    public DecoderConfig? Decoder { get; }

    public int VocabularySize => Decoder?.VocabularySize ?? Config.VocabularySize;
    public ITextTokenizer Tokenizer { get; }
    /// <summary>How a published model wants conversations written, when its folder says so.</summary>
    public ChatFormat? Chat { get; }
    /// <summary>The card as it stands in the folder; empty when there is none.</summary>
    public JsonObject Card { get; }
    public ModelDescription Description { get; }

    /// <summary>Id of the model that this one, small and of the same vocabulary, guesses ahead for; <c>null</c> when the card names none.</summary>
    /// <exception cref="CheckpointException"><c>bad_config</c>: <c>weights.draftOf</c> is no text.</exception>
    public string? DraftOf => Card["weights"] is JsonObject weights ? Text(weights, "draftOf") : null;

    /// <exception cref="CheckpointException">What is wrong with the folder; see <see cref="CheckpointErrors"/>.</exception>
    public static ModelFolder Open(string path)
    {
        var file = ConfigFile.Load(System.IO.Path.Combine(path, ConfigFileName));
        var family = ModelFamilies.Of(file);
        using var checkpoint = Checkpoint.OpenFolder(path);
        var card = ReadCard(path);
        if (DecoderConfigFile.Families.TryGetValue(family, out var decoderFamily)) return OpenDecoder(path, DecoderConfigFile.Read(file, decoderFamily), checkpoint, card);
        if (family is not (ModelFamilies.Eva or ModelFamilies.T5))
            throw new CheckpointException(CheckpointErrors.Unsupported, $"Models of type '{family}' do not chat. Those that do: {string.Join(", ", DecoderConfigFile.Families.Keys.Prepend(ModelFamilies.T5).Prepend(ModelFamilies.Eva))}.");
        var (config, weights) = EvaWeights.Locate(EncoderDecoderConfig.Read(file), checkpoint);
        foreach (var _ in weights) { }                                  // each is checked as it is walked
        var tokenizer = TokenizerFiles.Load(path, config);
        CheckFits(path, tokenizer, config.VocabularySize);
        return new ModelFolder(path, config, null, tokenizer, family == ModelFamilies.T5 ? ChatFormat.Load(path) : null, card, Describe(path, EncoderDecoder.ParameterCount(config), config.MaxContext, config.MaxReply, card));
    }

    private static ModelFolder OpenDecoder(string path, DecoderConfig read, Checkpoint checkpoint, JsonObject card)
    {
        var (config, weights) = DecoderWeights.Locate(read, checkpoint);
        foreach (var _ in weights) { }                                  // each is checked as it is walked
        (config, var tokenizer, var chat) = DecoderFolder.Open(path, config);
        CheckFits(path, tokenizer, config.VocabularySize);
        return new ModelFolder(path, null, config, tokenizer, chat, card, Describe(path, DecoderWeights.ParameterCount(config), config.MaxContext, config.MaxReply, card));
    }

    private static void CheckFits(string path, ITextTokenizer tokenizer, int vocabulary)
    {
        if (tokenizer.VocabularySize > vocabulary) throw new CheckpointException(CheckpointErrors.BadConfig, $"The tokenizer of {path} has {tokenizer.VocabularySize} entries, the model only {vocabulary}.");
    }

    /// <summary>The encoder-decoder with its weights, in evaluation mode. Each call builds a new one.</summary>
    /// <exception cref="CheckpointException">What is wrong with the weights.</exception>
    public EncoderDecoder LoadModel(Device? device = null, ScalarType? dtype = null)
    {
        using var checkpoint = Checkpoint.OpenFolder(Path);
        return EvaWeights.Load(Config, checkpoint, device, dtype);
    }

    /// <summary>The decoder-only model with its weights, in evaluation mode. Each call builds a new one.</summary>
    /// <exception cref="CheckpointException">What is wrong with the weights.</exception>
    public Architectures.Decoder LoadDecoder(Device? device = null, ScalarType? dtype = null)
    {
        using var checkpoint = Checkpoint.OpenFolder(Path);
        return DecoderWeights.Load(Decoder ?? throw new InvalidOperationException($"{Path} holds an encoder-decoder, not a decoder-only model."), checkpoint, device, dtype);
    }

    /// <summary>Every file below a folder, in ordinal order of their paths (with slashes).</summary>
    public static IReadOnlyList<ModelFile> Files(string path)
    {
        var files = new List<ModelFile>();
        foreach (var name in Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Select(file => System.IO.Path.GetRelativePath(path, file).Replace('\\', '/')).Order(StringComparer.Ordinal))
        {
            using var file = File.OpenRead(System.IO.Path.Combine(path, name));
            files.Add(new(name, file.Length, Convert.ToHexStringLower(SHA256.HashData(file))));
        }
        return files;
    }

    /// <summary>
    /// The content hash: sha256, in hex, over the lines «path, tab, sha256 of the file, newline» of every file but the card, in ordinal order of their paths.
    /// </summary>
    public static string HashOf(IEnumerable<ModelFile> files) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(
        files.Where(file => file.Path != CardFileName).OrderBy(file => file.Path, StringComparer.Ordinal).Select(file => $"{file.Path}\t{file.Sha256}\n")))));

    /// <summary>The content hash of a folder.</summary>
    public static string Hash(string path) => HashOf(Files(path));

    private static ModelDescription Describe(string path, long parameters, int maxContext, int maxReply, JsonObject card) => new()
    {
        Id = Text(card, "id") ?? System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path))),
        Hash = Hash(path),
        CreatedAt = Text(card, "createdAt") is { } created
            ? DateTimeOffset.TryParse(created, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var at) ? at : throw Bad($"createdAt '{created}' is no date")
            : new DateTimeOffset(File.GetLastWriteTimeUtc(System.IO.Path.Combine(path, ConfigFileName))),
        Parameters = parameters,
        MaxPromptTokens = maxContext,
        MaxCompletionTokens = maxReply,
        Parent = Text(card, "parent"),
        Teacher = Text(card, "teacher"),
        Licence = Text(card, "licence"),
        DefaultDecoding = card["defaultDecoding"] switch
        {
            null => null,
            JsonObject decoding => (JsonObject)decoding.DeepClone(),
            var other => throw Bad($"defaultDecoding must be an object, not {other.GetValueKind()}"),
        },
    };

    private static JsonObject ReadCard(string path)
    {
        var file = System.IO.Path.Combine(path, CardFileName);
        if (!File.Exists(file)) return [];
        try
        {
            return JsonNode.Parse(File.ReadAllBytes(file)) as JsonObject ?? throw Bad("it is not an object");
        }
        catch (JsonException error)
        {
            throw Bad($"it is not JSON: {error.Message}");
        }
    }

    private static string? Text(JsonObject card, string key) => card[key] switch
    {
        null => null,
        JsonValue value when value.TryGetValue<string>(out var text) => text,
        _ => throw Bad($"{key} must be a text"),
    };

    private static CheckpointException Bad(string what) => new(CheckpointErrors.BadConfig, $"{CardFileName}: {what}.");
}
