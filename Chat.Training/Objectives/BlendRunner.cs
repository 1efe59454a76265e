using System.Numerics.Tensors;
using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Training.Objectives;

/// <summary>Makes one row of the next token's scores of the student's and the teacher's.</summary>
/// <param name="student">[V] log-probabilities.</param>
/// <param name="teacher">[V] log-probabilities.</param>
/// <param name="blend">[V] log-probabilities to draw from.</param>
public delegate void BlendLaw(ReadOnlySpan<float> student, ReadOnlySpan<float> teacher, Span<float> blend);

/// <summary>The laws under which teacher and student write together, token by token.</summary>
public static class BlendLaws
{
    /// <summary>αp + (1 − α)q: probabilities mixed, not scores (MiniLLM, arXiv:2306.08543).</summary>
    public static BlendLaw Mixed(double teacherShare) => (student, teacher, blend) =>
    {
        float p = (float)Math.Log(teacherShare), q = (float)Math.Log(1 - teacherShare);
        for (var v = 0; v < blend.Length; v++)
        {
            float a = p + teacher[v], b = q + student[v];
            var most = Math.Max(a, b);
            blend[v] = float.IsNegativeInfinity(most) ? most : most + MathF.Log(MathF.Exp(a - most) + MathF.Exp(b - most));
        }
    };

    /// <summary>
    /// The student proposes; what is not among the teacher's best <paramref name="top"/> is drawn again from the teacher (speculative knowledge distillation, arXiv:2410.11325). As one law:
    /// q(v)·[v ∈ K] + (1 − q(K))·p(v). With 1 the teacher's best token always, with V the student's own words.
    /// </summary>
    public static BlendLaw Filtered(int top) => (student, teacher, blend) =>
    {
        var best = new int[Math.Min(top, teacher.Length)];
        Scores.Best(teacher, best);
        var rejected = 1.0;
        foreach (var v in best) rejected -= Math.Exp(student[v]);
        rejected = Math.Max(0, rejected);
        for (var v = 0; v < blend.Length; v++) blend[v] = (float)(rejected * Math.Exp(teacher[v]));
        foreach (var v in best) blend[v] += MathF.Exp(student[v]);
        TensorPrimitives.Log(blend, blend);
    };
}

/// <summary>
/// Two models of one vocabulary as one: each row is fed to both, and what comes next is drawn from the blend of their laws. So the engine that serves writes what teacher and student
/// write together. Owns neither runner.
/// </summary>
public sealed class BlendRunner(IRunner student, IRunner teacher, BlendLaw law) : IRunner
{
    private readonly Dictionary<int, (int Student, int Teacher)> due = [];
    private float[] ours = [], theirs = [], blend = [];

    public int VocabularySize => student.VocabularySize == teacher.VocabularySize ? student.VocabularySize
        : throw new InvalidOperationException($"The student has {student.VocabularySize} tokens, the teacher {teacher.VocabularySize}.");

    public int Rows => Math.Min(student.Rows, teacher.Rows);
    public int MaxContext => Math.Min(student.MaxContext, teacher.MaxContext);
    public int MaxReply => Math.Min(student.MaxReply, teacher.MaxReply);

    /// <summary>Each may have found another share of a prompt read already.</summary>
    public bool ReadsInParts => false;

    public double Usage => Math.Max(student.Usage, teacher.Usage);

    public int Open(PrefillItem item)
    {
        var open = (student.Open(item), teacher.Open(item));
        due[item.Row] = open;
        return Math.Max(open.Item1, open.Item2);
    }

    public bool Fits(ReadOnlySpan<RowTokens> feeds) => student.Fits(feeds) && teacher.Fits(feeds);

    public ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts)
    {
        Span<RowTokens> own = new RowTokens[parts.Length], other = new RowTokens[parts.Length];
        for (var i = 0; i < parts.Length; i++)
        {
            var (ourDue, theirDue) = due[parts[i].Row];
            (own[i], other[i]) = (new(parts[i].Row, ourDue), new(parts[i].Row, theirDue));
        }
        return Blend(student.Read(own), teacher.Read(other));
    }

    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens) => Blend(student.Decode(rows, tokens), teacher.Decode(rows, tokens));

    public ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens) => Blend(student.Verify(rows, counts, tokens), teacher.Verify(rows, counts, tokens));

    public void Truncate(int row, int length)
    {
        student.Truncate(row, length);
        teacher.Truncate(row, length);
    }

    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        student.Fork(copies);
        teacher.Fork(copies);
    }

    public void Free(int row)
    {
        student.Free(row);
        teacher.Free(row);
    }

    public void Dispose() { }

    private ReadOnlySpan<float> Blend(ReadOnlySpan<float> own, ReadOnlySpan<float> other)
    {
        if (blend.Length < own.Length) (ours, theirs, blend) = (new float[own.Length], new float[own.Length], new float[own.Length]);
        own.CopyTo(ours);
        other.CopyTo(theirs);
        for (var at = 0; at < own.Length; at += VocabularySize)
        {
            Span<float> q = ours.AsSpan(at, VocabularySize), p = theirs.AsSpan(at, VocabularySize);
            Scores.LogSoftmax(q);
            Scores.LogSoftmax(p);
            law(q, p, blend.AsSpan(at, VocabularySize));
        }
        return blend.AsSpan(0, own.Length);
    }
}
