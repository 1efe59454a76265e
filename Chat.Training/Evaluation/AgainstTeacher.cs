using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Tokenization;

namespace Chat.Training.Evaluation;

/// <summary>A student beside its teacher. Figures that depend on who wrote the text say so in their names.</summary>
/// <param name="Figures">Teacher's loss of the student's texts and reverse KL on them; forward KL and acceptance on the teacher's; ExAccErr; calibration on held-out replies. In nats a token, shares, percent.</param>
/// <param name="ExcessError">ExAccErr by length, in percent.</param>
public sealed record AgainstTeacher(IReadOnlyDictionary<string, Interval> Figures, IReadOnlyList<double> ExcessError)
{
    /// <summary>Where MiniLLM's code reads ExAccErr.</summary>
    public const int Length = 16;

    /// <param name="contexts">Of dialogues their turns; one text of each model answers each.</param>
    /// <param name="replies">What was really answered.</param>
    /// <param name="done">Told of each text that is written; from any thread.</param>
    /// <exception cref="CheckpointException">The two do not mean the same by the same ids.</exception>
    public static async Task<AgainstTeacher> MeasureAsync(
        EvaluatedModel teacher, EvaluatedModel student, IReadOnlyList<IReadOnlyList<string>> contexts, IReadOnlyList<string> replies, int seed, Action done, CancellationToken cancel)
    {
        RequireSameVocabulary(teacher.Folder.Tokenizer, student.Folder.Tokenizer);
        async Task<IReadOnlyList<TokenState[]>> WrittenAsync(EvaluatedModel writer)
        {
            var texts = await writer.Writer(seed).AllAsync(contexts, ReplyWriter.WholeDistribution, done, cancel);
            return StateComparison.Compare(teacher.Weights, student.Weights, [.. contexts.Zip(texts, (context, text) => Packed(student, context, text))]);
        }
        var own = await WrittenAsync(student);
        var theirs = await WrittenAsync(teacher);
        var gold = StateComparison.Compare(teacher.Weights, student.Weights, [.. contexts.Zip(replies, student.Likelihood.Pack)]);

        Measure[] measures =
        [
            StateComparison.TokenMean("teacher NLL of own texts", own, s => s.TeacherLoss),
            StateComparison.TokenMean("reverse KL on own texts", own, s => s.Reverse),
            StateComparison.TokenMean("forward KL on the teacher's texts", theirs, s => s.Forward),
            StateComparison.TokenMean("acceptance on the teacher's texts", theirs, s => s.Accepted),
            new($"ExAccErr at {Length} (%)", units => At(Excess(own, theirs, units), Length)),
            new("ECE on held-out replies", units => ModelMetrics.CalibrationError([.. units.ToArray().SelectMany(u => gold[u]).Select(s => s.Guess)])),
        ];
        return new AgainstTeacher(measures.ToDictionary(m => m.Name, m => Bootstrap.Percentile(m, contexts.Count, (ulong)seed)), Excess(own, theirs, Bootstrap.All(contexts.Count)));
    }

    /// <summary>Token by token: vocabularies of one size may still differ.</summary>
    public static void RequireSameVocabulary(ITextTokenizer teacher, ITextTokenizer student)
    {
        if (teacher.VocabularySize != student.VocabularySize)
            throw new CheckpointException(CheckpointErrors.BadConfig, $"The teacher has {teacher.VocabularySize} tokens, the student {student.VocabularySize}: their distributions cannot be compared.");
        for (var id = 0; id < teacher.VocabularySize; id++)
            if (!teacher.Bytes(id).SequenceEqual(student.Bytes(id))) throw new CheckpointException(CheckpointErrors.BadConfig, $"Token {id} is not the same text to teacher and student: their distributions cannot be compared.");
    }

    private static Sample Packed(EvaluatedModel model, IReadOnlyList<string> context, WrittenReply text) => model.Likelihood.Pack(context, [.. text.Ids, .. text.Ended || text.Ids.Count == 0 ? new[] { TokenizerFile.Separator } : []]);

    private static double[] Excess(IReadOnlyList<TokenState[]> own, IReadOnlyList<TokenState[]> theirs, ReadOnlySpan<int> units)
    {
        Trajectory[] Of(IReadOnlyList<TokenState[]> texts, int[] drawn) => [.. drawn.Select(u => new Trajectory(1, [.. texts[u].Select(s => s.Forward)]))];
        var numbers = units.ToArray();
        return ModelMetrics.ExcessError(Of(own, numbers), Of(theirs, numbers));
    }

    /// <summary>At the length, or at the longest that both reach.</summary>
    private static double At(double[] excess, int length) => excess[Math.Min(length, excess.Length) - 1];
}
