using Chat.Models.Architectures;
using Chat.Models.Tokenizers;

namespace Chat.Models.Checkpoints;

/// <summary>What a folder of a decoder-only model says beyond its shape: which tokens end a reply, and how a conversation is written.</summary>
internal static class DecoderFolder
{
    private const string GenerationFileName = "generation_config.json";

    /// <summary>
    /// The configuration with every token that ends a reply, the one that ends a turn of the chat template first: published folders spread them over three files.
    /// </summary>
    /// <exception cref="CheckpointException"><c>bad_config</c> when no token ends a reply.</exception>
    public static (DecoderConfig Config, HuggingFaceTokenizer Tokenizer, ChatFormat? Chat) Open(string path, DecoderConfig config)
    {
        var file = Path.Combine(path, TokenizerFiles.HuggingFace);
        var added = TokenizerJson.Load(file, TokenizerJson.Around).Added;
        var chat = ChatFormat.Load(path);
        var generation = Path.Combine(path, GenerationFileName);
        List<int> ends = [];
        if (chat?.EndToken is { } name && added.FirstOrDefault(token => token.Content == name) is { } end) ends.Add(end.Id);
        if (File.Exists(generation)) ends.AddRange(ConfigFile.Load(generation).KnownTokens("eos_token_id", config.VocabularySize));
        ends.AddRange(config.Ends);
        ends = [.. ends.Distinct().Where(id => id < config.VocabularySize)];
        if (ends.Count == 0) throw new CheckpointException(CheckpointErrors.BadConfig, $"No file of {path} names a token that ends a reply (eos_token_id).");
        return (config with { Ends = ends }, TokenizerFiles.LoadJson(file, new SpecialTokens(config.Start ?? ends[0], ends[0], ends[0], ends[0])), chat);
    }
}
