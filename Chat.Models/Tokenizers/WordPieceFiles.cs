using System.Text;
using System.Text.Json;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>Reads WordPiece tokenizers: Hugging Face's <c>tokenizer.json</c>, where parts that are not known are refused, and BERT's own <c>vocab.txt</c>, a piece a line.</summary>
internal static class WordPieceFiles
{
    private const long LargestFile = 64 << 20;

    public static WordPieceTokenizer Json(string path) => TokenizerJson.Load(path, root => Read(root));

    public static WordPieceTokenizer Lines(string path, WordPieceOptions options)
    {
        if (!File.Exists(path)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{Path.GetFileName(path)} is missing in {Path.GetDirectoryName(path)}.");
        if (new FileInfo(path).Length > LargestFile) throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} is larger than {LargestFile} bytes.");
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        var id = 0;
        foreach (var line in File.ReadLines(path, Encoding.UTF8)) vocabulary[line] = id++;      // of a piece twice the reference takes the last
        AddedToken[] special = [.. new[] { options.Unknown, options.Start, options.Separator, "[PAD]", "[MASK]" }.Where(vocabulary.ContainsKey).Select(name => new AddedToken(vocabulary[name], name, true, false, false))];
        return new(vocabulary, options, special, vocabulary.GetValueOrDefault("[PAD]"));
    }

    /// <summary>What a <c>tokenizer_config.json</c> says. Names of special tokens are BERT's.</summary>
    public static WordPieceOptions Options(ConfigFile file)
    {
        const string known = "BertTokenizer";
        if (file.Text("tokenizer_class") is { } kind && kind is not (known or known + "Fast")) throw file.Unsupported("tokenizer_class", kind, known);
        var lowercase = file.Flag("do_lower_case", true);
        return new()
        {
            Lowercase = lowercase,
            StripAccents = file.Flag("strip_accents", lowercase),
            ChineseApart = file.Flag("tokenize_chinese_chars", true),
        };
    }

    public static WordPieceTokenizer Read(JsonElement root, int pad = 0)
    {
        var (model, normalizer) = (root.GetProperty("model"), root.GetProperty("normalizer"));
        Require("model", TokenizerJson.Kind(model), "WordPiece");
        Require("normalizer", TokenizerJson.Kind(normalizer), "BertNormalizer");
        Require("pre_tokenizer", TokenizerJson.Kind(root.GetProperty("pre_tokenizer")), "BertPreTokenizer");
        var vocabulary = model.GetProperty("vocab").EnumerateObject().ToDictionary(entry => entry.Name, entry => TokenizerJson.Id(entry.Value), StringComparer.Ordinal);
        // Special tokens are not looked for in texts; others would have to be.
        AddedToken[] added = [.. TokenizerJson.Optional(root, "added_tokens") is { } list ? list.EnumerateArray().Select(TokenizerJson.Token) : []];
        foreach (var token in added)
        {
            if (!token.Special) throw TokenizerJson.Unsupported("an added token that is not special", token.Content);
            if (!vocabulary.TryAdd(token.Content, token.Id) && vocabulary[token.Content] != token.Id) throw new FormatException($"'{token.Content}' has two ids.");
        }
        var (start, separator) = Around(root.GetProperty("post_processor"));
        var lowercase = TokenizerJson.Flag(normalizer, "lowercase", absent: true);
        var decoder = TokenizerJson.Optional(root, "decoder");
        if (decoder is { } known) Require("decoder", TokenizerJson.Kind(known), "WordPiece");
        return new(vocabulary, new()
        {
            Lowercase = lowercase,
            StripAccents = TokenizerJson.Flag(normalizer, "strip_accents", absent: lowercase),
            ChineseApart = TokenizerJson.Flag(normalizer, "handle_chinese_chars", absent: true),
            Clean = TokenizerJson.Flag(normalizer, "clean_text", absent: true),
            MaxWord = TokenizerJson.Optional(model, "max_input_chars_per_word")?.GetInt32() ?? 100,
            Prefix = model.GetProperty("continuing_subword_prefix").GetString()!,
            Unknown = model.GetProperty("unk_token").GetString()!,
            Start = start,
            Separator = separator,
            ReadPrefix = decoder?.GetProperty("prefix").GetString(),
            Tidies = decoder is { } part && TokenizerJson.Flag(part, "cleanup", absent: true),
        }, added, pad);
    }

    /// <summary>The names of what stands before and behind a text; any other form than BERT's is refused.</summary>
    private static (string Start, string Separator) Around(JsonElement part)
    {
        if (TokenizerJson.Kind(part) == "BertProcessing") return (part.GetProperty("cls")[0].GetString()!, part.GetProperty("sep")[0].GetString()!);
        Require("post_processor", TokenizerJson.Kind(part), "TemplateProcessing");
        var (single, pair) = (Written("single"), Written("pair"));
        var names = single.Split(' ').Select(piece => piece[..piece.LastIndexOf(':')]).ToArray();
        if (names is not [var start, "A", var separator] || single != $"{start}:0 A:0 {separator}:0" || pair != $"{single} B:1 {separator}:1") throw TokenizerJson.Unsupported("post_processor", $"{single}, {pair}");
        return (start, separator);

        // «[CLS]:0 A:0 [SEP]:0»
        string Written(string key) => string.Join(' ', part.GetProperty(key).EnumerateArray().Select(piece => piece.EnumerateObject().Single().Value)
            .Select(piece => $"{piece.GetProperty("id").GetString()}:{piece.GetProperty("type_id").GetInt32()}"));
    }

    private static void Require(string part, string found, string known)
    {
        if (found != known) throw TokenizerJson.Unsupported(part, found);
    }
}
