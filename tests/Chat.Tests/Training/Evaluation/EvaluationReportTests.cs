using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Commands;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Judges;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Spectre.Console;

namespace Chat.Tests.Training.Evaluation;

public class EvaluationReportTests
{
    private static string Shipped(string id) => Path.Combine(AppContext.BaseDirectory, "Shipped", id);

    [Fact]
    public async Task A_model_beside_itself_differs_by_nothing_and_beside_its_teacher_by_something()
    {
        using var student = new EvaluatedModel(Shipped("chat-student"), TimeProvider.System);
        using var teacher = new EvaluatedModel(Shipped("chat-teacher"), TimeProvider.System);
        IReadOnlyList<string>[] contexts = [["Thank you!"], ["你好！"], ["Who are you?", "A friend.", "Good."], ["再见"]];
        string[] replies = ["You are welcome!", "你好！", "Come in.", "再见！"];
        var written = 0;

        var same = await AgainstTeacher.MeasureAsync(student, student, contexts, replies, 1, () => Interlocked.Increment(ref written), default);
        var other = await AgainstTeacher.MeasureAsync(teacher, student, contexts, replies, 1, () => { }, default);

        Assert.Equal(8, written);
        Assert.Equal(0, same.Figures["reverse KL on own texts"].Value, 1e-5);
        Assert.Equal(0, same.Figures["forward KL on the teacher's texts"].Value, 1e-5);
        Assert.Equal(1, same.Figures["acceptance on the teacher's texts"].Value, 1e-5);
        Assert.True(other.Figures["reverse KL on own texts"].Value > 0.1 && other.Figures["acceptance on the teacher's texts"].Value < 0.95);
        Assert.All(other.Figures.Values, f => Assert.Equal(4, f.Units));
        Assert.Equal(same.Figures["ECE on held-out replies"], other.Figures["ECE on held-out replies"]);       // the student's own
    }

    [Fact]
    public void Vocabularies_are_compared_token_by_token()
    {
        AgainstTeacher.RequireSameVocabulary(new Letters("abc"), new Letters("abc"));

        Assert.Contains("Token 1", Assert.Throws<CheckpointException>(() => AgainstTeacher.RequireSameVocabulary(new Letters("abc"), new Letters("acb"))).Message);
        Assert.Contains("3 tokens, the student 4", Assert.Throws<CheckpointException>(() => AgainstTeacher.RequireSameVocabulary(new Letters("abc"), new Letters("abcd"))).Message);
    }

    [Fact]
    public async Task A_writer_gives_the_ids_of_its_text_and_the_same_under_a_seed()
    {
        using var model = new EvaluatedModel(Shipped("chat-student"), TimeProvider.System);
        IReadOnlyList<string>[] turns = [["Thank you!"], ["你好！"]];

        var (first, again, other) = (await model.Writer(1).AllAsync(turns, ReplyWriter.WholeDistribution, null, default), await model.Writer(1).AllAsync(turns, ReplyWriter.WholeDistribution, null, default),
            await model.Writer(9).AllAsync(turns, ReplyWriter.WholeDistribution, null, default));

        Assert.Equal(first.Select(r => r.Text), again.Select(r => r.Text));
        Assert.NotEqual(first.Select(r => r.Text), other.Select(r => r.Text));
        Assert.All(first, r => Assert.Equal(r.Text, System.Text.Encoding.UTF8.GetString([.. r.Ids.SelectMany(id => model.Folder.Tokenizer.Bytes(id).ToArray())]).Trim()));
    }

    [Fact]
    public void The_report_tells_of_every_model_in_Markdown_JSON_and_plots()
    {
        using var folder = new TemporaryFolder();
        static Dictionary<string, IReadOnlyDictionary<string, Interval>> Text(double rouge) => new()
        {
            [EvaluationReport.All] = new Dictionary<string, Interval> { ["rouge-l"] = new(rouge, rouge - 0.05, rouge + 0.05, 40), ["length"] = new(7, 6, 8, 40) },
        };
        var losses = new HeldOutLosses(new Dictionary<string, double> { ["c"] = Math.Log(50) }, new Dictionary<string, double> { ["c"] = 0.1 });
        var against = new AgainstTeacher(new Dictionary<string, Interval> { ["reverse KL on own texts"] = new(1.5, 1.4, 1.6, 40) }, [5, 8, 13]);

        new EvaluationReport([new("one", 1000, losses, Text(0.1)), new("two", 2000, losses, Text(0.2), against, PairwisePreference.Of(8, 1, 2), Text(0.1))], "A run.").Write(folder.Path);

        var markdown = File.ReadAllText(folder.At("evaluation.md"));
        foreach (var part in (string[])["A run.", "| one | 1,000 | 3.912 | 50.0 | 0.100 |", "## Replies: all (40)", "| figure | one | two | two − one |", "| rouge-l | 10.0 (5.0–15.0) | 20.0 (15.0–25.0) | 10.0 (5.0–15.0) |", "| length | 7.0 (6.0–8.0) |", "| reverse KL on own texts | – | 1.500 (1.400–1.600) |", "| two | 8 | 1 | 2 | 0.800 (0.444–0.975) |"])
            Assert.Contains(part, markdown);
        var json = JsonNode.Parse(File.ReadAllText(folder.At("evaluation.json")))!;
        Assert.Equal(0.2, (double)json["models"]![1]!["text"]!["all"]!["rouge-l"]!["value"]!);
        Assert.Equal(13, (double)json["models"]![1]!["exAccErr"]![2]!);
        foreach (var plot in (string[])["text.png", "exposure.png"]) Assert.Equal((byte)'P', File.ReadAllBytes(folder.At(plot))[1]);
    }

