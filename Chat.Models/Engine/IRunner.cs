namespace Chat.Models.Engine;

/// <summary>A prompt for a row: the packed context, and the reply's tokens emitted so far (none for a new reply).</summary>
public readonly record struct PrefillItem(int Row, ReadOnlyMemory<int> Context, ReadOnlyMemory<int> Emitted);

/// <summary>So many tokens, fed to a row.</summary>
public readonly record struct RowTokens(int Row, int Tokens);

/// <summary>A beginning of prompts that is kept read.</summary>
/// <param name="Tokens">Those that are kept; prompts that begin with them do not read them again.</param>
/// <param name="Bytes">Their keys and values, those counted that other pins share.</param>
public sealed record Pin(string Name, int Tokens, long Bytes);

/// <summary>A beginning of prompts that is not kept, or a pin that stays. The message says why.</summary>
public sealed class PinException(string message) : InvalidOperationException(message);

/// <summary>
/// The border between scheduling and arithmetic: a fixed number of rows (one hypothesis each, numbered from 0 by the caller), a model, and
/// nothing else. Every call carries a batch; results are independent of what else is in it, up to the arithmetic's rounding.
/// Not thread-safe: one owned thread makes all calls, dispose included; who made it may have been another.
/// </summary>
public interface IRunner : IDisposable
{
    /// <summary>Scores a row of the vocabulary has.</summary>
    int VocabularySize { get; }

    /// <summary>Hypotheses that can be alive at once.</summary>
    int Rows { get; }

    /// <summary>Context tokens a row can read, and reply tokens it can hold.</summary>
    int MaxContext { get; }
    int MaxReply { get; }

    /// <summary>Whether a prompt may be read in parts. Not where an encoder reads it: its tokens see each other both ways.</summary>
    bool ReadsInParts { get; }

    /// <summary>Share of the memory for keys and values that rows use, 0 to 1.</summary>
    double Usage { get; }

    /// <summary>Gives a row its prompt, and what earlier rows left of the same beginning; what it held before is freed. Nothing is computed yet.</summary>
    /// <returns>Tokens of the prompt still to be read, at least 1.</returns>
    int Open(PrefillItem item);

    /// <summary>Whether memory suffices to feed opened rows so many tokens each, if nothing else is fed meanwhile.</summary>
    bool Fits(ReadOnlySpan<RowTokens> feeds);

    /// <summary>Reads the next tokens of opened rows' prompts: any number where <see cref="ReadsInParts"/>, else all that <see cref="Open"/> said. The same row may not stand twice.</summary>
    /// <returns>[prompts that ended × V] raw scores of each such row's next token, in their order, valid until the next call.</returns>
    ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts);

    /// <summary>Feeds one chosen token to each of the given rows.</summary>
    /// <returns>[rows.Length × V] raw scores of each row's next token, valid until the next call.</returns>
    ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens);

    /// <summary>
    /// Feeds several tokens to each of the given rows: the chosen one and a draft of what may follow. Scores as if the tokens had been fed one after another;
    /// what turns out wrong is taken back by <see cref="Truncate"/>.
    /// </summary>
    /// <param name="counts">Tokens for each row, at least one.</param>
    /// <param name="tokens">[Σ counts], row after row.</param>
    /// <returns>[Σ counts × V] raw scores of what follows each token, valid until the next call.</returns>
    ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens);

    /// <summary>Makes a row what it was when its reply had <paramref name="length"/> tokens, emitted ones counted.</summary>
    void Truncate(int row, int length);

    /// <summary>Makes each <c>To</c> a copy of what its <c>From</c> was before the call, as if all copies were made at once (beams permute).</summary>
    void Fork(ReadOnlySpan<(int From, int To)> copies);

    /// <summary>Gives a row back. Freeing a free row does nothing.</summary>
    void Free(int row);

    /// <summary>
    /// Keeps a beginning of prompts that a row has just read, for all prompts that begin so, whatever else is short of memory, until <see cref="Unpin"/>. It has a budget
    /// of its own: no row has less memory for it.
    /// </summary>
    /// <exception cref="PinException">It cannot be kept, has not been read, or exceeds the budget; nothing has changed.</exception>
    Pin Pin(string name, ReadOnlySpan<int> tokens) => throw new PinException($"'{name}' cannot be pinned: what computes this model keeps no beginnings of prompts (Models:Runner=kernels does).");

    /// <summary>Lets go of a pinned beginning, which is then a cached one like others. Does nothing where there is none.</summary>
    void Unpin(string name) { }
}

public static class WholePrompts
{
    /// <summary>Opens rows and reads their prompts whole.</summary>
    /// <returns>[items.Length × V] raw scores of each row's next token, valid until the next call.</returns>
    public static ReadOnlySpan<float> Prefill(this IRunner runner, ReadOnlySpan<PrefillItem> items)
    {
        Span<RowTokens> parts = items.Length <= 256 ? stackalloc RowTokens[items.Length] : new RowTokens[items.Length];
        for (var i = 0; i < items.Length; i++) parts[i] = new(items[i].Row, runner.Open(items[i]));
        return runner.Read(parts);
    }
}

/// <summary>What every runner asks of its calls.</summary>
internal static class RunnerCalls
{
    /// <exception cref="ArgumentException">An empty or too long context, too many emitted tokens, an id outside the vocabulary.</exception>
    public static void CheckPrompt(IRunner runner, PrefillItem item)
    {
        var (row, context, emitted) = item;
        if (context.Length < 1 || context.Length > runner.MaxContext) throw new ArgumentException($"Row {row}'s context has {context.Length} tokens: 1 to {runner.MaxContext} can be read.");
        if (emitted.Length >= runner.MaxReply) throw new ArgumentException($"Row {row} has {emitted.Length} emitted tokens of at most {runner.MaxReply}: none can follow.");
        CheckIds(runner, context.Span);
        CheckIds(runner, emitted.Span);
    }

    /// <exception cref="ArgumentException">An id outside the vocabulary.</exception>
    public static void CheckIds(IRunner runner, ReadOnlySpan<int> ids)
    {
        var size = runner.VocabularySize;
        foreach (var id in ids)
            if ((uint)id >= (uint)size) throw new ArgumentException($"Token {id} is outside the vocabulary of {size}.");
    }

    /// <exception cref="ArgumentOutOfRangeException">No such row.</exception>
    public static void CheckRow(IRunner runner, int row)
    {
        if ((uint)row >= (uint)runner.Rows) throw new ArgumentOutOfRangeException(nameof(row), row, $"Rows are 0 to {runner.Rows - 1}.");
    }

    /// <summary>Of <see cref="IRunner.Verify"/>.</summary>
    /// <exception cref="ArgumentException">Not as many counts as rows, or tokens as counted, or a count below one.</exception>
    public static void CheckCounts(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens)
    {
        var sum = 0;
        foreach (var count in counts) sum += count >= 1 ? count : throw new ArgumentException($"A row is given {count} tokens: at least one is due.");
        if (rows.Length != counts.Length || sum != tokens.Length) throw new ArgumentException($"{rows.Length} rows have {counts.Length} counts, and {tokens.Length} tokens are given for {sum} counted.");
    }
}
