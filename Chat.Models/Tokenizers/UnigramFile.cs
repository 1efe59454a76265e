using System.Text.Json;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>What a Unigram tokenizer is made of, from Hugging Face's <c>tokenizer.json</c> or from SentencePiece's own <c>spiece.model</c>.</summary>
public sealed record UnigramFile
{
    /// <summary>By id: a piece and its score, the logarithm of its probability.</summary>
    public required IReadOnlyList<(string Piece, double Score)> Pieces { get; init; }
    public required int Unknown { get; init; }
    public required PieceRules Rules { get; init; }

    /// <exception cref="CheckpointException"><c>missing_file</c>, <c>bad_config</c>, or <c>unsupported</c> for a part that is not known.</exception>
    public static UnigramFile Load(string path) => TokenizerJson.Load(path, Read);

    /// <summary>Files of the first versions do not name the type: a list of pieces is Unigram's.</summary>
    internal static bool IsOne(JsonElement model) => model.TryGetProperty("type", out _) ? TokenizerJson.Kind(model) == "Unigram" : model.TryGetProperty("vocab", out var vocabulary) && vocabulary.ValueKind == JsonValueKind.Array;

    internal static UnigramFile Read(JsonElement root)
    {
        var model = root.GetProperty("model");
        return !IsOne(model) ? throw TokenizerJson.Unsupported("model", TokenizerJson.Kind(model)) : new UnigramFile
        {
            Pieces = [.. model.GetProperty("vocab").EnumerateArray().Select(entry => (entry[0].GetString() ?? throw new FormatException("A piece is null."), entry[1].GetDouble()))],
            Unknown = TokenizerJson.Id(model.GetProperty("unk_id")),
            Rules = PieceRules.Read(root),
        };
    }
}
