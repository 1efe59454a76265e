using Chat.Training.Methods;
using Chat.Training.Objectives;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

/// <summary>
/// A model that is a table: a row of float64 scores for each beginning of a reply. Small enough that every reply can be listed with its probability, so that expectations are
/// sums. The context plays no part.
/// </summary>
internal sealed class TabularModel(int vocabulary, int end, int longest, Func<int[], int, double> score) : IReplyScorer
{
    private readonly Dictionary<string, int> places = [];

    /// <summary>[prefixes V]</summary>
    public Tensor Table { get; private set; } = empty(0);

    public int VocabularySize => vocabulary;

    public IReadOnlyList<int[]> Prefixes { get; private set; } = [];

    public TabularModel Filled()
    {
        var prefixes = new List<int[]>();
        void Add(int[] prefix)
        {
            places[string.Join(',', prefix)] = prefixes.Count;
            prefixes.Add(prefix);
        }
        Add([]);
        for (var i = 0; i < prefixes.Count; i++)
            if (prefixes[i].Length < longest - 1)
                for (var v = 0; v < vocabulary; v++)
                    if (v != end) Add([.. prefixes[i], v]);
        Prefixes = prefixes;
        Table = tensor(prefixes.SelectMany(p => Enumerable.Range(0, vocabulary).Select(v => score(p, v))).ToArray(), [prefixes.Count, vocabulary]).requires_grad_();
        return this;
    }

    /// <summary>All replies: those that end, and those cut at the longest length.</summary>
    public IEnumerable<int[]> Replies() =>
        Prefixes.SelectMany(p => Enumerable.Range(0, vocabulary).Where(v => v == end || p.Length == longest - 1).Select(v => (int[])[.. p, v]));

    /// <summary>log-probabilities of the next token.</summary>
    public double[] Next(ReadOnlySpan<int> prefix)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        return Table[places[string.Join(',', prefix.ToArray())]].log_softmax(0).data<double>().ToArray();
    }

    /// <summary>log-probability of each token of a reply.</summary>
    public double[] Logprobs(int[] reply) => [.. reply.Select((token, t) => Next(reply.AsSpan(0, t))[token])];

    public Tensor Hidden(Batch batch) =>
        Table.index_select(0, tensor(batch.Samples.SelectMany(s => s.Labels.Select((_, t) => (long)places[string.Join(',', s.Labels[..t])])).ToArray()));

    public Tensor Scores(Tensor hidden) => hidden.alias();

    /// <summary>Gradient of the table, taken away.</summary>
    public double[] TakeGradient()
    {
        using var gradients = no_grad();
        var gradient = Table.grad is { } given ? given.data<double>().ToArray() : new double[Table.numel()];
        Table.grad?.zero_();
        return gradient;
    }

    /// <summary>Central differences of <paramref name="value"/> over the table.</summary>
    public double[] Differences(Func<double> value, double step = 1e-6)
    {
        using var gradients = no_grad();
        var found = new double[Table.numel()];
        using var flat = Table.detach().flatten();                                          // the table's own memory
        for (var i = 0; i < found.Length; i++)
        {
            var data = flat.data<double>();
            var kept = data[i];
            double At(double x)
            {
                data[i] = x;
                return value();
            }
            found[i] = (At(kept + step) - At(kept - step)) / (2 * step);
            At(kept);
        }
        return found;
    }
}
