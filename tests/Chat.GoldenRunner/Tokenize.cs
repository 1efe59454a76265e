using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Tokenizers;

namespace Chat.GoldenRunner;

/// <summary>Encoding, decoding and streaming with a tokenizer.json.</summary>
internal static class Tokenize
{
    public static JsonNode Run(Arguments arguments, JsonNode input)
    {
        var tokenizer = TokenizerFiles.LoadJson(Path.Combine(arguments.Model, TokenizerFiles.HuggingFace), new SpecialTokens(0, 0, 0, 0));
        return Cases.Run(input, one => (string?)one["op"] switch
        {
            "encode" => new JsonObject { ["ids"] = Cases.Numbers(tokenizer.EncodeWithAdded((string)one["text"]!, (bool)one["add_special_tokens"]!)) },
            "decode" => new JsonObject { ["text"] = tokenizer.Decode(one["ids"].Ints(), (bool)one["skip_special_tokens"]!) },
            "stream" => new JsonObject { ["pieces"] = Stream(tokenizer, one["ids"].Ints()) },
            var other => throw new ArgumentException($"Unknown op '{other}'. Known: encode, decode, stream."),
        });
    }

    private static JsonArray Stream(HuggingFaceTokenizer tokenizer, int[] ids)
    {
        var decoder = Encoding.UTF8.GetDecoder();
        var hasBegun = false;
        var pieces = new JsonArray();
        foreach (var id in ids)
        {
            var bytes = hasBegun ? tokenizer.Bytes(id) : tokenizer.FirstBytes(id);
            hasBegun |= tokenizer.Bytes(id).Length > 0;
            var characters = new char[bytes.Length + 4];
            pieces.Add(JsonValue.Create(new string(characters, 0, decoder.GetChars(bytes, characters, flush: false))));
        }
        return pieces;
    }
}
