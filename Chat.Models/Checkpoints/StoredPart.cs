namespace Chat.Models.Checkpoints;

/// <summary>
/// Where a weight is stored: the rows of part <see cref="Part"/> of <see cref="Of"/> equal parts of the named tensor. A transposed one is stored [in, out] and its parts are columns (GPT-2's Conv1D).
/// </summary>
public readonly record struct StoredPart(string Name, int Part = 0, int Of = 1, bool Transposed = false)
{
    /// <summary>The shape of the stored tensor that holds a weight of shape <paramref name="weight"/> as one of its parts.</summary>
    public long[] StoredShape(IReadOnlyList<long> weight) => Transposed ? [weight[1], weight[0] * Of] : [weight[0] * Of, .. weight.Skip(1)];
}