    [Fact]
    public void Of_several_replies_to_a_question_the_question_is_drawn()
    {
        var measure = new Measure("mean", Statistics.Mean([1, 2, 3, 11, 12, 13]));

        Assert.Equal((2 + 12 + 3 + 13) / 4.0, Bootstrap.Repeated(measure, 3, 2).Value([1, 2]), 12);
    }

    [Theory]
    [InlineData("evaluate a --judge nobody --teacher b", "Known: reference, teacher-likelihood"), InlineData("evaluate a --judge reference", "--judge needs --teacher"), InlineData("evaluate a --sets dolly", "NAME=PATH"), InlineData("evaluate a --most 0", "at least 1"), InlineData("evaluate a --seeds 0", "at least 1"), InlineData("evaluate", "evaluate"),
        InlineData("cuge", "at least one model folder"), InlineData("cuge a --most -1", "at least 0"), InlineData("cuge a --most 5", "they need --sets"), InlineData("cuge a --lite", "they need --sets")]
    public void What_cannot_be_run_is_said_before_it_is_begun(string line, string sentence)
    {
        var root = Root(new StringWriter());

        Assert.Contains(root.Parse(line).Errors, e => e.Message.Contains(sentence, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("evaluate a"), InlineData("evaluate a b --teacher c --judge reference --sets dolly=x s-ni=y --seeds 5 --most 10 --to z"), InlineData("cuge a b --sets s --lite --most 5"), InlineData("cuge --board")]
    public void What_can_be_run_parses(string line) => Assert.Empty(Root(new StringWriter()).Parse(line).Errors);

    [Theory]
    [InlineData("evaluate STUDENT NOWHERE", "There is no folder"), InlineData("cuge STUDENT NOWHERE", "There is no folder"), InlineData("evaluate STUDENT OTHER --teacher STUDENT", "their distributions cannot be compared")]
    public async Task A_model_that_cannot_be_measured_is_said_before_the_first_one_answers(string line, string sentence)
    {
        using var folder = new TemporaryFolder();
        var output = new StringWriter();
        var places = new Dictionary<string, string> { ["STUDENT"] = Path.Combine(AppContext.BaseDirectory, "Shipped", "chat-student"), ["NOWHERE"] = folder.At("nowhere"), ["OTHER"] = Golden.At("eva/models/m1") };
        string[] arguments = [.. line.Split(' ').Select(word => places.GetValueOrDefault(word, word)), "--to", folder.At("to")];

        var error = await Assert.ThrowsAsync<CheckpointException>(() => Root(output).Parse(arguments).InvokeAsync(new() { EnableDefaultExceptionHandler = false }, TestContext.Current.CancellationToken));

        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.Equal("", output.ToString());
    }

    [Fact]
    public void The_board_and_the_list_are_shown()
    {
        var output = new StringWriter();

        Assert.Equal(0, Root(output).Parse("cuge --board").Invoke());
        Assert.Equal(0, Root(output).Parse("cuge --list").Invoke());

        foreach (var part in (string[])["157.28", "NCLS-EnZh", "thunlp/Chinese_NRE"]) Assert.Contains(part, output.ToString());
    }

    private sealed class Letters(string letters) : ITextTokenizer
    {
        private readonly byte[] bytes = System.Text.Encoding.ASCII.GetBytes(letters);

        public int VocabularySize => bytes.Length;
        public SpecialTokens Special { get; } = new(0, 0, 0, 0);
        public IReadOnlyList<int> Encode(string text) => [.. text.Select(c => letters.IndexOf(c))];
        public ReadOnlySpan<byte> Bytes(int id) => bytes.AsSpan(id, 1);
    }

    private static System.CommandLine.RootCommand Root(StringWriter output)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output), Ansi = AnsiSupport.No });
        console.Profile.Width = 1000;
        return new System.CommandLine.RootCommand { new EvaluateCommand(new PluginCatalog(typeof(IJudge).Assembly), TimeProvider.System, console).Create(), new CugeCommand(TimeProvider.System, console).Create() };
    }
}
