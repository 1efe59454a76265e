using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Chat.Training.Evaluation.Cuge;

/// <summary>
/// CUGE's datasets in the layouts they are published in. CUGE's own downloads (cuge.baai.ac.cn) need an account and their layouts are described nowhere else, so the source's
/// layout is read; where that is not published either, <see cref="CugeAdapter.Format"/> says so and which one is read instead. Questions are put as CPM-2's fine-tuning code puts them where it has the dataset.
/// </summary>
public static partial class CugeAdapters
{
    private const string Numerals = "一二三四五六七八九十";

    public static IReadOnlyList<CugeAdapter> All { get; } =
    [
        new("PKU-SEG", AnswerKind.Text, ["*test*gold*", "test.*"], path => Lines(path, Segmented), CugeScorers.F1Of((_, text) => Spans(text, tagged: false)),
            "Lines of words with blanks between them, as SIGHAN 2005 publishes the People's Daily corpus; CUGE's own layout was not found."),
        new("WordSeg-Weibo", AnswerKind.Text, ["*test*gold*", "*test*"], path => Lines(path, Segmented), CugeScorers.F1Of((_, text) => Spans(text, tagged: false)),
            "Lines of words with blanks between them (FudanNLP/NLPCC-WordSeg-Weibo)."),
        new("PKU-SEGPOS", AnswerKind.Text, ["test.*"], path => Lines(path, Tagged), CugeScorers.F1Of((_, text) => Spans(text, tagged: true)),
            "Lines of word/tag with blanks between them, as the People's Daily corpus is published; CUGE's own layout was not found."),
        new("CCPM", AnswerKind.Choice, ["test.jsonl", "valid.jsonl"], path => JsonRecords.Read(path, Poem), CugeScorers.MacroF1,
            "JSON lines of translation, choices, answer (THUNLP-AIPoet/CCPM). The public test file has no answers and is not read."),
        new("CMeEE", AnswerKind.Text, ["CMeEE*test*.json", "CMeEE*dev*.json", "test.json"], path => JsonRecords.Read(path, Entities), CugeScorers.F1Of((_, text) => Pairs(text)),
            "A JSON array of text and entities with start_idx, end_idx (the last character), type and entity (CBLUEbenchmark/CBLUE)."),
        new("FinRE", AnswerKind.Text, ["test.txt", "valid.txt"], path => Lines(path, Relation), CugeScorers.F1Of((_, text) => Relations(text)),
            "Lines of head, tail, relation, text with tabs between them (thunlp/Chinese_NRE); «unknown» and «NA» are no relation."),
        new("YACLC", AnswerKind.Text, ["test.jsonl", "valid.jsonl"], path => JsonRecords.Read(path, Correction), CugeScorers.Corrections,
            "JSON lines of sentence_text and sentence_annos with is_grammatical and correction (blcuicall/YACLC). The public test file has no corrections and is not read."),
        new("SPR", AnswerKind.Choice, ["test.json*", "dev.json*"], path => JsonRecords.Read(path, Humor), CugeScorers.PositiveF1,
            "No published layout was found. Read are JSON lines of context (a list of turns), text, and label (1 = funny)."),
        new("ClozeT", AnswerKind.Choice, ["test.json*", "val.json*"], path => JsonRecords.Read(path, Cloze), CugeScorers.Accuracy, "JSON lines of story with <mask>, plot0, plot1, label (thu-coai/LOT-LongLM)."),
        new("C3", AnswerKind.Choice, ["c3-*-test.json", "c3-*-dev.json", "test.json"], path => JsonRecords.Read(path, Comprehension), CugeScorers.Accuracy,
            "A JSON array of [[paragraphs], [{question, choice, answer}], id] (nlpdata/c3)."),
        new("GCRC", AnswerKind.Choice, ["*test*.json", "*valid*.json"], path => JsonRecords.Read(path, Examination), CugeScorers.MacroF1,
            "Published at cuge.baai.ac.cn alone, whose layout was not found. Read are records of content, question, options (or A to D) and answer (a letter)."),
        new("WantWords", AnswerKind.Text, ["description_byHand.json", "test.json"], path => JsonRecords.Read(path, Definitions), CugeScorers.ExactMatch("accuracy"),
            "A JSON object of word to definition_words (thunlp/MultiRD, Chinese)."),
        new("KBQA", AnswerKind.Text, ["*kbqa*test*", "test.*"], Questions, CugeScorers.ExactMatch("exact-match"), "Lines of <question id=N>, <triple id=N>, <answer id=N>, then a line of = (NLPCC-ICCPOL 2016)."),
        new("Sogou-Log", AnswerKind.Ranking, ["test.tsv", "test.txt"], Rankings, CugeScorers.Ranking,
            "Given out by its owner on application, layout not published. Read are lines of query number, query, document, grade with tabs between them, a query's lines together."),
        new("LCSTS", AnswerKind.Text, ["PART_III.txt", "test.jsonl", "test.json"], Summaries, CugeScorers.Rouge,
            "PART_III of the corpus with its <doc>, <human_label>, <summary>, <short_text>, of which labels above 2 are kept; or JSON lines of text and summary as CPM-2 reads it."),
        new("CEPSUM", AnswerKind.Text, ["test.jsonl", "test.json"], path => JsonRecords.Read(path, ProductSummary), CugeScorers.Rouge, "JSON lines of source and targets (CEPSUM 2.0)."),
        new("AdGen", AnswerKind.Text, ["test.json*", "dev.json*"], path => JsonRecords.Read(path, Advertisement), CugeScorers.BleuAndDistinct,
            "JSON lines of title, feature (pairs), desc as CPM-2 reads it, or of content («类型#裤*…») and summary (AdvertiseGen)."),
        new("KdConv", AnswerKind.Text, ["test.json", "dev.json"], path => JsonRecords.Read(path, Conversation), CugeScorers.BleuAndDistinct,
            "film/, music/, travel/ test.json: a JSON array of messages (thu-coai/KdConv). Every message but the first is asked for, given those before it; the knowledge graph is not shown."),
        new("WMT20-EnZh", AnswerKind.Text, ["test.json", "*.en"], Translations, CugeScorers.BleuOnly,
            "A JSON array of target (English) and source (Chinese), the names as CPM-2's code has them; or NAME.en beside NAME.zh, a sentence a line."),
        new("NCLS-EnZh", AnswerKind.Text, ["EN2ZHSUM_test.txt"], CrossLingual, CugeScorers.Rouge, "EN2ZHSUM_test.txt with its <doc>, <Article>, <ZH-REFn-human-corrected> (ZNLP/NCLS-Corpora)."),
        new("Math23k", AnswerKind.Text, ["math23k_test.json", "test.json", "test23k*.json"], path => JsonRecords.Read(path, Problem), CugeScorers.Value,
            "JSON values of original_text (or text) and equation (SCNU203/Math23k, CPM-2). An answer is right when its value is; ans, where given, counts too."),
    ];

