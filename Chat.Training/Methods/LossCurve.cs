using Chat.Models.Checkpoints;
using ScottPlot;

namespace Chat.Training.Methods;

/// <summary>Draws a journal: training loss (smoothed), validation by corpus, and what replies are worth where a stage looks at them.</summary>
public static class LossCurve
{
    /// <summary>Steps that the smoothed line looks back over: fewer in short runs, where it would hang above the losses of now.</summary>
    private static double Window(int steps) => Math.Clamp(steps / 20.0, 1, 50);

    public static void Draw(string journal, string png, string title)
    {
        var entries = JournalEntry.Read(journal);
        using var plot = new Plot();
        plot.Title(title);
        plot.XLabel("step");
        plot.YLabel("nats per token");

        var steps = entries.Where(e => e.Loss is not null).ToArray();
        if (steps.Length > 0)
        {
            var smooth = new double[steps.Length];
            var mean = steps[0].Loss!.Value;
            for (var i = 0; i < steps.Length; i++) smooth[i] = mean += (steps[i].Loss!.Value - mean) / Window(steps.Length);
            var training = plot.Add.ScatterLine(steps.Select(e => (double)e.Step).ToArray(), smooth);
            training.LegendText = "training (smoothed)";
        }
        foreach (var corpus in entries.Where(e => e.Validation is not null).SelectMany(e => e.Validation!.Select(v => (e.Step, Name: v.Key, v.Value))).GroupBy(v => v.Name))
        {
            var validation = plot.Add.Scatter(corpus.Select(v => (double)v.Step).ToArray(), corpus.Select(v => v.Value).ToArray());
            validation.LegendText = $"held-out {corpus.Key}";
        }
        var replies = entries.Where(e => e.Replies is not null).ToArray();
        if (replies.Length > 0)
        {
            plot.Axes.Right.Label.Text = "Rouge-L and Dist-4 of held-out replies";
            var lengths = plot.Axes.AddRightAxis();
            lengths.LabelText = "their length";
            foreach (var (name, axis, value) in new (string, IYAxis, Func<ReplyFigures, double>)[] { ("Rouge-L", plot.Axes.Right, r => r.RougeL), ("Dist-4", plot.Axes.Right, r => r.Distinct4), ("length", lengths, r => r.Length) })
            {
                var figure = plot.Add.Scatter(replies.Select(e => (double)e.Step).ToArray(), replies.Select(e => value(e.Replies!)).ToArray());
                (figure.Axes.YAxis, figure.LegendText, figure.LinePattern) = (axis, name, LinePattern.Dashed);
            }
        }
        plot.ShowLegend(Alignment.UpperRight);
        WholeFile.Write(png, part => plot.SavePng(part, 1000, 600));
    }
}
