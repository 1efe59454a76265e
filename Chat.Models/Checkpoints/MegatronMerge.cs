using Chat.Models.Architectures;

namespace Chat.Models.Checkpoints;

/// <summary>A tensor put together of the parts that the model-parallel ranks hold.</summary>
/// <param name="Read">All its numbers, row by row.</param>
internal sealed record MergedTensor(string Dtype, IReadOnlyList<long> Shape, Func<byte[]> Read);

/// <summary>
/// Puts EVA's model-parallel parts together (thu-coai/EVA, src/change_mp.py): q, k and v share a tensor whose parts are [qᵢ; kᵢ; vᵢ], so it is merged third by third; embeddings, the output matrix and the first layers of
/// the feed-forward part lie in rows, all other matrices in columns, vectors are the same everywhere. Role embeddings are whole on each rank, or in columns where an early change_mp.py split them by mistake.
/// </summary>
internal static class MegatronMerge
{
    private const string Roles = "role_embeds.weight";

    public static Dictionary<string, MergedTensor> Merge(IReadOnlyList<TorchFile> ranks)
    {
        var width = ranks[0].Tensors.Where(tensor => tensor.Value.Shape.Count == 1).Select(tensor => tensor.Value.Shape[0]).FirstOrDefault();
        return ranks[0].Tensors.ToDictionary(tensor => tensor.Key, tensor => Merge(ranks, tensor.Key, width), StringComparer.Ordinal);
    }

    /// <summary>The weights that the configuration needs, under their Hugging Face names.</summary>
    /// <exception cref="CheckpointException"><c>missing_tensor</c> or <c>shape_mismatch</c>.</exception>
    public static List<UnwrittenTensor> ToHuggingFace(IReadOnlyDictionary<string, MergedTensor> merged, EncoderDecoderConfig config)
    {
        (string Name, byte[] Bytes)? last = null;           // q, k and v come one after the other out of one tensor
        var tensors = new List<UnwrittenTensor>();
        foreach (var (name, shape) in EvaWeights.Needed(config))
        {
            var place = EvaNames.ToMegatron(name);
            if (!merged.TryGetValue(place.Name, out var source))
            {
                if (name == Roles) continue;                // released checkpoints may have none
                throw new CheckpointException(CheckpointErrors.MissingTensor, $"The weights have no tensor '{place.Name}'.");
            }
            if (!source.Shape.SequenceEqual(place.StoredShape(shape)))
                throw new CheckpointException(CheckpointErrors.ShapeMismatch, $"'{place.Name}' [{string.Join(", ", source.Shape)}] should have the shape [{string.Join(", ", place.StoredShape(shape))}] by the configuration.");
            tensors.Add(new UnwrittenTensor(name, source.Dtype, shape, target =>
            {
                if (last?.Name != place.Name) last = (place.Name, source.Read());
                var bytes = last.Value.Bytes;
                target.Write(bytes.AsSpan(bytes.Length / place.Of * place.Part, bytes.Length / place.Of));
            }));
        }
        return tensors;
    }

    private static MergedTensor Merge(IReadOnlyList<TorchFile> ranks, string name, long width)
    {
        var parts = ranks.Select((rank, i) => rank.Tensors.TryGetValue(name, out var part) ? part : throw new CheckpointException(CheckpointErrors.MissingTensor, $"Rank {i} has no tensor '{name}', rank 0 has.")).ToArray();
        var first = parts[0];
        if (parts.Any(part => part.Dtype != first.Dtype || !part.Shape.SequenceEqual(first.Shape))) throw new CheckpointException(CheckpointErrors.ShapeMismatch, $"'{name}' has another type or shape on one rank than on another.");
        var whole = first.Shape.Count != 2 || (name.EndsWith(Roles, StringComparison.Ordinal) && first.Shape[1] == width);
        if (ranks.Count == 1 || whole) return new MergedTensor(first.Dtype, first.Shape, () => ranks[0].Read(first));

        var groups = name.EndsWith(".project.weight", StringComparison.Ordinal) ? 3 : name.EndsWith(".project_kv.weight", StringComparison.Ordinal) ? 2
            : name.EndsWith(".project_q.weight", StringComparison.Ordinal) || name.EndsWith("word_embeds.weight", StringComparison.Ordinal) || name.EndsWith(".wi_0.weight", StringComparison.Ordinal)
              || name.EndsWith(".wi_1.weight", StringComparison.Ordinal) || name == "lm_head.weight" ? 1 : 0;
        var (rows, columns) = (first.Shape[0], first.Shape[1]);
        if (groups > 0 && rows % groups != 0) throw new CheckpointException(CheckpointErrors.ShapeMismatch, $"'{name}' has {rows} rows, which are not {groups} equal parts.");
        // Columns are joined row by row, rows group by group: both are the same interleaving of equal pieces.
        var pieces = groups > 0 ? groups : rows;
        return new MergedTensor(first.Dtype, groups > 0 ? [rows * ranks.Count, columns] : [rows, columns * ranks.Count], () => Interleave([.. ranks.Select((rank, i) => rank.Read(parts[i]))], pieces));
    }

    /// <summary>Piece 0 of every part, then piece 1 of every part, and so on; all parts of one length.</summary>
    private static byte[] Interleave(byte[][] parts, long pieces)
    {
        var whole = new byte[parts.Sum(part => (long)part.Length)];
        var length = (int)(parts[0].Length / Math.Max(pieces, 1));
        var at = 0;
        for (var piece = 0; piece < pieces; piece++)
            foreach (var part in parts)
            {
                part.AsSpan(piece * length, length).CopyTo(whole.AsSpan(at));
                at += length;
            }
        return whole;
    }
}
