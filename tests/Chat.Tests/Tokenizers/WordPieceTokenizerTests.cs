using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;

namespace Chat.Tests.Tokenizers;

/// <summary>BERT's tokenizer. The golden ids are those of Hugging Face's tokenizers 0.22.2 for the tokenizer.json files beside them, those in tokenize.json of 0.23.2.</summary>
public sealed class WordPieceTokenizerTests : IDisposable
{
    private static readonly WordPieceTokenizer Uncased = WordPieceTokenizer.Load(Golden.At("wordpiece/uncased"));
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("uncased"), InlineData("cased"), InlineData("accents")]
    public void Ids_are_those_of_the_reference(string name)
    {
        var tokenizer = WordPieceTokenizer.Load(Golden.At($"wordpiece/{name}"));
        var cases = Cases(name);
        Assert.True(cases.Length > 100);
        foreach (var (text, ids) in cases) Assert.Equal((text, ids), (text, string.Join(' ', tokenizer.EncodeTexts(text).Ids)));
    }

    [Theory]
    [InlineData("uncased"), InlineData("cased"), InlineData("accents")]
    public void The_golden_runner_finds_special_tokens_and_writes_ids_as_text(string name) => TokenizeGolden.Agrees($"wordpiece/{name}");

    [Theory]
    [InlineData("uncased", "{}"), InlineData("cased", """{"do_lower_case": false, "tokenizer_class": "BertTokenizerFast"}""")]
    public void A_vocabulary_of_lines_with_its_settings_gives_the_same_ids(string name, string settings)
    {
        File.Copy(Golden.At("wordpiece/uncased/vocab.txt"), folder.At("vocab.txt"));
        File.WriteAllText(folder.At("tokenizer_config.json"), settings);
        var tokenizer = WordPieceTokenizer.Load(folder.Path);
        foreach (var (text, ids) in Cases(name)) Assert.Equal((text, ids), (text, string.Join(' ', tokenizer.EncodeTexts(text).Ids)));
    }

    [Fact]
    public void Two_texts_have_types_and_the_longer_one_is_cut_first()
    {
        int[] hello = [.. Uncased.Encode("hello")], running = [.. Uncased.Encode("running")];
        Assert.Equal((1, 2), (hello.Length, running.Length));
        var (start, separator) = (Uncased.Special.Start, Uncased.Special.Separator);

        var both = Uncased.EncodeTexts("hello hello", "running");
        Assert.Equal([start, .. hello, .. hello, separator, .. running, separator], both.Ids);
        Assert.Equal([0, 0, 0, 0, 1, 1, 1], both.Types);
        Assert.Equal([start, .. hello, separator, .. running, separator], Uncased.EncodeTexts("hello", "running", most: 6).Ids);
        Assert.Equal([start, .. hello, separator, running[0], separator], Uncased.EncodeTexts("hello hello hello", "running", most: 5).Ids);
        Assert.Equal([start, separator, separator], Uncased.EncodeTexts("hello", "running", most: 3).Ids);
        Assert.Equal([start, .. hello, separator], Uncased.EncodeTexts("hello running", most: 3).Ids);
        Assert.Throws<ArgumentOutOfRangeException>(() => Uncased.EncodeTexts("hello", most: 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => Uncased.EncodeTexts("hello", "hello", most: 2));
    }

    [Fact]
    public void A_special_token_in_a_text_is_text_and_no_text_is_refused()
    {
        Assert.DoesNotContain(Uncased.Special.Separator, Uncased.Encode("a [SEP] b"));
        Assert.Equal(Uncased.Encode("a"), Uncased.Encode("a\ud83d"));                       // half a pair is U+FFFD, which is dropped
        Assert.Equal([Uncased.Special.Unknown], Uncased.Encode("é\ufffe"));
        Assert.Equal([Uncased.Special.Unknown], Uncased.Encode(new string('a', 100_000)));
    }

    [Theory]
    [InlineData("model", "type", "\"Unigram\"", CheckpointErrors.Unsupported)]
    [InlineData("model", "unk_token", "\"<unk>\"", CheckpointErrors.BadConfig)]
    [InlineData("model", "vocab", "[]", CheckpointErrors.BadConfig)]
    [InlineData("normalizer", "type", "\"NFC\"", CheckpointErrors.Unsupported)]
    [InlineData("normalizer", "lowercase", "3", CheckpointErrors.BadConfig)]
    [InlineData("pre_tokenizer", "type", "\"Whitespace\"", CheckpointErrors.Unsupported)]
    [InlineData("post_processor", "type", "\"RobertaProcessing\"", CheckpointErrors.Unsupported)]
    [InlineData("post_processor", "pair", "[]", CheckpointErrors.Unsupported)]
    [InlineData("decoder", "type", "\"ByteLevel\"", CheckpointErrors.Unsupported)]
    public void A_file_with_an_unknown_or_impossible_part_is_refused(string part, string key, string value, string kind)
    {
        var json = Golden.Read("wordpiece/uncased/tokenizer.json");
        json[part]![key] = JsonNode.Parse(value);
        File.WriteAllText(folder.At("tokenizer.json"), json.ToJsonString());
        Assert.Equal(kind, Assert.Throws<CheckpointException>(() => WordPieceTokenizer.Load(folder.Path)).Kind);
    }

    [Fact]
    public void An_added_token_that_texts_would_be_searched_for_is_refused()
    {
        var json = Golden.Read("wordpiece/uncased/tokenizer.json");
        json["added_tokens"]!.AsArray().Add(JsonNode.Parse("""{"id": 999, "content": "brand", "special": false}"""));
        File.WriteAllText(folder.At("tokenizer.json"), json.ToJsonString());
        Assert.Equal(CheckpointErrors.Unsupported, Assert.Throws<CheckpointException>(() => WordPieceTokenizer.Load(folder.Path)).Kind);
    }

    [Fact]
    public void A_folder_without_a_vocabulary_or_of_another_tokenizer_is_refused()
    {
        Assert.Equal(CheckpointErrors.MissingFile, Assert.Throws<CheckpointException>(() => WordPieceTokenizer.Load(folder.Path)).Kind);
        File.WriteAllText(folder.At("vocab.txt"), "[UNK]\n[SEP]\nhello\n");
        Assert.Contains("[CLS]", Assert.Throws<CheckpointException>(() => WordPieceTokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
        File.WriteAllText(folder.At("tokenizer_config.json"), """{"tokenizer_class": "BertJapaneseTokenizer"}""");
        Assert.Equal(CheckpointErrors.Unsupported, Assert.Throws<CheckpointException>(() => WordPieceTokenizer.Load(folder.Path)).Kind);
    }

    private static (string Text, string Ids)[] Cases(string tokenizer) => [.. Golden.Read("wordpiece/cases.json")["cases"]!.AsArray().Where(one => (string?)one!["tokenizer"] == tokenizer)
        .Select(one => ((string)one!["text"]!, string.Join(' ', one["ids"]!.AsArray().Select(id => (int)id!))))];
}