    /// <exception cref="InvalidDataException">No such dataset; the message lists those there are.</exception>
    public static CugeAdapter Of(string dataset) => All.FirstOrDefault(a => a.Dataset == dataset)
        ?? throw new InvalidDataException($"No adapter for dataset '{dataset}'. Known: {string.Join(", ", All.Select(a => a.Dataset))}.");

    private static IEnumerable<CugeItem> Lines(string path, Func<string, CugeItem?> read)
    {
        var number = 0;
        foreach (var line in File.ReadLines(path))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line)) continue;
            yield return read(line) ?? throw new InvalidDataException($"{path}, line {number}: not in the layout.");
        }
    }

    private static string[] Words(string line) => line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);

    private static CugeItem Segmented(string line) => new(["分词：" + string.Concat(Words(line))], [string.Join(' ', Words(line))]);

    private static CugeItem? Tagged(string line) => Words(line).All(word => word.LastIndexOf('/') > 0)
        ? new(["分词并标注词性：" + string.Concat(Words(line).Select(word => word[..word.LastIndexOf('/')]))], [string.Join(' ', Words(line))]) : null;

    /// <summary>The words of a text as places in its characters, with their tags where it has some.</summary>
    private static HashSet<string> Spans(string text, bool tagged)
    {
        var (spans, at) = (new HashSet<string>(StringComparer.Ordinal), 0);
        foreach (var word in Words(text))
        {
            var slash = tagged ? word.LastIndexOf('/') : -1;
            var length = slash > 0 ? slash : word.Length;
            spans.Add($"{at}-{at += length}{(slash > 0 ? word[slash..] : "")}");
        }
        return spans;
    }

    private static IEnumerable<CugeItem> Poem(JsonNode record)
    {
        var choices = record.Texts("choices");
        yield return Choice($"选项：{Listed(choices)}文章：{record.Text("translation")}", choices, int.Parse(record.Text("answer"), CultureInfo.InvariantCulture));
    }

    private static IEnumerable<CugeItem> Entities(JsonNode record)
    {
        var text = record.Text("text");
        var entities = record["entities"]!.AsArray().OfType<JsonNode>().Select(e => $"{e.Text("type")}:{e.AnyText("entity") ?? text[(int)e["start_idx"]!..((int)e["end_idx"]! + 1)]}");
        yield return new CugeItem(["实体识别：" + text], [string.Join('；', entities.Distinct(StringComparer.Ordinal))]);
    }

    /// <summary>«type:entity» pairs of a text, a semicolon between them.</summary>
    private static HashSet<string> Pairs(string text) =>
        [.. text.Replace('：', ':').Split(['；', ';', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Where(pair => pair.Contains(':', StringComparison.Ordinal))];

    private static CugeItem? Relation(string line) => line.Split('\t', 4) is [var head, var tail, var relation, var text]
        ? new([$"{text.Trim()}\n{head.Trim()}与{tail.Trim()}的关系是"], [relation.Trim()]) : null;

    private static HashSet<string> Relations(string text) => text.Trim() is "" or "unknown" or "NA" ? [] : [text.Trim()];

    private static IEnumerable<CugeItem> Correction(JsonNode record)
    {
        var source = record.Text("sentence_text");
        var corrections = record["sentence_annos"]?.AsArray().Where(a => a!["is_grammatical"]?.ToJsonString() == "1").Select(a => a!.Text("correction")).Distinct(StringComparer.Ordinal).ToArray();
        if (corrections is null) throw new InvalidDataException("there are no corrections (sentence_annos): this is the blind test file.");
        yield return new CugeItem(["改正句子：" + source], corrections.Length > 0 ? corrections : [source], Source: source);
    }

    private static IEnumerable<CugeItem> Humor(JsonNode record) =>
        [new CugeItem([.. record.Texts("context"), $"“{record.Text("text")}”好笑吗？"], [], ["不好笑", "好笑"], int.Parse(record.Text("label"), CultureInfo.InvariantCulture))];

    private static IEnumerable<CugeItem> Cloze(JsonNode record) =>
        [Choice(record.Text("story").Replace("<mask>", "____", StringComparison.Ordinal), [record.Text("plot0"), record.Text("plot1")], int.Parse(record.Text("label"), CultureInfo.InvariantCulture))];

    private static IEnumerable<CugeItem> Comprehension(JsonNode record)
    {
        if (record is not JsonArray { Count: >= 2 } parts) throw new InvalidDataException("not [[paragraphs], [questions], id].");
        var text = string.Join('\n', parts[0]!.AsArray().Select(p => (string)p!));
        return parts[1]!.AsArray().OfType<JsonNode>().Select(question =>
        {
            var choices = question.Texts("choice");
            return Choice($"问题：{question.Text("question")}选项：{Listed(choices)}文章：{text}", choices, Array.IndexOf(choices, question.Text("answer")));
        });
    }

    private static IEnumerable<CugeItem> Examination(JsonNode record)
    {
        var text = record.AnyText("content", "context", "passage", "text") ?? throw new InvalidDataException("'content' is missing.");
        string[] choices = record["options"] is not null ? record.Texts("options") : [record.Text("A"), record.Text("B"), record.Text("C"), record.Text("D")];
        yield return Choice($"问题：{record.Text("question")}选项：{Listed(choices)}文章：{text}", choices, record.Text("answer").Trim()[0] - 'A');
    }

    private static IEnumerable<CugeItem> Definitions(JsonNode record) => record is not JsonObject words ? throw new InvalidDataException("not an object of words.")
        : words.Select(word => new CugeItem(["意思是“" + string.Concat(word.Value!["definition_words"]!.AsArray() is [JsonArray sense, ..] ? sense.Select(w => (string)w!) : word.Value!.Texts("definition_words")) + "”的词是"], [word.Key]));

    private static IEnumerable<CugeItem> Questions(string path)
    {
        var question = "";
        foreach (var line in File.ReadLines(path))
        {
            if (Tag().Match(line) is not { Success: true } tag) continue;
            if (tag.Groups[1].Value == "question") question = tag.Groups[2].Value.Trim();
            else if (tag.Groups[1].Value == "answer") yield return new CugeItem([question], [.. tag.Groups[2].Value.Split("||", StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)]);
        }
    }

    private static IEnumerable<CugeItem> Rankings(string path)
    {
        var rows = File.ReadLines(path).Where(line => line.Length > 0).Select((line, i) => line.Split('\t') is [var id, var query, var document, var grade]
            && double.TryParse(grade, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) ? (Id: id, Query: query, Document: document, Grade: value)
            : throw new InvalidDataException($"{path}, line {i + 1}: not query number, query, document, grade with tabs between them."));
        return rows.GroupBy(r => r.Id).Select(query => new CugeItem([query.First().Query], [], [.. query.Select(r => r.Document)], Grades: [.. query.Select(r => r.Grade)]));
    }

    private static IEnumerable<CugeItem> Summaries(string path)
    {
        static CugeItem Item(string text, string summary) => new(["写摘要：" + text.Trim()], [summary.Trim()]);
        if (path.EndsWith(".json", StringComparison.Ordinal) || path.EndsWith(".jsonl", StringComparison.Ordinal))
            return JsonRecords.Read<CugeItem>(path, record => [Item(record.Text("text"), record.Text("summary"))]);
        return Document().Matches(File.ReadAllText(path)).Select(d => d.Groups[1].Value)
            .Where(d => Inside(d, "human_label") is not { } label || int.Parse(label, CultureInfo.InvariantCulture) > 2)
            .Select(d => Item(Inside(d, "short_text")!, Inside(d, "summary")!));
    }

    private static IEnumerable<CugeItem> ProductSummary(JsonNode record) => [new CugeItem(["写商品摘要：" + record.Text("source")], record["targets"] is not null ? record.Texts("targets") : record.Texts("target"))];

    private static IEnumerable<CugeItem> Advertisement(JsonNode record) => record.AnyText("content") is { } content
        ? [new CugeItem(["写广告：" + content.Replace('*', '，').Replace('#', '：')], [record.Text("summary")])]
        : [new CugeItem([$"写广告：{record.AnyText("title")}，{string.Join('，', record["feature"]!.AsArray().Select(f => $"{(string)f![0]!}：{(string)f[1]!}"))}"], [record.Text("desc")])];

    private static IEnumerable<CugeItem> Conversation(JsonNode record)
    {
        var turns = record["messages"]!.AsArray().Select(m => m!.Text("message")).ToArray();
        return Enumerable.Range(1, Math.Max(0, turns.Length - 1)).Select(i => new CugeItem(turns[..i], [turns[i]]));
    }

    private static IEnumerable<CugeItem> Translations(string path)
    {
        static CugeItem Item(string english, string chinese) => new(["翻译成中文：" + english], [chinese]);
        if (path.EndsWith(".json", StringComparison.Ordinal)) return JsonRecords.Read<CugeItem>(path, record => [Item(record.Text("target"), record.Text("source"))]);
        string[] english = File.ReadAllLines(path), chinese = File.ReadAllLines(path[..^3] + ".zh");
        return english.Length == chinese.Length ? english.Zip(chinese, Item) : throw new InvalidDataException($"{path} has {english.Length} lines, its translation {chinese.Length}.");
    }

    private static IEnumerable<CugeItem> CrossLingual(string path) => Document().Matches(File.ReadAllText(path)).Select(d => d.Groups[1].Value).Select(d => new CugeItem(
        ["用中文写摘要：" + Inside(d, "Article")], [string.Concat(Corrected().Matches(d).Select(m => m.Groups[1].Value.Trim()))]));

    private static IEnumerable<CugeItem> Problem(JsonNode record)
    {
        var text = record.AnyText("original_text", "text") ?? throw new InvalidDataException("'original_text' is missing.");
        yield return new CugeItem([text], [record.Text("equation"), .. record.AnyText("ans") is { } answer ? new[] { answer } : []]);
    }

    private static CugeItem Choice(string question, string[] choices, int answer) => answer >= 0 && answer < choices.Length ? new CugeItem([question], [], choices, answer)
        : throw new InvalidDataException($"the answer is none of the {choices.Length} choices.");

    private static string Listed(string[] choices) => string.Concat(choices.Select((choice, i) => $"{Numerals[i % Numerals.Length]}、{choice}。"));

    private static string? Inside(string text, string tag) =>
        text.IndexOf($"<{tag}>", StringComparison.Ordinal) is >= 0 and var from && text.IndexOf($"</{tag}>", from, StringComparison.Ordinal) is >= 0 and var to ? text[(from + tag.Length + 2)..to].Trim() : null;

    [GeneratedRegex(@"^<(question|triple|answer) id=\d+>\s*(.*)$")]
    private static partial Regex Tag();

    [GeneratedRegex(@"<doc id=""?\d+""?>(.*?)</doc>", RegexOptions.Singleline)]
    private static partial Regex Document();

    [GeneratedRegex(@"<ZH-REF\d*-human-corrected>(.*?)</ZH-REF\d*-human-corrected>", RegexOptions.Singleline)]
    private static partial Regex Corrected();
}
