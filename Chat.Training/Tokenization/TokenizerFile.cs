using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Tokenizers;

namespace Chat.Training.Tokenization;

/// <summary>
/// Writes a trained vocabulary as a Hugging Face <c>tokenizer.json</c>: special tokens first (EVA's set), then bytes, then merges.
/// Ids: specials 0…n−1, byte b is n+b, merge i is n+256+i.
/// </summary>
public static class TokenizerFile
{
    /// <summary>The dialogue format's tokens in the order of their ids; the first sentinel starts a reply, the others are spare.</summary>
    public static IReadOnlyList<string> Specials { get; } = ["<pad>", "<unk>", "<sep>", .. Enumerable.Range(0, 13).Select(i => $"<s_{i}>")];

    public const int Pad = 0, Unknown = 1, Separator = 2, Start = 3;

    public static SpecialTokens Tokens { get; } = new(Start, Separator, Pad, Unknown);

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, IndentSize = 1, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string ToJson(BytePairs pairs)
    {
        var names = pairs.Symbols().Select(Visible).ToArray();
        var vocabulary = new JsonObject();
        for (var i = 0; i < Specials.Count; i++) vocabulary[Specials[i]] = i;
        for (var i = 0; i < names.Length; i++) vocabulary[names[i]] = Specials.Count + i;

        var byteLevel = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = true, ["use_regex"] = false };
        var file = new JsonObject
        {
            ["version"] = "1.0",
            ["truncation"] = null,
            ["padding"] = null,
            ["added_tokens"] = new JsonArray([.. Specials.Select((content, id) => new JsonObject
            {
                ["id"] = id, ["content"] = content, ["single_word"] = false, ["lstrip"] = false, ["rstrip"] = false, ["normalized"] = false, ["special"] = true,
            })]),
            ["normalizer"] = null,
            ["pre_tokenizer"] = new JsonObject
            {
                ["type"] = "Sequence",
                ["pretokenizers"] = new JsonArray(
                    new JsonObject { ["type"] = "Split", ["pattern"] = new JsonObject { ["Regex"] = PreTokenizer.Pattern }, ["behavior"] = "Isolated", ["invert"] = false },
                    byteLevel.DeepClone()),
            },
            ["post_processor"] = null,
            ["decoder"] = byteLevel.DeepClone(),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE", ["dropout"] = null, ["unk_token"] = null, ["continuing_subword_prefix"] = null, ["end_of_word_suffix"] = null,
                ["fuse_unk"] = false, ["byte_fallback"] = false, ["ignore_merges"] = false,
                ["vocab"] = vocabulary,
                ["merges"] = new JsonArray([.. pairs.Merges.Select(m => (JsonNode)$"{names[m.Left]} {names[m.Right]}")]),
            },
        };
        return file.ToJsonString(Json) + "\n";
    }

    /// <summary>Reads back what <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="InvalidDataException">A file of another make.</exception>
    public static BytePairs Read(string json)
    {
        var model = JsonNode.Parse(json)?["model"] ?? throw new InvalidDataException("tokenizer.json has no model.");
        var vocabulary = model["vocab"]!.AsObject().ToDictionary(p => p.Key, p => (int)p.Value!, StringComparer.Ordinal);
        if (Specials.Where((name, id) => vocabulary.GetValueOrDefault(name, -1) != id).Any())
            throw new InvalidDataException($"tokenizer.json does not start with the special tokens {string.Join(' ', Specials)}.");
        var merges = model["merges"]!.AsArray().Select(m => ((string)m!).Split(' ')).Select(m => (vocabulary[m[0]] - Specials.Count, vocabulary[m[1]] - Specials.Count)).ToArray();
        return new BytePairs(merges);
    }

    /// <summary>GPT-2's printable name of a byte string.</summary>
    private static string Visible(byte[] bytes)
    {
        var name = new StringBuilder(bytes.Length);
        foreach (var b in bytes) name.Append(ByteNames[b]);
        return name.ToString();
    }

    private static readonly char[] ByteNames = MakeByteNames();

    private static char[] MakeByteNames()
    {
        var names = new char[256];
        var next = 256;
        for (var b = 0; b < 256; b++)
            names[b] = b is >= '!' and <= '~' or >= 0xA1 and <= 0xAC or >= 0xAE ? (char)b : (char)next++;
        return names;
    }
}
