using Chat.Models.Architectures;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Evaluation;

/// <summary>What teacher and student make of one token's state: losses of the token itself in nats, divergences of the whole distributions, and the student's best guess.</summary>
/// <param name="Forward">KL(teacher‖student).</param>
/// <param name="Reverse">KL(student‖teacher).</param>
/// <param name="Accepted">Σ min(p, q).</param>
/// <param name="Confidence">Probability of the student's best guess, and whether it is the token.</param>
public sealed record TokenState(double TeacherLoss, double StudentLoss, double Forward, double Reverse, double Accepted, (double Confidence, bool Right) Guess);

/// <summary>
/// Two models of one vocabulary on the same given states: one pass of each, over the whole vocabulary. Divergences depend on who wrote the text: reverse KL and the teacher's loss want
/// the student's, forward KL and acceptance the teacher's.
/// </summary>
public static class StateComparison
{
    // Logits of both models and what is made of them: some six times 4 bytes a token of the vocabulary.
    private const int BatchTokens = 1024;

    /// <returns>For each text its tokens' states, pads left out.</returns>
    /// <exception cref="ArgumentException">The models' vocabularies have different sizes.</exception>
    public static IReadOnlyList<TokenState[]> Compare(EncoderDecoder teacher, EncoderDecoder student, IReadOnlyList<Sample> texts)
    {
        if (teacher.Config.VocabularySize != student.Config.VocabularySize)
            throw new ArgumentException($"The teacher has {teacher.Config.VocabularySize} tokens, the student {student.Config.VocabularySize}: their distributions cannot be compared.");
        teacher.eval();
        student.eval();
        using var gradients = no_grad();
        var states = new TokenState[texts.Count][];
        foreach (var numbers in EncoderDecoderLikelihood.Batches(texts, BatchTokens))
        {
            using var scope = NewDisposeScope();
            var batch = new Batch([.. numbers.Select(n => texts[n])]);
            Tensor contexts = batch.Contexts(), mask = batch.Mask(), replies = batch.Replies(), labels = batch.Labels();
            using var zero = 0.ToScalar();
            var ids = labels.clamp_min(zero).unsqueeze(-1);                                              // [B T 1]
            var p = Rows(teacher, contexts, mask, replies);                                              // [B T V]
            var q = Rows(student, contexts, mask, replies);
            var (best, guess) = q.max(-1);
            double[][] columns =
            [
                Values(p.gather(-1, ids).neg()), Values(q.gather(-1, ids).neg()), Values((p.exp() * (p - q)).sum(-1)), Values((q.exp() * (q - p)).sum(-1)),
                Values(minimum(p, q).exp().sum(-1)), Values(best.exp()), Values(guess.eq(labels)),
            ];
            for (var b = 0; b < numbers.Count; b++)
                states[numbers[b]] = [.. Enumerable.Range(b * batch.ReplyLength, texts[numbers[b]].Labels.Length).Select(i => new TokenState(
                    columns[0][i], columns[1][i], Math.Max(0, columns[2][i]), Math.Max(0, columns[3][i]), columns[4][i], (columns[5][i], columns[6][i] > 0)))];
        }
        return states;
    }

    /// <summary>The mean over tokens of one figure, texts being the units of its interval.</summary>
    public static Measure TokenMean(string name, IReadOnlyList<TokenState[]> texts, Func<TokenState, double> value)
    {
        var sums = texts.Select(states => (Sum: states.Sum(value), Count: states.Length)).ToArray();
        return new Measure(name, units =>
        {
            var (sum, count) = (0.0, 0);
            foreach (var unit in units)
            {
                sum += sums[unit].Sum;
                count += sums[unit].Count;
            }
            return count == 0 ? 0 : sum / count;
        });
    }

    private static Tensor Rows(EncoderDecoder model, Tensor contexts, Tensor mask, Tensor replies) =>
        RowLoss.Logprobs(model.Forward(contexts, mask, replies));

    private static double[] Values(Tensor x) => [.. x.to_type(ScalarType.Float64).flatten().data<double>()];
}
