using Chat.Models.Architectures;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

public sealed class TeacherCacheTests : IDisposable
{
    private const int Words = 40;
    private readonly string root = Directory.CreateTempSubdirectory("cache-").FullName;
    private readonly EncoderDecoder teacher = Model(1), student = Model(2);
    private readonly Batch batch = new([new([20, 21, 3], [30, 31, 2]), new([22, 23, 24, 3], [32, 2]), new([25, 3], [33, 34, 35, 36, 2])]);

    public void Dispose()
    {
        teacher.Dispose();
        student.Dispose();
        Directory.Delete(root, recursive: true);
    }

    private string File => Path.Combine(root, "words");

    private static TeacherCacheHeader Header(int k) => new("weights", "vocabulary", Words, k == 0 ? SignalKind.Full : SignalKind.TopK, k == 0 ? Words : k);

    [Fact]
    public void A_full_signal_is_kept_bit_for_bit()
    {
        var counting = new Counting(new ModelTeacher(new EncoderDecoderScorer(teacher)));
        using (var cache = new TeacherCache(File, Header(0), counting))
        {
            Assert.Equal(Loss(new ModelTeacher(new EncoderDecoderScorer(teacher)), new ReverseKl()), Loss(cache, new ReverseKl()));
            Loss(cache, new ReverseKl());
        }
        Assert.Equal(1, counting.Batches);                                                  // never asked again
        using var again = new TeacherCache(File, Header(0), teacher: null);
        Assert.Equal(3, again.Count);
        Assert.Equal(Loss(new ModelTeacher(new EncoderDecoderScorer(teacher)), new ReverseKl()), Loss(again, new ReverseKl()));
    }

    [Fact]
    public void The_best_k_are_kept_within_half_precision_and_small()
    {
        using var cache = new TeacherCache(File, Header(8), new ModelTeacher(new EncoderDecoderScorer(teacher)));
        var exact = Loss(new TopKTeacher(new ModelTeacher(new EncoderDecoderScorer(teacher)), 8, Words), new ForwardKl());

        // Each log-probability is off by 2⁻¹¹ of itself at most; p log p changes by about as much of 1 + |log p|.
        Assert.Equal(exact, Loss(cache, new ForwardKl()), 10 * 5e-4 * 5);
        Assert.InRange(cache.Size, 1, 3 * 200 + 10 * (8 * 6 + 8));
    }

    [Theory]
    [InlineData(1), InlineData(7), InlineData(30)]
    public void What_a_dying_process_left_half_written_is_cut_off(int bytes)
    {
        using (var cache = new TeacherCache(File, Header(0), new ModelTeacher(new EncoderDecoderScorer(teacher)))) Loss(cache, new ReverseKl());
        using (var file = System.IO.File.OpenWrite(File)) file.SetLength(file.Length - bytes);

        using var again = new TeacherCache(File, Header(0), new ModelTeacher(new EncoderDecoderScorer(teacher)));
        Assert.Equal(2, again.Count);
        Assert.Equal(Loss(new ModelTeacher(new EncoderDecoderScorer(teacher)), new ReverseKl()), Loss(again, new ReverseKl()));
        Assert.Equal(3, again.Count);
    }

    [Fact]
    public void A_damaged_record_says_where_and_what_to_do()
    {
        using (var cache = new TeacherCache(File, Header(0), new ModelTeacher(new EncoderDecoderScorer(teacher)))) Loss(cache, new ReverseKl());
        var bytes = System.IO.File.ReadAllBytes(File);
        bytes[bytes.Length / 2] ^= 1;
        System.IO.File.WriteAllBytes(File, bytes);

        using var again = new TeacherCache(File, Header(0), teacher: null);
        var error = Assert.Throws<InvalidDataException>(() => Loss(again, new ReverseKl()));
        Assert.Contains("remove it", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_reply_that_nobody_asked_about_is_an_error_without_the_teacher()
    {
        using var cache = new TeacherCache(File, Header(0), teacher: null);
        Assert.Contains("lacks 3 of the batch's 3", Assert.Throws<InvalidDataException>(() => Loss(cache, new ReverseKl())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_teachers_cache_is_refused()
    {
        using (new TeacherCache(File, Header(8), teacher: null)) { }
        foreach (var other in new[] { Header(9), Header(0), Header(8) with { Teacher = "others" }, Header(8) with { Tokenizer = "others" } })
            Assert.Contains("another teacher", Assert.Throws<InvalidDataException>(() => new TeacherCache(File, other, null)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("hello"), InlineData("CHATTCH1"), InlineData("CHATTCH1\u007f\u007f\u007f\u007f{}"), InlineData("CHATTCH1\u0002\0\0\0{x")]
    public void A_file_of_another_kind_is_refused(string content)
    {
        System.IO.File.WriteAllText(File, content);
        Assert.Throws<InvalidDataException>(() => new TeacherCache(File, Header(0), null));
    }

    private double Loss(ITeacher by, Divergence divergence)
    {
        var rollouts = new RolloutBatch([.. batch.Samples.Select(s => new Rollout(s, Author.Data))]);
        using var rows = by.Score(batch);
        return RowLoss.Backward(new EncoderDecoderScorer(student), rollouts, new DirectDelivery(divergence).Terms(rollouts.Rollouts, 0), rows, 1).Divergence;
    }

    private static EncoderDecoder Model(ulong seed) => new(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.2), Words, 0), seed);

    private sealed class Counting(ITeacher inner) : ITeacher
    {
        public int Batches { get; private set; }
        public SignalKind Kind => inner.Kind;

        public ITeacherRows Score(Batch batch)
        {
            Batches++;
            return inner.Score(batch);
        }
    }
}
