namespace Chat.Models.Kernels;

/// <summary>How the kernels keep a model's matrices.</summary>
public enum WeightFormat
{
    /// <summary>As the checkpoint has them: bfloat16 stays so, all else becomes float32. Loses nothing.</summary>
    Exact,
}
