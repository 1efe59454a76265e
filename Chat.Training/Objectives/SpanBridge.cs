using System.Text;
using Chat.Domain.Plugins;
using Chat.Models.Engine;
using Chat.Models.Modules;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using TorchSharp;
using static TorchSharp.torch;
using TokenTable = Chat.Models.Decoding.TokenTable;

namespace Chat.Training.Objectives;

/// <summary>
/// A bridge between tokenizers that cut texts differently. The teacher reads the reply as it would have cut it; where both cuttings meet, both models say what comes next, and that is compared in columns that
/// mean the same on both sides. Places within a span say nothing. The teacher judges, and writes whole replies, whose text the student cuts as it does; a token of the one is no token of the other, so they do not write together.
/// </summary>
public abstract class CuttingBridge : IVocabularyBridge
{
    public bool Writes => false;

    public bool WritesTexts => true;

    public TextBridge Texts(TokenNames theirs, TokenNames ours) => new(TokenTable.From(theirs.Tokenizer!, theirs.Count), new TextCutter(theirs, ours).Context, new TextCutter(ours, theirs).Reply);

    public ITeacher Judge(ITeacher teacher, TokenNames theirs, TokenNames ours) => new SpanTeacher(teacher, new(theirs, ours), Columns(theirs, ours));

    public IRunner Writer(IRunner teacher, TokenNames theirs, TokenNames ours) => throw new NotSupportedException("A teacher that cuts texts otherwise does not write the student's tokens.");

    public string? Refuses(DistillationObjective objective, DistilRecipe distil) =>
        TeacherHost.IsAddress(distil.Teacher!) ? "this bridge cuts texts as the teacher does, and a model host does not say how. Name the teacher's folder, or a run, in distil.teacher."
        : distil.TopK > 0 || distil.Cache is not null ? "this bridge compares other columns than the student's tokens, of which there are no best k and no cache: leave topK and cache out."
        : objective.Delivery.NeedsLogprobs ? "this objective asks what the teacher thinks of each single token of the student, and a teacher that cuts texts otherwise cannot say. Take kd or gkd, or a teacher of the student's vocabulary."
        : objective.Delivery is DirectDelivery { Measure: var measure } ? RefusesMeasure(measure) : null;

    /// <summary>Why it cannot be measured in such columns; <c>null</c>: it can.</summary>
    private protected abstract string? RefusesMeasure(Divergence measure);

    private protected abstract ISpanColumns Columns(TokenNames theirs, TokenNames ours);
}

/// <summary>
/// Where both cuttings meet, the columns are the tokens that both vocabularies have; a token that only one of them has counts there for the longest common token which it begins with. Where the next piece of
/// text is several tokens to one of them, its probability, the product over its tokens, is taken out of its column and compared by itself. So both laws sum to 1 and speak of the same beginnings of the text
/// that follows; with one tokenizer everything is as without a bridge. A piece that begins in different columns says nothing.
/// </summary>
[Plugin("spans", Summary = "Tokenizers that cut differently: the next piece of text that both cut at its ends, and the tokens that both have.")]
public sealed class SpanBridge : CuttingBridge
{
    private protected override string? RefusesMeasure(Divergence measure) => measure is Preference ? "a preference is one of single tokens, and this bridge compares pieces of text. Take another divergence." : null;

    private protected override ISpanColumns Columns(TokenNames theirs, TokenNames ours) => new CommonTokens(theirs, ours);
}

/// <summary>
/// Universal Logit Distillation (Boizard et al., arXiv:2402.12030): probabilities are sorted on both sides, and rank is compared with rank, which is the Wasserstein distance where every move costs the same. It
/// needs no token in common and knows of none which it is. The paper compares the t-th tokens of both cuttings; here those are compared that begin at the same place of the text.
/// </summary>
[Plugin("uld", Paper = "arXiv:2402.12030", Summary = "Tokenizers that cut differently: sorted probabilities, rank by rank, where both begin a token.")]
public sealed class RankBridge : CuttingBridge
{
    private protected override string? RefusesMeasure(Divergence measure) => measure is TotalVariation ? null : "sorted probabilities are compared by their differences alone: set distil.divergence to tvd, half of the method's Wasserstein distance.";

    private protected override ISpanColumns Columns(TokenNames theirs, TokenNames ours) => new Ranks(Math.Max(theirs.Count, ours.Count));
}

/// <summary>What one model says at the beginnings of S spans.</summary>
/// <param name="Rows">[S V] log-probabilities.</param>
/// <param name="First">[S] the token that the span begins with.</param>
/// <param name="Rest">[S] log-probability of the span's further tokens together.</param>
/// <param name="IsOne">[S] whether there are none.</param>
/// <param name="IsPiece">[S] whether there are some on either side.</param>
internal sealed record SpanSide(Tensor Rows, Tensor First, Tensor Rest, Tensor IsOne, Tensor IsPiece);

/// <summary>Makes the columns that both models' rows are compared in. Stateless.</summary>
internal interface ISpanColumns
{
    int Count { get; }

