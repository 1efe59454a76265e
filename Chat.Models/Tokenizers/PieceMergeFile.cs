using System.Text.Json;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>What a BPE tokenizer of SentencePiece's pieces is made of (Llama 2, Mistral 7B, TinyLlama), from Hugging Face's <c>tokenizer.json</c>.</summary>
public sealed record PieceMergeFile
{
    public required IReadOnlyDictionary<string, int> Vocabulary { get; init; }
    /// <summary>Best first.</summary>
    public required IReadOnlyList<(string Left, string Right)> Merges { get; init; }
    /// <summary>What stands for a character without a piece; <c>null</c>: nothing does.</summary>
    public required string? Unknown { get; init; }
    /// <summary>Neighbours that are unknown are one token.</summary>
    public bool FusesUnknown { get; init; }
    /// <summary>A whole text that is a piece is taken as it is.</summary>
    public bool IgnoreMerges { get; init; }
    public required PieceRules Rules { get; init; }

    internal static PieceMergeFile Read(JsonElement root)
    {
        var model = root.GetProperty("model");
        TokenizerJson.RequirePlainMerges(model);
        return new()
        {
            Vocabulary = TokenizerJson.Vocabularies(model),
            Merges = TokenizerJson.MergesOf(model),
            Unknown = TokenizerJson.Optional(model, "unk_token")?.GetString(),
            FusesUnknown = TokenizerJson.Flag(model, "fuse_unk"),
            IgnoreMerges = TokenizerJson.Flag(model, "ignore_merges"),
            Rules = PieceRules.Read(root),
        };
    }
}
