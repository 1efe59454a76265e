using System.Globalization;
using System.Text;

namespace Chat.Training.Evaluation;

/// <summary>Scores and all replies as Markdown.</summary>
public static class ReplyReport
{
    /// <param name="prompts">File of the prompts; <c>null</c> = those that come with the program.</param>
    public static string Write(string model, Scores scores, string decoding, int seed, string? prompts = null)
    {
        var asked = prompts is null ? "the prompts of `Chat.Training/Evaluation/prompts.txt`, which were written by one who had not seen the training text" : $"the prompts of `{prompts}`";
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# What `{model}` says\n\nEvery reply to {asked}; none selected. Decoding {decoding}, seed {seed} + number of the prompt.\n\n");
        text.Append("| held-out corpus | loss (nats a token) | context gain | perplexity | character F1 | distinct-1 | distinct-2 | distinct-3 | distinct-4 |\n|---|---|---|---|---|---|---|---|---|\n");
        foreach (var (corpus, loss) in scores.HeldOut.Loss)
            text.Append(CultureInfo.InvariantCulture, $"| {corpus} | {loss:F3} | {scores.HeldOut.ContextGain[corpus]:F3} | {Math.Exp(loss):F1} | {scores.CharacterF1.GetValueOrDefault(corpus):F3} | {string.Join(" | ", scores.Distinct[corpus].Select(d => d.ToString("F3", CultureInfo.InvariantCulture)))} |\n");
        text.Append(CultureInfo.InvariantCulture, $"\nReplies in the language of the prompt: {scores.LanguageAgreement:P0}. Couplets answered by a line of equal length: {scores.CoupletForm:P0}.\n");
        text.Append("Context gain: how much higher the loss is with another reply's context; 0 would mean that the model does not look at what it answers.\n");
        foreach (var section in scores.Replies.GroupBy(r => (r.Prompt.Language, r.Prompt.Kind)))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n## {section.Key.Language}, {section.Key.Kind}\n\n| prompt | reply |\n|---|---|\n");
            foreach (var reply in section) text.Append(CultureInfo.InvariantCulture, $"| {Cell(reply.Prompt.Text)} | {Cell(reply.Text)} |\n");
        }
        return text.ToString();
    }

    private static string Cell(string text) => text.ReplaceLineEndings(" ").Replace("|", "\\|", StringComparison.Ordinal);
}