    /// <summary>Whether spans that begin with these tokens can be compared.</summary>
    bool Compares(int theirs, int ours);

    /// <returns>[S Count] log-probabilities.</returns>
    Tensor Of(SpanSide side, bool theirs);
}

internal sealed class Ranks(int count) : ISpanColumns
{
    public int Count => count;

    public bool Compares(int theirs, int ours) => true;

    public Tensor Of(SpanSide side, bool theirs)
    {
        using var none = double.NegativeInfinity.ToScalar();
        var sorted = side.Rows.sort(1, descending: true).Values;
        return cat([sorted, full([sorted.shape[0], count - sorted.shape[1]], none, sorted.dtype, sorted.device)], 1);
    }
}

internal sealed class CommonTokens : ISpanColumns
{
    private const double Least = 1e-30;                     // what one side cannot say is improbable there, not impossible

    private readonly Side theirs, ours;

    public CommonTokens(TokenNames theirs, TokenNames ours)
    {
        var special = new TextCutter(theirs, ours).Special;
        var known = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = theirs.Count - 1; id >= 0; id--)
            if (!theirs.Special.Contains(id) && theirs.Names[id].Length > 0) known[Key(theirs.Names[id])] = id;
        var (columns, pairs) = (new Dictionary<string, int>(StringComparer.Ordinal), new List<(int Theirs, int Ours)>());
        for (var id = 0; id < ours.Count; id++)
            if (special.TryGetValue(id, out var same))
            {
                if (pairs.TrueForAll(pair => pair.Theirs != same)) pairs.Add((same, id));                 // T5 begins replies with its pad
            }
            else if (!ours.Special.Contains(id) && known.TryGetValue(Key(ours.Names[id]), out same) && columns.TryAdd(Key(ours.Names[id]), pairs.Count)) pairs.Add((same, id));
        if (columns.Count == 0) throw new ArgumentException("the two vocabularies have no token in common, so there is nothing to compare; the bridge 'uld' needs none.");
        (this.theirs, this.ours) = (new(theirs, columns, [.. pairs.Select(p => p.Theirs)]), new(ours, columns, [.. pairs.Select(p => p.Ours)]));
        Count = pairs.Count + 2;
    }

    /// <summary>The common tokens, all that begins with none of them, and the piece.</summary>
    public int Count { get; }

    public bool Compares(int theirs, int ours) => this.theirs.ColumnOf[theirs] == this.ours.ColumnOf[ours];

    public Tensor Of(SpanSide side, bool theirs)
    {
        using var none = double.NegativeInfinity.ToScalar();
        using var minus = (-1.0).ToScalar();
        var first = side.First.unsqueeze(1);
        var own = side.Rows.gather(1, first).squeeze(1);                                                                    // [S]
        var rest = side.Rest.masked_fill(side.IsOne, minus).neg().AtLeast(1e-7).neg();
        var others = own.Plus(rest.expm1().neg().log()).masked_fill(side.IsOne, none);                                      // begins so and goes on otherwise
        var rows = side.Rows.scatter(1, first, where(side.IsPiece, others, own).unsqueeze(1));
        var piece = own.Plus(side.Rest).masked_fill(side.IsPiece.logical_not(), none);
        var all = cat([(theirs ? this.theirs : ours).Gather(rows), piece.unsqueeze(1)], 1);                                 // [S Count]
        return all.logaddexp(zeros_like(all).Plus(Math.Log(Least)));
    }

    private static string Key(ReadOnlySpan<byte> bytes) => Encoding.Latin1.GetString(bytes);

    /// <summary>Which column each token of a vocabulary counts for.</summary>
    private sealed class Side
    {
        private readonly long[] own, further, columns;

        /// <param name="common">The column of each common token, by its bytes.</param>
        /// <param name="ids">[K] this vocabulary's id of each column's token.</param>
        public Side(TokenNames names, Dictionary<string, int> common, int[] ids)
        {
            own = Array.ConvertAll(ids, id => (long)id);
            ColumnOf = new int[names.Count];
            for (var id = 0; id < names.Count; id++) ColumnOf[id] = names.Special.Contains(id) ? ids.Length : Longest(names.Names[id]);
            foreach (var (column, id) in ids.Index()) ColumnOf[id] = column;
            further = [.. Enumerable.Range(0, names.Count).Except(ids).Select(id => (long)id)];
            columns = Array.ConvertAll(further, id => (long)ColumnOf[id]);

            int Longest(byte[] bytes)
            {
                for (var length = bytes.Length; length > 0; length--)
                    if (common.TryGetValue(Key(bytes.AsSpan(0, length)), out var column)) return column;
                return ids.Length;
            }
        }

        /// <summary>[V]</summary>
        public int[] ColumnOf { get; }

        /// <param name="rows">[S V]</param>
        /// <returns>[S K+1]</returns>
        public Tensor Gather(Tensor rows)
        {
            using var one = 1.ToScalar();
            using var none = double.NegativeInfinity.ToScalar();
            var mine = cat([rows.index_select(1, tensor(own, device: rows.device)), full([rows.shape[0], 1], none, rows.dtype, rows.device)], 1);
            if (further.Length == 0) return mine;
            var mass = zeros(mine.shape, mine.dtype, mine.device).index_add(1, tensor(columns, device: rows.device), rows.index_select(1, tensor(further, device: rows.device)).exp(), one);
            return mine.logaddexp(mass.AtLeast(Least).log());
        }
    }
}

