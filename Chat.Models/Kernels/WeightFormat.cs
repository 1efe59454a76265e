namespace Chat.Models.Kernels;

/// <summary>How the kernels keep a model's matrices. Tables of words stay as they are; norms are float32.</summary>
public enum WeightFormat
{
    /// <summary>As the checkpoint has them: bfloat16 stays so, all else becomes float32. Loses nothing.</summary>
    Exact,

    /// <summary>A byte a weight and a scale for every 32.</summary>
    Int8,

    /// <summary>Four bits a weight and a scale for every 32; the head, on which the choice of words depends, has int8.</summary>
    Int4,
}
