using Chat.Models.Architectures;
using Chat.Models.Decoding;
using Chat.Models.Tokenizers;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Sample = Chat.Training.Methods.Sample;

namespace Chat.Reproductions;

/// <summary>One way to train the student, from the same start and with as many updates as all others.</summary>
internal sealed record Arm(string Name, string Method, DistilRecipe? Distil);

/// <summary>What an arm's student is worth under one seed.</summary>
/// <param name="ReverseKl">Σ over a reply of KL(q‖p) on the student's own replies: the divergence of whole replies, by the chain rule.</param>
/// <param name="ForwardKl">The same of KL(p‖q) on the teacher's replies.</param>
/// <param name="TeacherLoss">What the teacher thinks of a token of the student's replies, nats.</param>
/// <param name="Acceptance">Σ min(p, q) on the teacher's replies.</param>
/// <param name="ExcessError">ExAccErr over the first 16 tokens, percent.</param>
/// <param name="Seconds">Of training, on one core.</param>
internal sealed record Outcome(
    string Arm, int Seed, double ReverseKl, double ForwardKl, double TeacherLoss, double RougeL, double Distinct4, double Length, double Acceptance, double ExcessError, double Seconds)
{
    public override string ToString() => FormattableString.Invariant(
        $"seed {Seed} {Arm}: reverse KL {ReverseKl:F2}, forward {ForwardKl:F2}, teacher NLL {TeacherLoss:F3}, Rouge-L {RougeL:F3}, length {Length:F1}, Dist-4 {Distinct4:F3}, acceptance {Acceptance:F3}, {Seconds:F0} s");
}

/// <summary>A held-out prompt with the data's reply.</summary>
internal sealed record Question(string Language, Answered Answered);

/// <summary>Says what students of one teacher are worth. Replies are drawn from the whole distribution by the engine that serves. Thread-safe.</summary>
internal sealed class StudentJudge
{
    private readonly EncoderDecoder teacher;
    private readonly HuggingFaceTokenizer tokenizer;
    private readonly Question[] questions;
    private readonly int batchTokens;
    private readonly Sample[] prompts, teacherReplies;

    public StudentJudge(EncoderDecoder teacher, HuggingFaceTokenizer tokenizer, Question[] questions, int batchTokens)
    {
        (this.teacher, this.tokenizer, this.questions, this.batchTokens) = (teacher, tokenizer, questions, batchTokens);
        var scorer = new EncoderDecoderLikelihood(teacher, tokenizer);
        prompts = [.. questions.Select(q => scorer.Pack(q.Answered.Context, q.Answered.Reply))];
        teacherReplies = Write(teacher, seed: 77);
    }

    /// <param name="seconds">Of its training.</param>
    public Outcome Judge(string arm, int seed, EncoderDecoder student, double seconds)
    {
        var written = Write(student, (ulong)seed);
        var (own, others) = (StateComparison.Compare(teacher, student, written), StateComparison.Compare(teacher, student, teacherReplies));
        var responses = questions.Zip(written, (q, w) => new Response(tokenizer.Decode(w.Labels, skipSpecial: true), [q.Answered.Reply], q.Language, q.Answered.Context)).ToArray();
        var all = Bootstrap.All(responses.Length);
        var excess = ModelMetrics.ExcessError([.. own.Select(s => new Trajectory(1, [.. s.Select(t => t.Forward)]))], [.. others.Select(s => new Trajectory(1, [.. s.Select(t => t.Forward)]))]);
        return new(arm, seed,
            own.Average(s => s.Sum(t => t.Reverse)), others.Average(s => s.Sum(t => t.Forward)), own.SelectMany(s => s).Average(t => t.TeacherLoss),
            new RougeL().Prepare(responses)[0].Value(all), new Distinct().Prepare(responses)[3].Value(all), written.Average(w => w.Labels.Length),
            others.SelectMany(s => s).Average(t => t.Accepted), excess[Math.Min(15, excess.Length - 1)], seconds);
    }

    private Sample[] Write(EncoderDecoder model, ulong seed)
    {
        var table = TokenTable.From(tokenizer, model.Config.VocabularySize);
        var scratch = Directory.CreateTempSubdirectory("study-").FullName;
        try
        {
            using var models = new RolloutModels(model, null, table, model.Config.MaxReply, batchTokens, threads: 1, scratch);
            return [.. models.Write(ReplySource.Student, new(), [.. prompts.Select(p => p.Context)], seed, 0).Zip(prompts, (reply, p) => new Sample(p.Context, reply.Labels))];
        }
        finally { Directory.Delete(scratch, recursive: true); }
    }
}
