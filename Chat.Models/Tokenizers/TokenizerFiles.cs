using Chat.Models.Architectures;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>Finds the tokenizer of a model folder.</summary>
public static class TokenizerFiles
{
    public const string HuggingFace = "tokenizer.json";
    public const string Vocabulary = "vocab.txt";

    /// <summary>The tokenizer of the folder. A byte-level one has no unknown token: its <c>Unknown</c> is the pad, which no text has.</summary>
    /// <exception cref="CheckpointException"><c>missing_file</c>, <c>bad_config</c> or <c>unsupported</c>.</exception>
    public static ITextTokenizer Load(string folder, EncoderDecoderConfig config)
    {
        var file = Path.Combine(folder, HuggingFace);
        if (File.Exists(file)) return new ByteLevelTokenizer(TokenizerJson.Load(file), new SpecialTokens(config.Start, config.Separator, config.Pad, config.Pad));
        return File.Exists(Path.Combine(folder, Vocabulary)) ? EvaTokenizer.Load(Path.Combine(folder, Vocabulary))
            : throw new CheckpointException(CheckpointErrors.MissingFile, $"Neither {HuggingFace} nor {Vocabulary} is in {folder}.");
    }
}
