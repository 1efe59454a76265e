using System.Text;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Tokenization;
using CsCheck;

namespace Chat.Tests.Training;

public class StreamTests
{
    private static readonly BytePairEncoder Encoder = new(new BytePairs([]));
    private static readonly SampleLimits Limits = new(48, 24);

    private static readonly TokenizedCorpus Dialogue = TokenizedCorpus.Encode(
        Enumerable.Range(0, 40).Select(i => new Document("d", "en", $"s/{i}", ["Who is there?", $"It is me, number {i}.", "Come in.", $"Thank you {i} times."])), Encoder);

    private static readonly TokenizedCorpus Text = TokenizedCorpus.Encode(
        Enumerable.Range(0, 10).Select(i => new Document("t", "en", $"t/{i}", [string.Concat(Enumerable.Repeat($"sentence {i} of many. ", i + 1))])), Encoder);

    internal static MixtureStream Open(ulong seed, StreamCursor? cursor = null)
    {
        var (dialogue, continuation) = (new DialogueSampler(), new ContinuationSampler());
        return new MixtureStream(
            [new("d", Dialogue, dialogue, dialogue.Places(Dialogue, Limits), 2), new("t", Text, continuation, continuation.Places(Text, Limits), 1)], Limits, 400, seed, cursor);
    }

    [Fact]
    public void A_stream_opened_at_a_cursor_goes_on_as_the_one_that_was_left_there()
    {
        Gen.Select(Gen.ULong, Gen.Int[0, 150]).Sample((seed, taken) =>
        {
            var whole = Open(seed);
            for (var i = 0; i < taken; i++) whole.Next();

            var resumed = Open(seed, whole.Cursor);

            for (var i = 0; i < 70; i++) Assert.Equal(Ids(whole.Next()), Ids(resumed.Next()));
        }, iter: 20);
    }

    [Fact]
    public void Another_seed_gives_another_order() => Assert.NotEqual(Ids(Open(1).Next()), Ids(Open(2).Next()));

    [Fact]
    public void An_epoch_visits_each_reply_once()
    {
        var sampler = new DialogueSampler();
        var places = sampler.Places(Dialogue, Limits);
        var stream = new MixtureStream([new("d", Dialogue, sampler, places, 1)], Limits, 400, 7);
        var replies = new List<string>();
        for (var batch = stream.Next(); stream.Cursor.Pool == 0; batch = stream.Next()) replies.AddRange(batch.Samples.Select(s => string.Join(' ', s.Labels)));

        var expected = places.Select(p => sampler.Make(Dialogue, p, Limits, default)).GroupBy(s => string.Join(' ', s.Labels)).ToDictionary(g => g.Key, g => g.Count());
        var epochs = replies.Count / places.Count;
        Assert.True(epochs >= 1);
        foreach (var (reply, count) in expected) Assert.InRange(replies.Count(r => r == reply), epochs * count, (epochs + 1) * count);
    }

    [Fact]
    public void No_batch_passes_its_limit_and_none_loses_a_sample()
    {
        Gen.Select(Gen.Int[1, 48], Gen.Int[1, 24]).Array[1, 200].Sample(sizes =>
        {
            var batches = MixtureStream.Cut(sizes.Select(s => new Sample(new int[s.Item1], new int[s.Item2])), 400);

            Assert.All(batches, b => Assert.InRange(b.Size * (b.ContextLength + b.ReplyLength), 1, 400));
            Assert.Equal(sizes.Length, batches.Sum(b => b.Size));
            Assert.Equal(sizes.Sum(s => s.Item1 + s.Item2), batches.Sum(b => b.Tokens));
        }, iter: 100);
    }

    [Fact]
    public void A_dialogue_sample_ends_its_context_in_separator_and_start_and_fits()
    {
        var sampler = new DialogueSampler();
        foreach (var limits in new[] { Limits, new SampleLimits(12, 30) })
        {
            foreach (var place in sampler.Places(Dialogue, limits))
            {
                var sample = sampler.Make(Dialogue, place, limits, RandomStream.Of(1, "test", place.Position));
                Assert.InRange(sample.Context.Length, 3, limits.MaxContext);
                Assert.Equal([TokenizerFile.Separator, TokenizerFile.Start], sample.Context[^2..]);
                Assert.Equal(TokenizerFile.Separator, sample.Labels[^1]);
                Assert.InRange(sample.Labels.Length, 2, limits.MaxReply);
            }
        }
    }

    [Fact]
    public void An_answer_is_what_the_second_speaker_says()
    {
        var sampler = new AnswerSampler();
        var answers = sampler.Places(Dialogue, Limits).Select(p => Encoding.UTF8.GetString([.. sampler.Make(Dialogue, p, Limits, default).Labels[..^1].Select(id => (byte)(id - TokenizerFile.Specials.Count))])).ToArray();

        Assert.Equal(80, answers.Length);
        Assert.All(answers, a => Assert.True(a.StartsWith("It is me", StringComparison.Ordinal) || a.StartsWith("Thank you", StringComparison.Ordinal), a));
    }

    [Fact]
    public void A_continuation_is_the_text_cut_once()
    {
        var sampler = new ContinuationSampler();
        foreach (var place in sampler.Places(Text, Limits))
        {
            var sample = sampler.Make(Text, place, Limits, RandomStream.Of(1, "test", place.Position));
            var text = Text.Turn(Text.Turns(place.Document).First).ToArray().Select(t => (int)t).ToArray();
            var window = text[place.Position..Math.Min(text.Length, place.Position + Limits.MaxContext - 1 + Limits.MaxReply - 1)];
            var ended = place.Position + window.Length == text.Length;

            Assert.Equal([.. window, .. ended ? [TokenizerFile.Separator] : Array.Empty<int>()], [.. sample.Context[..^1], .. sample.Labels]);
            Assert.Equal(TokenizerFile.Start, sample.Context[^1]);
            Assert.InRange(sample.Context.Length, 5, Limits.MaxContext);
            Assert.InRange(sample.Labels.Length, 4, Limits.MaxReply);
        }
    }

    [Fact]
    public void Tokens_on_disk_are_the_tokens()
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory("tokens-").FullName, "d.tokens");
        Dialogue.Save(path);

        var loaded = TokenizedCorpus.Load(path);

        Assert.Equal(Dialogue.Documents, loaded.Documents);
        for (var turn = 0; turn < 160; turn++) Assert.Equal(Dialogue.Turn(turn).ToArray(), loaded.Turn(turn).ToArray());
        var bytes = File.ReadAllBytes(path);
        File.WriteAllBytes(path, bytes[..^1]);
        Assert.Throws<InvalidDataException>(() => TokenizedCorpus.Load(path));
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    private static IEnumerable<string> Ids(Batch batch) => batch.Samples.Select(s => string.Join(' ', s.Context) + " → " + string.Join(' ', s.Labels));
}
