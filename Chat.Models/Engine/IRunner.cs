namespace Chat.Models.Engine;

/// <summary>A dialogue to read into a row: the packed context and the reply's tokens emitted so far (empty for a new reply).</summary>
public readonly record struct PrefillItem(int Row, ReadOnlyMemory<int> Context, ReadOnlyMemory<int> Emitted);

/// <summary>
/// The border between scheduling and arithmetic: a fixed number of rows (one hypothesis each, numbered from 0 by the caller), a model, and
/// nothing else. Every call carries a batch; results are independent of what else is in it, up to the arithmetic's rounding.
/// Not thread-safe: one owned thread makes all calls, dispose included.
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

    /// <summary>Reads contexts into free rows and feeds the reply's start and emitted tokens. The same row may not stand twice.</summary>
    /// <returns>[items.Length × V] raw scores of each row's next token, valid until the next call.</returns>
    ReadOnlySpan<float> Prefill(ReadOnlySpan<PrefillItem> items);

    /// <summary>Feeds one chosen token to each of the given rows.</summary>
    /// <returns>[rows.Length × V] raw scores of each row's next token, valid until the next call.</returns>
    ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens);

    /// <summary>Makes each <c>To</c> a copy of what its <c>From</c> was before the call, as if all copies were made at once (beams permute).</summary>
    void Fork(ReadOnlySpan<(int From, int To)> copies);

    /// <summary>Gives a row back. Freeing a free row does nothing.</summary>
    void Free(int row);
}
