using Chat.Domain.Plugins;
using Chat.Models.Engine;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using TorchSharp;
using static TorchSharp.torch;
using TokenTable = Chat.Models.Decoding.TokenTable;

namespace Chat.Training.Objectives;

/// <summary>Lets a teacher of another vocabulary teach: in a recipe <c>distil.bridge</c>. Stateless.</summary>
[PluginKind("bridge")]
public interface IVocabularyBridge
{
    /// <summary>The teacher as one who judges the student's tokens. What it says and the student's log-probabilities stand in common columns, whatever the bridge makes of them.</summary>
    /// <exception cref="ArgumentException">These two cannot be bridged so; the message names the token.</exception>
    ITeacher Judge(ITeacher teacher, TokenNames theirs, TokenNames ours);

    /// <summary>Whether the teacher may also write the student's tokens, alone or with it.</summary>
    bool Writes { get; }

    /// <summary>How replies that the teacher writes in its own tokens become the student's; <c>null</c>: they need not, or cannot.</summary>
    TextBridge? Texts(TokenNames theirs, TokenNames ours) => null;

    /// <summary>Whether the teacher may write whole replies.</summary>
    bool WritesTexts => Writes;

    /// <summary>Why an objective cannot be followed behind it, with what to do instead; <c>null</c>: it can. Asked when a recipe is checked, of objectives that have a teacher.</summary>
    string? Refuses(DistillationObjective objective, DistilRecipe distil) => null;

    /// <summary>The teacher as one who writes the student's tokens. Owns what it wraps.</summary>
    /// <exception cref="NotSupportedException">It does not write.</exception>
    IRunner Writer(IRunner teacher, TokenNames theirs, TokenNames ours);
}

/// <summary>A teacher's replies in a student's tokens, by what they write.</summary>
/// <param name="Tokens">The teacher's.</param>
/// <param name="Context">The student's context in the teacher's tokens.</param>
/// <param name="Reply">The teacher's reply in the student's, of any length, also none.</param>
public sealed record TextBridge(TokenTable Tokens, Func<int[], int[]> Context, Func<int[], int[]> Reply);

/// <summary>
/// Tokens that write the same are the same, whatever their ids; special ones by their names. Exact where both have the same tokens in another order. A teacher may have more tokens than
/// the student; then its law is the one given that it says none of these, and it reads texts that are cut as the student cuts them. A student with a token that the teacher lacks is refused.
/// </summary>
[Plugin("tokens", Summary = "Tokens that write the same are the same: another order of the vocabulary, or a teacher with more tokens.")]
public sealed class TokenBridge : IVocabularyBridge
{
    public ITeacher Judge(ITeacher teacher, TokenNames theirs, TokenNames ours) => new MappedTeacher(teacher, new(theirs, ours));

    public bool Writes => true;

    public IRunner Writer(IRunner teacher, TokenNames theirs, TokenNames ours) => new MappedRunner(teacher, new(theirs, ours));
}

/// <summary>From a student's ids to a teacher's.</summary>
public sealed class VocabularyMap
{
    private readonly int[] ids;
    private readonly Lazy<int[]> back;

    /// <exception cref="ArgumentException">The student has a token that the teacher lacks, or two that write the same.</exception>
    public VocabularyMap(TokenNames theirs, TokenNames ours)
    {
        var known = new Dictionary<(string, bool), int>();
        for (var id = theirs.Count - 1; id >= 0; id--)
            if (theirs.Names[id].Length > 0) known[Key(theirs, id)] = id;                    // of several that write the same the first
        ids = new int[ours.Count];
        var taken = new Dictionary<int, int>();
        for (var id = 0; id < ids.Length; id++)
        {
            if (!known.TryGetValue(Key(ours, id), out ids[id])) throw new ArgumentException($"the student's token {id}, {ours.Show(id)}, is none of the teacher's.");
            if (!taken.TryAdd(ids[id], id)) throw new ArgumentException($"the student's tokens {taken[ids[id]]} and {id} both write {ours.Show(id)}.");
        }
        TheirSize = theirs.Count;
        back = new(() => Enumerable.Range(0, TheirSize).Select(id => taken.TryGetValue(id, out var own) ? own : ids.Length).ToArray());
        Extra = Enumerable.Range(0, TheirSize).FirstOrDefault(id => !taken.ContainsKey(id), -1);
    }

    public int Size => ids.Length;
    public int TheirSize { get; }

    /// <summary>The teacher's first id that the student lacks; −1: none.</summary>
    public int Extra { get; }

    /// <summary>[V] the teacher's id of each of the student's.</summary>
    public ReadOnlySpan<int> Ids => ids;

    /// <summary>[V of the teacher] the student's id of each; V where it lacks it.</summary>
    public ReadOnlySpan<int> Back => back.Value;

