using Chat.Models.Architectures;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>Finds the tokenizer of a model folder.</summary>
public static class TokenizerFiles
{
    public const string HuggingFace = "tokenizer.json";
    public const string Vocabulary = "vocab.txt";
    public const string SentencePiece = "spiece.model";

    /// <summary>The tokenizer of an encoder-decoder's folder. A byte-level one has no unknown token: its <c>Unknown</c> is the pad, which no text has.</summary>
    /// <exception cref="CheckpointException"><c>missing_file</c>, <c>bad_config</c> or <c>unsupported</c>.</exception>
    public static ITextTokenizer Load(string folder, EncoderDecoderConfig config)
    {
        string json = Path.Combine(folder, HuggingFace), vocabulary = Path.Combine(folder, Vocabulary), pieces = Path.Combine(folder, SentencePiece);
        var special = new SpecialTokens(config.Start, config.Separator, config.Pad, config.Pad);
        if (File.Exists(json)) return LoadJson(json, special);
        if (File.Exists(pieces)) return Unigram(SentencePieceModel.Load(pieces, ExtraIds(folder)), special);
        return File.Exists(vocabulary) ? EvaTokenizer.Load(vocabulary)
            : throw new CheckpointException(CheckpointErrors.MissingFile, $"None of {HuggingFace}, {SentencePiece} and {Vocabulary} is in {folder}.");
    }

    /// <summary>A <c>tokenizer.json</c> of any known type of model: BPE of bytes or of SentencePiece's pieces, Unigram or WordPiece.</summary>
    /// <param name="special">Ids of the dialogue format. The unknown token is the file's where it has one; WordPiece's start and separator are too.</param>
    /// <exception cref="CheckpointException"><c>missing_file</c>, <c>bad_config</c> or <c>unsupported</c>.</exception>
    public static HuggingFaceTokenizer LoadJson(string path, SpecialTokens special) => TokenizerJson.Load<HuggingFaceTokenizer>(path, root => root.GetProperty("model") switch
    {
        var model when UnigramFile.IsOne(model) => Unigram(UnigramFile.Read(root), special),
        var model when TokenizerJson.Kind(model) == "WordPiece" => WordPieceFiles.Read(root, special.Pad),
        _ when TokenizerJson.Parts(root, "pre_tokenizer", "pretokenizers").Any(part => TokenizerJson.Kind(part) == "ByteLevel") => new ByteLevelTokenizer(TokenizerJson.Read(root), special),
        _ => Merging(PieceMergeFile.Read(root), special),
    });

    private static PieceMergeTokenizer Merging(PieceMergeFile file, SpecialTokens special) => new(file, file.Unknown is { } name && file.Vocabulary.TryGetValue(name, out var id) ? special with { Unknown = id } : special);

    private static UnigramTokenizer Unigram(UnigramFile file, SpecialTokens special) => new(file, special with { Unknown = file.Unknown });

    /// <summary>T5's sentinels are no pieces of its model; mT5's are, and its configuration says 0.</summary>
    private static int ExtraIds(string folder)
    {
        var settings = Path.Combine(folder, ChatFormat.ConfigFileName);
        return File.Exists(settings) ? ConfigFile.Load(settings).Size("extra_ids", 100, least: 0) : 100;
    }
}
