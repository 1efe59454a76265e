namespace Chat.Models.Checkpoints;

/// <summary>A model folder that cannot be used, and why. Kinds are the words of <see cref="CheckpointErrors"/>.</summary>
public sealed class CheckpointException(string kind, string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>One of <see cref="CheckpointErrors"/>.</summary>
    public string Kind { get; } = kind;
}

/// <summary>The ways in which a model folder can be unusable.</summary>
public static class CheckpointErrors
{
    /// <summary>config.json, the weights, or a shard named by the index is absent.</summary>
    public const string MissingFile = "missing_file";
    /// <summary>Shorter than 8 bytes, than the header length says, or than its data.</summary>
    public const string Truncated = "truncated";
    /// <summary>Header length above 100,000,000.</summary>
    public const string HeaderTooLarge = "header_too_large";
    /// <summary>The header is no UTF-8 JSON object of the expected form, or nested beyond reason.</summary>
    public const string BadHeader = "bad_header";
    /// <summary>A name stands twice in one object of the header.</summary>
    public const string DuplicateKey = "duplicate_key";
    /// <summary>Unknown dtype, or one that cannot be this weight.</summary>
    public const string BadDtype = "bad_dtype";
    /// <summary>Bytes differ from the product of shape and dtype size.</summary>
    public const string SizeMismatch = "size_mismatch";
    /// <summary>Negative, reversed, overlapping, with gaps, or not ending at the end of the file.</summary>
    public const string BadOffsets = "bad_offsets";
    /// <summary>A tensor the configuration needs is absent.</summary>
    public const string MissingTensor = "missing_tensor";
    /// <summary>A tensor has another shape or rank than the configuration says.</summary>
    public const string ShapeMismatch = "shape_mismatch";
    /// <summary>NaN or infinity in a weight.</summary>
    public const string NonFinite = "non_finite";
    /// <summary>The index is no JSON, has no weight_map, or contradicts its shards.</summary>
    public const string BadIndex = "bad_index";
    /// <summary>A shard name that is not a plain file name; the file is not opened.</summary>
    public const string PathTraversal = "path_traversal";
    /// <summary>The configuration is no JSON or impossible.</summary>
    public const string BadConfig = "bad_config";
    /// <summary>Family not known.</summary>
    public const string Unsupported = "unsupported";
}