/// <summary>Asks a teacher about replies cut as it cuts them, and says what it thinks at the beginning of each span.</summary>
internal sealed class SpanTeacher(ITeacher teacher, TextCutter cutter, ISpanColumns columns) : ITeacher
{
    public SignalKind Kind => SignalKind.Full;

    public ITeacherRows Score(Batch batch)
    {
        var (samples, spans) = (new List<Sample>(), new List<TextSpan>());
        var (own, other) = (0, 0);
        foreach (var sample in batch.Samples)
        {
            var (theirs, found) = cutter.Cut(sample);
            spans.AddRange(found.Where(span => columns.Compares(theirs.Labels[span.TheirFirst], sample.Labels[span.OurFirst])).Select(span => span with { OurFirst = own + span.OurFirst, TheirFirst = other + span.TheirFirst }));
            samples.Add(theirs);
            (own, other) = (own + sample.Labels.Length, other + theirs.Labels.Length);
        }
        var asked = new Batch(samples, cutter.Start);
        return new Rows(teacher.Score(asked), spans, batch.RowLabels(), asked.RowLabels(), columns);
    }

    private sealed class Rows(ITeacherRows rows, List<TextSpan> spans, long[] ours, long[] theirs, ISpanColumns columns) : ITeacherRows
    {
        public SignalKind Kind => SignalKind.Full;

        public int Together(int from, int most)
        {
            var last = spans.FindLastIndex(span => span.OurFirst < from + most);
            if (last < 0 || spans[last] is var span && span.OurFirst + span.OurCount <= from + most) return most;
            return span.OurFirst > from ? span.OurFirst - from : span.OurCount;
        }

        public (Tensor P, Tensor Q) Align(int from, int count, Tensor q)
        {
            var here = spans.FindAll(span => span.OurFirst >= from && span.OurFirst < from + count);
            var nothing = zeros([count, columns.Count], q.dtype, q.device).Plus(-Math.Log(columns.Count));               // the same on both sides
            if (here.Count == 0) return (nothing, nothing.Plus(q.narrow(1, 0, 1).Times(0)));
            var (first, end) = (here[0].TheirFirst, here[^1].TheirFirst + here[^1].TheirCount);
            var (p, _) = rows.Align(first, end - first, empty(0, device: q.device));
            var places = tensor(here.ConvertAll(span => (long)span.OurFirst - from).ToArray(), device: q.device);
            Tensor Placed(Tensor law) => nothing.index_copy(0, places, law.to_type(q.dtype));
            var pieces = tensor(here.ConvertAll(span => span.OurCount > 1 || span.TheirCount > 1).ToArray(), device: q.device);
            return (Placed(columns.Of(Side(p, theirs.AsSpan(first, end - first), here.ConvertAll(span => (span.TheirFirst - first, span.TheirCount)), pieces), theirs: true)),
                Placed(columns.Of(Side(q, ours.AsSpan(from, count), here.ConvertAll(span => (span.OurFirst - from, span.OurCount)), pieces), theirs: false)));
        }

        /// <summary>log p of each span at its first place, 0 at the others: added up, of all that was compared.</summary>
        public double[] Labels()
        {
            var (each, found) = (rows.Labels(), new double[ours.Length]);
            foreach (var span in spans) found[span.OurFirst] = each.AsSpan(span.TheirFirst, span.TheirCount).ToArray().Sum();
            return found;
        }

        public void Dispose() => rows.Dispose();

        /// <param name="law">[n V]</param>
        /// <param name="labels">[n]</param>
        /// <param name="at">Spans among those rows.</param>
        private static SpanSide Side(Tensor law, ReadOnlySpan<long> labels, List<(int First, int Count)> at, Tensor pieces)
        {
            using var one = 1.ToScalar();
            var ids = tensor(labels.ToArray(), device: law.device);
            var rest = zeros([at.Count], law.dtype, law.device);
            var (further, owners) = (new List<long>(), new List<long>());
            for (var span = 0; span < at.Count; span++)
                for (var i = 1; i < at[span].Count; i++)
                {
                    further.Add(at[span].First + i);
                    owners.Add(span);
                }
            if (further.Count > 0) rest = rest.index_add(0, tensor(owners.ToArray(), device: law.device), law.gather(1, ids.unsqueeze(1)).squeeze(1).index_select(0, tensor(further.ToArray(), device: law.device)), one);
            var firsts = tensor(at.ConvertAll(span => (long)span.First).ToArray(), device: law.device);
            return new(law.index_select(0, firsts), ids.index_select(0, firsts), rest, tensor(at.ConvertAll(span => span.Count == 1).ToArray(), device: law.device), pieces);
        }
    }
}
