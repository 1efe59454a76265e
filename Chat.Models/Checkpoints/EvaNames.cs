using System.Text.RegularExpressions;

namespace Chat.Models.Checkpoints;

/// <summary>
/// The names of EVA's weights. Ours are those of the Hugging Face branch; the Megatron branch has other names and stacks the rows of q, k and v
/// in one tensor. The mapping is one to one (the reference's own converter drops role_embeds and believes in 24 layers).
/// </summary>
public static partial class EvaNames
{
    private static readonly Dictionary<string, string> Megatron = new()
    {
        ["shared.weight"] = "word_embeds.weight",
        ["encoder.final_layer_norm.weight"] = "encoder.final_layernorm.weight",
        ["decoder.final_layer_norm.weight"] = "decoder.final_layernorm.weight",
    };

    /// <summary>Other names under which a Hugging Face checkpoint may hold the same weight, used when the first one is absent.</summary>
    public static IReadOnlyList<string> Aliases(string name) => name switch
    {
        "shared.weight" => ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
        "role_embeds.weight" => ["encoder.role_embeds.weight", "decoder.role_embeds.weight"],
        _ => [],
    };

    /// <summary>The place of a weight in a Megatron checkpoint.</summary>
    /// <exception cref="ArgumentException">No weight of this family has that name.</exception>
    public static StoredPart ToMegatron(string name)
    {
        if (name is "lm_head.weight" or "role_embeds.weight") return new StoredPart(name);
        if (Megatron.TryGetValue(name, out var whole)) return new StoredPart(whole);
        var match = Layer().Match(name);
        if (!match.Success) throw new ArgumentException($"EVA has no weight '{name}'.");

        var block = $"{match.Groups["stack"].Value}.blocks.{match.Groups["block"].Value}";
        var (part, kind) = (match.Groups["part"].Value, Kind(match.Groups["stack"].Value, match.Groups["layer"].Value));
        return part switch
        {
            "layer_norm" => new StoredPart($"{block}.{kind}.layer_norm.weight"),
            "SelfAttention.q" => new StoredPart($"{block}.self_attn.self_attn.project.weight", 0, 3),
            "SelfAttention.k" => new StoredPart($"{block}.self_attn.self_attn.project.weight", 1, 3),
            "SelfAttention.v" => new StoredPart($"{block}.self_attn.self_attn.project.weight", 2, 3),
            "SelfAttention.o" => new StoredPart($"{block}.self_attn.self_attn.dense.weight"),
            "SelfAttention.relative_attention_bias" => new StoredPart($"{block}.self_attn.self_attn.relative_attention_bias.weight"),
            "EncDecAttention.q" => new StoredPart($"{block}.cross_attn.cross_attn.project_q.weight"),
            "EncDecAttention.k" => new StoredPart($"{block}.cross_attn.cross_attn.project_kv.weight", 0, 2),
            "EncDecAttention.v" => new StoredPart($"{block}.cross_attn.cross_attn.project_kv.weight", 1, 2),
            "EncDecAttention.o" => new StoredPart($"{block}.cross_attn.cross_attn.dense.weight"),
            _ => new StoredPart($"{block}.ff.dense_relu_dense.{part["DenseReluDense.".Length..]}.weight"),
        };
    }

    private static string Kind(string stack, string layer) => (stack, layer) switch
    {
        (_, "0") => "self_attn",
        ("decoder", "1") => "cross_attn",
        _ => "ff",
    };

    [GeneratedRegex(@"^(?<stack>encoder|decoder)\.block\.(?<block>\d+)\.layer\.(?<layer>\d)\.(?<part>layer_norm|SelfAttention\.(?:[qkvo]|relative_attention_bias)|EncDecAttention\.[qkvo]|DenseReluDense\.(?:wi_0|wi_1|wo))\.weight$")]
    private static partial Regex Layer();
}
