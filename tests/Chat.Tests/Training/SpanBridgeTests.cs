using System.Text;
using Chat.Models.Architectures;
using Chat.Models.Tokenizers;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

/// <summary>Bridges between tokenizers that cut texts differently, against sums over tokens in plain loops.</summary>
[Collection(nameof(SerialTorch))]
public sealed class SpanBridgeTests : IDisposable
{
    private const int Pad = TokenizerFile.Pad, End = TokenizerFile.Separator, Start = TokenizerFile.Start, Specials = 4;
    private static readonly LongestFirst Ours = new("a", "b", "c", "ab"), Theirs = new("c", "bc", "a", "abc", "b");
    private static readonly string[] Texts = ["abc", "cab", "bc", "a", "ab", "c"];

    private readonly DisposeScope scope = NewDisposeScope();
    private readonly TabularModel student = new TabularModel(Ours.VocabularySize, End, 3, (prefix, v) => 1.3 * Math.Cos(0.5 + 2 * Code(prefix) + 1.1 * v)).Filled();
    private readonly TabularModel teacher = new TabularModel(Theirs.VocabularySize, End, 4, (prefix, v) => 2 * Math.Sin(1 + 3 * Code(prefix) + 1.7 * v)).Filled();

    public void Dispose() => scope.Dispose();

    private static int Code(int[] prefix) => prefix.Aggregate(0, (code, token) => (code * 4 + token + 1) % 1000);

    public static TheoryData<string, string> Measures { get; } = new() { { "spans", "fkl" }, { "spans", "rkl" }, { "spans", "tvd" }, { "spans", "jsd:0.3" }, { "spans", "skl:0.1" }, { "spans", "srkl:0.1" }, { "uld", "tvd" } };

    [Fact]
    public void Texts_meet_where_both_cuttings_end_a_token()
    {
        var cutter = new TextCutter(Names(Theirs), Names(Ours));

        var (theirs, spans) = cutter.Cut(new([4, 7, End, 6, Start], [7, 6, 6, 5, 6, End]));                  // a ab, c → ab c c b c

        Assert.Equal([6, 6, 8, End, 4, Start], theirs.Context);
        Assert.Equal([7, 4, 5, End], theirs.Labels);                                                        // abc c bc
        Assert.Equal([new(0, 2, 0, 1), new(2, 1, 1, 1), new(3, 2, 2, 1), new(5, 1, 3, 1)], spans);
    }

    [Fact]
    public void A_student_may_cut_its_words_as_it_likes_and_what_is_no_text_ends_the_comparison()
    {
        var cutter = new TextCutter(Names(Theirs), Names(Ours));
        Assert.Equal([new(0, 3, 0, 1), new(3, 1, 1, 1)], cutter.Cut(new([4, Start], [4, 5, 6, End])).Spans);             // a b c, which it would write ab c
        Assert.Equal([new(0, 1, 0, 1)], cutter.Cut(new([4, Start], [4, Pad, 6, End])).Spans);                          // a pad in the middle
        Assert.Equal([new(0, 1, 0, 1), new(1, 1, 1, 1)], cutter.Cut(new([4, Start], [6, 4])).Spans);                   // a reply that was cut off has no end to compare
        Assert.Equal([new(0, 1, 0, 1)], cutter.Cut(new([4, Start], [End])).Spans);

        var bytes = new LongestFirst([.. Enumerable.Range(0, 256).Select(b => new[] { (byte)b })]);
        var half = Encoding.UTF8.GetBytes("aé").Select(b => Specials + b).ToArray();
        var byBytes = new TextCutter(Names(bytes), Names(bytes));
        Assert.Equal(4, byBytes.Cut(new([4, Start], [.. half, End])).Spans.Length);
        Assert.Equal([new(0, 1, 0, 1)], byBytes.Cut(new([4, Start], [.. half[..2], End])).Spans);                      // half of é
    }

