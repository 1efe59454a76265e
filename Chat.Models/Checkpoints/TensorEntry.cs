namespace Chat.Models.Checkpoints;

/// <summary>One tensor as a file's header names it. Bytes [<see cref="Begin"/>, <see cref="End"/>) count from the end of the header.</summary>
public sealed record TensorEntry(string Name, string Dtype, IReadOnlyList<long> Shape, long Begin, long End)
{
    /// <summary>Bytes an element takes, or <c>null</c> for an unknown dtype.</summary>
    public static int? SizeOf(string dtype) => dtype switch
    {
        "BOOL" or "U8" or "I8" or "F8_E4M3" or "F8_E5M2" => 1,
        "F16" or "BF16" or "I16" or "U16" => 2,
        "F32" or "I32" or "U32" => 4,
        "F64" or "I64" or "U64" => 8,
        _ => null,
    };

    /// <summary>Whether weights can be read from this dtype.</summary>
    public bool IsFloat => Dtype is "F32" or "F16" or "BF16";

    public string Describe() => $"'{Name}' {Dtype} [{string.Join(", ", Shape)}]";
}
