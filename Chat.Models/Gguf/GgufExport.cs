using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;
using Chat.Models.Tokenizers;

namespace Chat.Models.Gguf;

/// <summary>
/// A decoder-only model folder as a GGUF file, so that llama.cpp and its like run the same weights. Matrices are written in the wanted type, vectors in F32. Llama's and Mistral's
/// queries and keys are permuted, because llama.cpp turns neighbouring pairs for that architecture; Qwen's are not. Works without libtorch.
/// </summary>
public static class GgufExport
{
    /// <param name="folder">Model folder in Hugging Face's layout. Without a tokenizer.json the file has no vocabulary and takes ids only.</param>
    /// <param name="path">File to make.</param>
    /// <exception cref="CheckpointException">What is wrong with the folder, or <c>unsupported</c> for what the format's architectures do not have.</exception>
    public static void Write(string folder, string path, GgufType type)
    {
        var json = ConfigFile.Load(Path.Combine(folder, ModelFolder.ConfigFileName));
        if (!DecoderConfigFile.Families.TryGetValue(ModelFamilies.Of(json), out var family))
            throw new CheckpointException(CheckpointErrors.Unsupported, $"GGUF export is for decoder-only models: {string.Join(", ", DecoderConfigFile.Families.Keys)}.");
        using var checkpoint = Checkpoint.OpenFolder(folder);
        var (config, weights) = DecoderWeights.Locate(DecoderConfigFile.Read(json, family), checkpoint);
        CheckExpressible(config);

        var file = new GgufWriter();
        Describe(file, config, Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))), type);
        var tokenizer = Path.Combine(folder, TokenizerFiles.HuggingFace);
        if (File.Exists(tokenizer)) GgufVocabulary.Add(file, TokenizerJson.Load(tokenizer), config, ChatFormat.Load(folder)?.Template);
        else file.Add("tokenizer.ggml.model", "none");

        var byName = weights.ToDictionary(weight => weight.Name);
        if (config.Rotary?.Scaling is not null) file.Add("rope_freqs.weight", [config.HeadWidth / 2], GgufType.F32, () => Factors(config));
        foreach (var (name, shape, parts) in Tensors(config, byName))
            file.Add(name, shape, TypeOf(name, shape, type), () => [.. parts.SelectMany(part => Permuted(config, part, part.ReadFloats(checkpoint)))]);
        file.Write(path);
    }

    private static void CheckExpressible(DecoderConfig config)
    {
        void Refuse(string what) => throw new CheckpointException(CheckpointErrors.Unsupported, $"llama.cpp's {Architecture(config)} has no {what}.");
        if (!config.AttentionScale || config.LayerScale) Refuse("other scale of scores than 1/√d");
        if (config.Activation != (config.Family == DecoderFamily.Gpt2 ? Activation.GeluTanh : Activation.Silu)) Refuse($"activation {config.Activation}");
        if (Architecture(config) is "qwen2" or "qwen3" && (config.OutputBias || config.FeedForwardBias)) Refuse("bias of the attention's output or the feed-forward layer");
        if (config.Family == DecoderFamily.Qwen3 && config.AttentionBias) Refuse("bias of queries, keys and values");
        if (config.Family == DecoderFamily.Gpt2 && !config.Tied) Refuse("head of its own");
        if (config.Rotary is { AttentionFactor: not 1 }) Refuse("rotary positions that sharpen scores");
    }

    private static string Architecture(DecoderConfig config) => config.Family switch
    {
        DecoderFamily.Gpt2 => "gpt2",
        DecoderFamily.Qwen2 => "qwen2",
        DecoderFamily.Qwen3 => "qwen3",
        _ => "llama",
    };

    private static void Describe(GgufWriter file, DecoderConfig config, string name, GgufType type)
    {
        var kind = Architecture(config);
        file.Add("general.architecture", kind);
        file.Add("general.name", name);
        file.Add("general.file_type", type switch { GgufType.F32 => 0, GgufType.F16 => 1, GgufType.Q4_0 => 2, _ => 7 });
        file.Add("general.quantization_version", 2);
        // A window is not in the format's words for these; within its length all keys are seen anyway.
        file.Add($"{kind}.context_length", Math.Min(config.MaxPositions, config.Window ?? config.MaxPositions));
        file.Add($"{kind}.embedding_length", config.Width);
        file.Add($"{kind}.feed_forward_length", config.FeedForward);
        file.Add($"{kind}.block_count", config.Layers);
        file.Add($"{kind}.attention.head_count", config.Heads);
        file.Add($"{kind}.vocab_size", config.VocabularySize);
        if (config.Rotary is not { } rotary)
        {
            file.Add($"{kind}.attention.layer_norm_epsilon", config.Epsilon);
            return;
        }
        file.Add($"{kind}.attention.head_count_kv", config.KeyValueHeads);
        file.Add($"{kind}.attention.layer_norm_rms_epsilon", config.Epsilon);
        file.Add($"{kind}.attention.key_length", config.HeadWidth);
        file.Add($"{kind}.attention.value_length", config.HeadWidth);
        file.Add($"{kind}.rope.dimension_count", config.HeadWidth);
        file.Add($"{kind}.rope.freq_base", rotary.Theta);
    }

    /// <summary>Vectors and learned positions stay F32; a row that cannot be cut into blocks is written as F16. Beside Q4_0 the words have Q8_0, since the choice of the next one depends on them.</summary>
    private static GgufType TypeOf(string name, long[] shape, GgufType type)
    {
        if (shape.Length == 1 || name == "position_embd.weight") return GgufType.F32;
        if (GgufTypes.InBlocks(type) && shape[^1] % GgufTypes.Block != 0) return GgufType.F16;
        return type == GgufType.Q4_0 && (name is "token_embd.weight" or "output.weight") ? GgufType.Q8_0 : type;
    }

    /// <summary>The file's tensors: each one of our weights, but GPT-2's queries, keys and values, which stand in one.</summary>
    private static IEnumerable<(string Name, long[] Shape, StoredWeight[] Parts)> Tensors(DecoderConfig config, Dictionary<string, StoredWeight> weights)
    {
        var fused = config.Family == DecoderFamily.Gpt2;
        foreach (var (name, shape) in DecoderWeights.Needed(config))
        {
            if (fused && (name.Contains(".k_proj.", StringComparison.Ordinal) || name.Contains(".v_proj.", StringComparison.Ordinal))) continue;
            if (fused && name.Contains(".q_proj.", StringComparison.Ordinal))
                yield return (NameOf(name).Replace("attn_q", "attn_qkv", StringComparison.Ordinal), [3 * shape[0], .. shape[1..]], [.. "qkv".Select(part => weights[name.Replace(".q_proj.", $".{part}_proj.", StringComparison.Ordinal)])]);
            else yield return (NameOf(name), shape, [weights[name]]);
        }
    }

    private static string NameOf(string name)
    {
        var parts = name.Split('.');
        return name switch
        {
            "model.embed_tokens.weight" => "token_embd.weight",
            "model.embed_positions.weight" => "position_embd.weight",
            "lm_head.weight" => "output.weight",
            _ when name.StartsWith("model.norm.", StringComparison.Ordinal) => $"output_norm.{parts[^1]}",
            _ => $"blk.{parts[2]}.{(parts[^2]) switch
            {
                "input_layernorm" => "attn_norm",
                "post_attention_layernorm" => "ffn_norm",
                "q_proj" => "attn_q",
                "k_proj" => "attn_k",
                "v_proj" => "attn_v",
                "o_proj" => "attn_output",
                "q_norm" => "attn_q_norm",
                "k_norm" => "attn_k_norm",
                "gate_proj" => "ffn_gate",
                "up_proj" => "ffn_up",
                _ => "ffn_down",
            }}.{parts[^1]}",
        };
    }

    /// <summary>Rows of llama's queries and keys in the order of neighbouring pairs: row i of a head's first half is followed by row i of its second half.</summary>
    private static float[] Permuted(DecoderConfig config, StoredWeight weight, float[] numbers)
    {
        if (Architecture(config) != "llama" || !(weight.Name.Contains(".q_proj.", StringComparison.Ordinal) || weight.Name.Contains(".k_proj.", StringComparison.Ordinal))) return numbers;
        var permuted = new float[numbers.Length];
        var rows = (int)weight.Shape[0];
        var (columns, half) = (numbers.Length / rows, config.HeadWidth / 2);
        for (var row = 0; row < rows; row++)
        {
            var (head, at) = (row / config.HeadWidth, row % config.HeadWidth);
            var to = head * config.HeadWidth + (at < half ? 2 * at : 2 * (at - half) + 1);
            numbers.AsSpan(row * columns, columns).CopyTo(permuted.AsSpan(to * columns));
        }
        return permuted;
    }

    /// <summary>What llama.cpp divides the plain frequencies by.</summary>
    private static float[] Factors(DecoderConfig config)
    {
        var rotary = config.Rotary!;
        return [.. (rotary with { Scaling = null }).Frequencies(config.HeadWidth).Zip(rotary.Frequencies(config.HeadWidth, config.MaxPositions), (plain, scaled) => (float)(plain / scaled))];
    }
}