    /// <summary>Blanks that belong to the next piece, and one that nobody wrote before the first; characters in bytes.</summary>
    [Theory]
    [InlineData("unigram/bytes"), InlineData("unigram/t5"), InlineData("pieces/legacy"), InlineData("pieces/metaspace")]
    public void Tokenizers_of_other_kinds_meet_the_students_over_the_whole_text(string kind)
    {
        HuggingFaceTokenizer Of(string name, SpecialTokens special) => TokenizerFiles.LoadJson(Golden.At($"{name}/tokenizer.json"), special);
        var (its, our) = (Of(kind, new(0, 1, 0, 0)), Of("families/tokenizers/a", new(3, 2, 0, 0)));
        var (theirs, ours) = (TokenNames.Of(its, its.VocabularySize), TokenNames.Of(our, our.VocabularySize));
        Rollout[] replies = [.. new[] { "the old horse goes to the river", "to be or not to be", "a" }.Select(text => new Rollout(new([.. our.Encode("the river"), 2, 3], [.. our.Encode(text), 2]), Author.Data))];
        foreach (var reply in replies)
        {
            var (sample, spans) = new TextCutter(theirs, ours).Cut(reply.Sample);
            var (own, other) = (0, 0);
            foreach (var span in spans)
            {
                Assert.Equal((own, other), (span.OurFirst, span.TheirFirst));
                (own, other) = (own + span.OurCount, other + span.TheirCount);
            }
            Assert.Equal((reply.Length, sample.Labels.Length), (own, other));
            Assert.Equal(its.Encode("the river"), sample.Context[..^2]);
        }

        using var model = new EncoderDecoder(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.2), its.VocabularySize, 0) with { Start = 0 }, 1);
        model.eval();
        var batch = new RolloutBatch(replies);
        using var rows = new SpanBridge().Judge(new ModelTeacher(new EncoderDecoderScorer(model)), theirs, ours).Score(batch.Batch);
        var (p, q) = rows.Align(0, batch.Rows, zeros(batch.Rows, our.VocabularySize).log_softmax(-1));
        foreach (var law in new[] { p, q }) Assert.All(law.logsumexp(-1).data<float>().ToArray(), sum => Assert.Equal(0, sum, 1e-4));
        Assert.InRange((p - q).abs().max().item<float>(), 0.1f, 100);
    }

    [Fact]
    public void What_the_teacher_writes_is_cut_as_the_student_cuts_it()
    {
        var texts = new SpanBridge().Texts(Names(Theirs), Names(Ours));
        Assert.Equal([6, 6, 8, End, 4, Start], texts.Context([4, 7, End, 6, Start]));
        Assert.Equal([7, 6, 7, End], texts.Reply([7, 6, 8, End]));                                          // abc a b → ab c ab
        Assert.Equal([5, 6], texts.Reply([5]));                                                             // bc, cut off → b c
        Assert.Equal([4], texts.Reply([6, Pad, 8, End]));                                                   // a and what is no text
        Assert.Equal([End], texts.Reply([End]));
        Assert.Empty(texts.Reply([Pad]));
    }

    [Theory, MemberData(nameof(Measures))]
    public void A_divergence_is_that_of_plain_sums_and_its_gradient_a_finite_difference(string bridge, string divergence)
    {
        var replies = Replies(Texts);
        var expected = Reference(bridge, divergence, replies);
        var difference = student.Differences(() => Reference(bridge, divergence, replies));

        Assert.True(expected > 0.1);
        foreach (var chunk in new[] { 1, 2, 512 })
        {
            student.TakeGradient();
            Assert.Equal(expected, Loss(Bridge(bridge), divergence, replies, chunk), 1e-9);
            Assert.Equal(difference, student.TakeGradient(), (a, b) => Math.Abs(a - b) < 1e-7);
        }
    }

    [Theory, MemberData(nameof(Measures))]
    public void Neither_pads_nor_other_replies_matter(string bridge, string divergence)
    {
        var each = Texts.Select(text => Loss(Bridge(bridge), divergence, Replies([text]), 512)).ToArray();
        student.TakeGradient();
        Assert.Equal(each.Sum(), Loss(Bridge(bridge), divergence, Replies(Texts), 512), 1e-9);
        Assert.Equal(each.Reverse().Sum(), Loss(Bridge(bridge), divergence, Replies([.. Texts.Reverse()]), 512), 1e-9);
    }

    /// <summary>
    /// One law of texts, put into either cutting. At the beginning of a reply all columns agree; what is taken out for a piece does not always, since «a b» says that no «abc» follows where «ab» says nothing
    /// of the kind. Further on each cutting knows such things of what it has read.
    /// </summary>
    [Fact]
    public void Two_models_that_write_the_same_texts_agree_at_the_beginning_but_for_the_piece()
    {
        var all = Enumerable.Range(1, 3).SelectMany(length => Enumerable.Range(0, (int)Math.Pow(3, length)).Select(n => string.Concat(Enumerable.Range(0, length).Select(i => "abc"[n / (int)Math.Pow(3, i) % 3])))).ToArray();
        var law = all.ToDictionary(text => text, text => 1.1 + Math.Sin(1 + 7 * text.Aggregate(0, (code, letter) => code * 5 + letter)));
        TabularModel Of(LongestFirst tokenizer, int longest) => new TabularModel(tokenizer.VocabularySize, End, longest, (prefix, v) => Math.Log(1e-12 + law.Where(t => ((int[])[.. tokenizer.Encode(t.Key), End]).AsSpan().StartsWith((int[])[.. prefix, v])).Sum(t => t.Value))).Filled();
        var (writer, judge, differing) = (Of(Ours, 4), Of(Theirs, 4), 0);

        foreach (var text in all)
        {
            var batch = new RolloutBatch([Reply(text)]);
            using var rows = new SpanBridge().Judge(new ModelTeacher(judge), Names(Theirs), Names(Ours)).Score(batch.Batch);
            var (p, q) = rows.Align(0, batch.Rows, writer.Scores(writer.Hidden(batch.Batch)).log_softmax(-1));
            double[] their = [.. p[0].exp().data<double>()], our = [.. q[0].exp().data<double>()];
            Assert.Equal(1, their.Sum(), 1e-9);
            var others = Enumerable.Range(0, their.Length - 1).Where(k => Math.Abs(their[k] - our[k]) > 1e-9).ToArray();
            Assert.True(others.Length == 0 || (others.Length == 1 && Math.Abs(their[others[0]] + their[^1] - our[others[0]] - our[^1]) < 1e-9), text);
            differing += others.Length;
        }
        Assert.InRange(differing, 1, all.Length / 3);
    }

    [Theory, MemberData(nameof(Measures))]
    public void Under_one_tokenizer_a_bridge_changes_nothing_and_a_student_that_is_its_teacher_learns_nothing(string bridge, string divergence)
    {
        var other = new TabularModel(Ours.VocabularySize, End, 3, (prefix, v) => 2 * Math.Sin(1 + 3 * Code(prefix) + 1.7 * v)).Filled();
        var replies = Replies(Texts);
        student.TakeGradient();
        if (bridge == "spans")
        {
            var plain = Backward(new ModelTeacher(other), divergence, replies, 512);
            var gradient = student.TakeGradient();
            Assert.Equal(plain, Backward(new SpanBridge().Judge(new ModelTeacher(other), Names(Ours), Names(Ours)), divergence, replies, 512), 1e-9);
            Assert.Equal(gradient, student.TakeGradient(), (a, b) => Math.Abs(a - b) < 1e-9);
        }

        Assert.Equal(0, Backward(Bridge(bridge).Judge(new ModelTeacher(student), Names(Ours), Names(Ours)), divergence, replies, 512), 1e-12);
        Assert.All(student.TakeGradient(), g => Assert.Equal(0, g, 1e-9));
    }

    [Fact]
    public void What_is_asked_of_the_teacher_is_told_span_by_span()
    {
        var replies = Replies(["cab"]);
        using var rows = new SpanBridge().Judge(new ModelTeacher(teacher), Names(Theirs), Names(Ours)).Score(new RolloutBatch(replies).Batch);
        var each = teacher.Logprobs([4, 6, 8, End]);
        Assert.Equal([each[0], each[1] + each[2], each[3]], rows.Labels(), (a, b) => Math.Abs(a - b) < 1e-12);
    }

    [Fact]
    public void A_teacher_that_begins_replies_with_its_pad_says_each_thing_once()
    {
        var names = Names(new LongestFirst("c", "bc", "a", "abc", "b") { Special = new(Pad, End, Pad, 1) });
        var batch = new RolloutBatch(Replies(Texts));
        using var rows = new SpanBridge().Judge(new ModelTeacher(teacher), names, Names(Ours)).Score(batch.Batch);
        var (p, _) = rows.Align(0, batch.Rows, student.Scores(student.Hidden(batch.Batch)).log_softmax(-1));
        Assert.All(p.logsumexp(-1).data<double>().ToArray(), sum => Assert.Equal(0, sum, 1e-9));
    }

    [Fact]
    public void What_cannot_be_bridged_is_said()
    {
        var refused = Assert.Throws<ArgumentException>(() => new SpanBridge().Judge(new ModelTeacher(teacher), Names(new("x", "y")), Names(Ours)));
        Assert.Contains("no token in common", refused.Message, StringComparison.Ordinal);
        refused = Assert.Throws<ArgumentException>(() => new SpanBridge().Judge(new ModelTeacher(teacher), Names(Theirs) with { Tokenizer = null }, Names(Ours)));
        Assert.Contains("name the teacher's folder", refused.Message, StringComparison.Ordinal);
        Assert.Throws<NotSupportedException>(() => new SpanBridge().Writer(null!, Names(Theirs), Names(Ours)));
    }

    /// <summary>From fresh weights; by <c>spans</c> alone, without a word of likelihood, and by <c>uld</c> as its paper has it, beside likelihood; <c>seqkd</c> from the teacher's own texts.</summary>
    [Theory]
    [InlineData("kd", """{"teacher":"teacher","bridge":"spans","divergence":"fkl","likelihood":0}""")]
    [InlineData("kd", """{"teacher":"teacher","bridge":"uld","divergence":"tvd"}""")]
    [InlineData("seqkd", """{"teacher":"teacher","bridge":"spans"}""")]
    public void A_student_of_another_vocabulary_learns_from_its_teacher(string objective, string distil)
    {
        var root = Directory.CreateTempSubdirectory("spans-").FullName;
        try
        {
            var school = TinyRun.Recipe("teacher") with { Stages = [TinyRun.Stage("only") with { Steps = 150, Dropout = 0, ValidateEvery = 1000, SaveEvery = 1000, Mixture = [new("small-talk-en", "answer", 1)] }] };
            TinyRun.Follow(school, root);
            var recipe = TinyRun.Distilled("student", objective, distil) with { Tokenizer = new(360, new Dictionary<string, long> { ["wesnoth-en"] = 20_000 }) };
            recipe = recipe with { Stages = [recipe.Stages[0] with { Steps = 150, ValidateEvery = 1000, SaveEvery = 1000, Mixture = [new("small-talk-en", "answer", 1)] }] };
            List<double> losses = [];

            TinyRun.Follow(recipe, root, update => { if (update.Validation is null) losses.Add(update.Loss); });

            var (before, after) = (losses.Take(10).Average(), losses.TakeLast(10).Average());
            Assert.True(after < 0.75 * before, $"{before} → {after}");
            var (fresh, taught) = (Divergence(root, trained: false), Divergence(root, trained: true));
            TestContext.Current.TestOutputHelper?.WriteLine($"{objective} {distil} loss {before:F3} → {after:F3}, KL of texts {fresh:F1} → {taught:F1} nats");
            Assert.True(taught < 0.6 * fresh, $"{fresh} → {taught}");
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    /// <summary>KL(p‖q) of whole texts, in nats a text, over texts that the teacher draws: each model reads a text as its own tokenizer cuts it.</summary>
    private static double Divergence(string root, bool trained)
    {
        var (theirs, ours) = (new RunFolder(Path.Combine(root, "teacher")), new RunFolder(Path.Combine(root, "student")));
        ByteLevelTokenizer Tokenizer(RunFolder run) => new(TokenizerJson.Load(run.Tokenizer), TokenizerFile.Tokens);
        var (their, our) = (Tokenizer(theirs), Tokenizer(ours));
        using var teacher = theirs.LoadModel(ScalarType.Float32);
        using var student = trained ? ours.LoadModel(ScalarType.Float32) : new EncoderDecoder(EncoderDecoderConfig.Load(ours.Config), 5);
        student.eval();
        using var runner = new Chat.Models.Engine.TorchRunner(teacher, 16);
        string[] prompts = ["Hello!", "How are you?", "What is your name?", "Good night.", "I am tired."];
        var asked = Enumerable.Range(0, 200).Select(i => prompts[i % prompts.Length]).ToArray();
        int[] Context(ByteLevelTokenizer tokenizer, string prompt) => [.. tokenizer.Encode(prompt), End, Start];
        var drawn = new RolloutWriter(Chat.Models.Decoding.TokenTable.From(their, their.VocabularySize), 16).Write(runner, [.. asked.Select(prompt => Context(their, prompt))], 24, 1, 7, 0);
        var texts = drawn.Select((reply, i) => (Prompt: asked[i], reply.Labels, Text: Encoding.UTF8.GetString([.. reply.Labels.SelectMany(id => their.Bytes(id).ToArray())])))
            .Where(r => r.Labels[^1] == End && their.Encode(r.Text).SequenceEqual(r.Labels[..^1])).ToArray();                  // whole ones that it would cut so itself
        Assert.True(texts.Length > 30, $"{texts.Length} texts.");
        double Logprob(EncoderDecoder model, ByteLevelTokenizer tokenizer)
        {
            using var rows = new ModelTeacher(new EncoderDecoderScorer(model)).Score(new([.. texts.Select(r => new Sample(Context(tokenizer, r.Prompt), [.. tokenizer.Encode(r.Text), End]))]));
            return rows.Labels().Sum();
        }
        return (Logprob(teacher, their) - Logprob(student, our)) / texts.Length;
    }

    private static CuttingBridge Bridge(string name) => name == "spans" ? new SpanBridge() : new RankBridge();

    private double Loss(CuttingBridge bridge, string divergence, Rollout[] replies, int chunk) => Backward(bridge.Judge(new ModelTeacher(teacher), Names(Theirs), Names(Ours)), divergence, replies, chunk);

    private double Backward(ITeacher by, string divergence, Rollout[] replies, int chunk)
    {
        var batch = new RolloutBatch(replies);
        using var rows = by.Score(batch.Batch);
        return RowLoss.Backward(student, batch, new DirectDelivery(Chat.Training.Objectives.Divergence.Parse(divergence)).Terms(replies, 0), rows, 1, chunkRows: chunk).Divergence;
    }

    private static Rollout Reply(string text) => new(new([4, Start], [.. Ours.Encode(text), End]), Author.Data);

    private static Rollout[] Replies(string[] texts) => [.. texts.Select(Reply)];

    private static TokenNames Names(LongestFirst tokenizer) => new(
        [.. Enumerable.Range(0, tokenizer.VocabularySize).Select(id => id < Specials ? Encoding.UTF8.GetBytes($"<{id}>") : tokenizer.Bytes(id).ToArray())], Enumerable.Range(0, Specials).ToHashSet()) { Tokenizer = tokenizer };

    /// <summary>Columns by the bytes they begin with, filled token by token.</summary>
    private double Reference(string bridge, string divergence, Rollout[] replies)
    {
        string[] common = [.. Ours.Words.Intersect(Theirs.Words)];
        string ColumnOf(LongestFirst tokenizer, int id) => id < Specials ? $"special {id}" : common.Where(w => tokenizer.Words[id - Specials].StartsWith(w, StringComparison.Ordinal)).MaxBy(w => w.Length)!;
        var total = 0.0;
        foreach (var labels in replies.Select(r => r.Sample.Labels))
        {
            int[] theirs = [.. Theirs.Encode(string.Concat(labels[..^1].Select(id => Ours.Words[id - Specials]))), End];
            int[] Ends(LongestFirst tokenizer, int[] ids) => [0, .. ids.Select((_, i) => ids.Take(i + 1).Sum(id => id < Specials ? 1 : tokenizer.Words[id - Specials].Length))];
            var (own, other) = (Ends(Ours, labels), Ends(Theirs, theirs));
            int[] meet = [.. own.Intersect(other)];
            for (var n = 0; n + 1 < meet.Length; n++)
            {
                int[] Piece(int[] ids, int[] ends) => ids[Array.IndexOf(ends, meet[n])..Array.IndexOf(ends, meet[n + 1])];
                var (mine, its) = (Piece(labels, own), Piece(theirs, other));
                double[] Columns(TabularModel model, LongestFirst tokenizer, int[] ids, int[] ends, int[] piece)
                {
                    var before = Array.IndexOf(ends, meet[n]);
                    var next = model.Next(ids.AsSpan(0, before)).Select(Math.Exp).ToArray();
                    if (bridge == "uld") return [.. next.OrderDescending(), .. new double[Math.Max(0, Theirs.VocabularySize - next.Length)]];
                    var columns = common.Concat(Enumerable.Range(0, Specials).Select(id => $"special {id}")).ToDictionary(c => c, _ => 0.0);
                    for (var v = 0; v < next.Length; v++) columns[ColumnOf(tokenizer, v)] += next[v];
                    var whole = piece.Select((id, i) => Math.Exp(model.Next(ids.AsSpan(0, before + i))[id])).Aggregate(1.0, (a, b) => a * b);
                    if (mine.Length == 1 && its.Length == 1) whole = 0;
                    columns[ColumnOf(tokenizer, piece[0])] -= whole;
                    return [.. columns.Values, whole];
                }
                var (q, p) = (Columns(student, Ours, labels, own, mine), Columns(teacher, Theirs, theirs, other, its));
                total += Measure(divergence, p, q);
            }
        }
        return total;
    }

    private static double Measure(string divergence, double[] p, double[] q)
    {
        static double Kl(double[] a, double[] b) => a.Zip(b, (x, y) => x <= 0 ? 0 : x * Math.Log(x / y)).Sum();
        double[] Mix(double share) => [.. p.Zip(q, (x, y) => share * x + (1 - share) * y)];
        return divergence switch
        {
            "fkl" => Kl(p, q),
            "rkl" => Kl(q, p),
            "tvd" => p.Zip(q, (x, y) => Math.Abs(x - y)).Sum() / 2,
            "jsd:0.3" => 0.3 * Kl(p, Mix(0.3)) + 0.7 * Kl(q, Mix(0.3)),
            "skl:0.1" => Kl(p, Mix(0.1)),
            _ => Kl(q, Mix(0.9)),
        };
    }

    /// <summary>Takes the longest token that fits. Ids: four special ones, then the words.</summary>
    private sealed class LongestFirst(params byte[][] words) : ITextTokenizer
    {
        public LongestFirst(params string[] words) : this([.. words.Select(Encoding.UTF8.GetBytes)]) { }

        public string[] Words { get; } = [.. words.Select(Encoding.Latin1.GetString)];
        public int VocabularySize => Specials + words.Length;
        public SpecialTokens Special { get; init; } = new(Start, End, Pad, 1);

        public IReadOnlyList<int> Encode(string text)
        {
            var left = Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(text));
            var ids = new List<int>();
            while (left.Length > 0)
            {
                var word = Words.Where(w => left.StartsWith(w, StringComparison.Ordinal)).MaxBy(w => w.Length)!;
                ids.Add(Specials + Array.IndexOf(Words, word));
                left = left[word.Length..];
            }
            return ids;
        }

        public ReadOnlySpan<byte> Bytes(int id) => id < Specials ? [] : words[id - Specials];
    }
}