    public int[] Of(ReadOnlySpan<int> own)
    {
        var theirs = new int[own.Length];
        for (var i = 0; i < own.Length; i++) theirs[i] = ids[own[i]];
        return theirs;
    }

    private static (string, bool) Key(TokenNames names, int id) => (Convert.ToHexString(names.Names[id]), names.Special.Contains(id));
}

/// <summary>Asks a teacher in its own ids and puts its answer into the student's columns.</summary>
internal sealed class MappedTeacher : ITeacher
{
    private readonly ITeacher teacher;
    private readonly VocabularyMap map;

    public MappedTeacher(ITeacher teacher, VocabularyMap map)
    {
        (this.teacher, this.map) = (teacher, map);
        if (map.Extra >= 0 && teacher.Kind != SignalKind.Full)
            throw new ArgumentException($"the teacher has tokens that the student lacks, id {map.Extra} first, so its law must be asked for whole: leave topK out.");
    }

    public SignalKind Kind => teacher.Kind;

    public ITeacherRows Score(Batch batch)
    {
        var mapped = new Batch([.. batch.Samples.Select(sample => new Sample(map.Of(sample.Context), map.Of(sample.Labels)))], map.Ids[batch.Start]);
        return new Rows(teacher.Score(mapped), batch, map);
    }

    private sealed class Rows(ITeacherRows rows, Batch batch, VocabularyMap map) : ITeacherRows
    {
        private readonly long[] theirs = Array.ConvertAll(map.Ids.ToArray(), id => (long)id), back = Array.ConvertAll(map.Back.ToArray(), id => (long)id);

        public SignalKind Kind => rows.Kind;

        public (Tensor P, Tensor Q) Align(int from, int count, Tensor q)
        {
            if (Kind != SignalKind.Full) return rows.Align(from, count, q.index_select(1, tensor(back, device: q.device)));        // the best of both are found by the teacher's ids
            using var scope = NewDisposeScope();
            var (p, _) = rows.Align(from, count, empty(0, device: q.device));
            p = p.index_select(1, tensor(theirs, device: p.device));
            return ((map.Extra < 0 ? p : p.log_softmax(-1)).MoveToOuterDisposeScope(), q);
        }

        public double[] Labels()
        {
            if (map.Extra < 0) return rows.Labels();
            var labels = batch.RowLabels();
            var found = new double[labels.Length];
            for (var from = 0; from < labels.Length; from += RowLoss.ChunkRows)
            {
                using var scope = NewDisposeScope();
                var count = Math.Min(RowLoss.ChunkRows, labels.Length - from);
                var (p, _) = Align(from, count, empty(0));
                RowLoss.Chosen(p, labels.AsSpan(from, count)).to_type(ScalarType.Float64).cpu().data<double>().CopyTo(found.AsSpan(from, count));
            }
            return found;
        }

        public void Dispose() => rows.Dispose();
    }
}

/// <summary>A runner of the teacher's vocabulary as one of the student's. Owns it.</summary>
internal sealed class MappedRunner(IRunner runner, VocabularyMap map) : IRunner
{
    private float[] scores = [];

    public int VocabularySize => map.Size;
    public int Rows => runner.Rows;
    public int MaxContext => runner.MaxContext;
    public int MaxReply => runner.MaxReply;
    public bool ReadsInParts => runner.ReadsInParts;
    public double Usage => runner.Usage;

    public int Open(PrefillItem item) => runner.Open(new(item.Row, map.Of(item.Context.Span), map.Of(item.Emitted.Span)));

    public bool Fits(ReadOnlySpan<RowTokens> feeds) => runner.Fits(feeds);

    public ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts) => Mapped(runner.Read(parts));

    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens) => Mapped(runner.Decode(rows, map.Of(tokens)));

    public ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens) => Mapped(runner.Verify(rows, counts, map.Of(tokens)));

    public void Truncate(int row, int length) => runner.Truncate(row, length);

    public void Fork(ReadOnlySpan<(int From, int To)> copies) => runner.Fork(copies);

    public void Free(int row) => runner.Free(row);

    public void Dispose() => runner.Dispose();

    private ReadOnlySpan<float> Mapped(ReadOnlySpan<float> theirs)
    {
        var rows = theirs.Length / map.TheirSize;
        if (scores.Length < rows * map.Size) scores = new float[rows * map.Size];
        for (var row = 0; row < rows; row++)
        {
            var from = theirs.Slice(row * map.TheirSize, map.TheirSize);
            var to = scores.AsSpan(row * map.Size, map.Size);
            for (var id = 0; id < to.Length; id++) to[id] = from[map.Ids[id]];
        }
        return scores.AsSpan(0, rows * map.Size);
    }
}
