using Chat.Models.Architectures;
using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Tests.Architectures;

/// <summary>The slow reference of decoder-only models: one token after the other in double, with loops, from the weights by their names. Written from the papers and the golden sheet, not from the product.</summary>
internal sealed class NaiveDecoder(Decoder model)
{
    private readonly DecoderConfig config = model.Config;
    private readonly Dictionary<string, double[]> weights = model.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter.Floats().Select(value => (double)value).ToArray());

    /// <summary>Logits behind each token of a text.</summary>
    public double[][] Logits(int[] ids, int firstPosition = 0)
    {
        var x = ids.Select((id, t) => Row("model.embed_tokens.weight", id).Zip(config.Rotary is null ? Row("model.embed_positions.weight", firstPosition + t) : new double[config.Width], (word, place) => word + place).ToArray()).ToArray();
        for (var n = 0; n < config.Layers; n++)
        {
            var layer = $"model.layers.{n}";
            var normed = x.Select(each => Norm(each, $"{layer}.input_layernorm")).ToArray();
            var attended = Attention(normed, layer, n, firstPosition);
            x = [.. x.Select((each, t) => Add(each, attended[t]))];
            x = [.. x.Select(each => Add(each, FeedForward(Norm(each, $"{layer}.post_attention_layernorm"), $"{layer}.mlp")))];
        }
        return [.. x.Select(each => Linear(Norm(each, "model.norm"), config.Tied ? "model.embed_tokens" : "lm_head"))];
    }

    private double[][] Attention(double[][] x, string layer, int n, int firstPosition)
    {
        var width = config.HeadWidth;
        var (queries, keys, values) = (Heads("q_proj", config.Heads, "q_norm"), Heads("k_proj", config.KeyValueHeads, "k_norm"), x.Select(each => Linear(each, $"{layer}.self_attn.v_proj")).ToArray());
        return [.. Enumerable.Range(0, x.Length).Select(t =>
        {
            var answer = new double[config.Heads * width];
            for (var h = 0; h < config.Heads; h++)
            {
                var shared = h / (config.Heads / config.KeyValueHeads);
                int[] seen = [.. Enumerable.Range(0, t + 1).Where(s => config.WindowOf(n) is not { } window || t - s < window)];
                var scores = seen.Select(s => Enumerable.Range(0, width).Sum(i => queries[t][h * width + i] * keys[s][shared * width + i]) * config.ScoreFactor(n)).ToArray();
                var (most, sum) = (scores.Max(), scores.Sum(score => Math.Exp(score - scores.Max())));
                for (var j = 0; j < seen.Length; j++)
                    for (var i = 0; i < width; i++) answer[h * width + i] += Math.Exp(scores[j] - most) / sum * values[seen[j]][shared * width + i];
            }
            return Linear(answer, $"{layer}.self_attn.o_proj");
        })];

        double[][] Heads(string projection, int heads, string norm) => [.. x.Select((each, t) => Linear(each, $"{layer}.self_attn.{projection}").Chunk(width)
            .SelectMany(head => Turn(config.HeadNorms ? Norm(head, $"{layer}.self_attn.{norm}") : head, firstPosition + t)).ToArray())];
    }

    private double[] Turn(double[] head, int position)
    {
        if (config.Rotary is not { } rotary) return head;
        var half = head.Length / 2;
        var turned = new double[head.Length];
        for (var i = 0; i < half; i++)
        {
            var angle = position * Frequency(rotary, i, head.Length);
            var sharpened = rotary.Scaling is YarnScaling yarn ? yarn.Sharpening : 1;
            turned[i] = sharpened * (head[i] * Math.Cos(angle) - head[i + half] * Math.Sin(angle));
            turned[i + half] = sharpened * (head[i + half] * Math.Cos(angle) + head[i] * Math.Sin(angle));
        }
        return turned;
    }

    private static double Frequency(RotaryConfig rotary, int pair, int width)
    {
        var frequency = 1 / Math.Pow(rotary.Theta, 2.0 * pair / width);
        if (rotary.Scaling is null) return frequency;
        if (rotary.Scaling is LinearScaling linear) return frequency / linear.Factor;
        if (rotary.Scaling is YarnScaling yarn)
        {
            // Of the pairs in a row, the one that turns so often within the original length; the share of the division grows evenly from the one that turns often to the one that turns seldom.
            double At(double turns) => width / 2.0 * Math.Log(yarn.OriginalPositions / (2 * Math.PI * turns), rotary.Theta);
            double first = At(yarn.Often), last = At(yarn.Seldom);
            if (yarn.WholePairs) (first, last) = (Math.Floor(first), Math.Ceiling(last));
            (first, last) = (Math.Max(0, first), Math.Min(width - 1, last));
            var divided = pair <= first ? 0 : pair >= last ? 1 : (pair - first) / (last - first);
            return (1 - divided) * frequency + divided * frequency / yarn.Factor;
        }
        var s = (Llama3Scaling)rotary.Scaling;
        var turns = s.OriginalPositions * frequency / (2 * Math.PI);            // full turns within the original length
        if (turns > s.HighFrequencyFactor) return frequency;
        if (turns < s.LowFrequencyFactor) return frequency / s.Factor;
        var share = (turns - s.LowFrequencyFactor) / (s.HighFrequencyFactor - s.LowFrequencyFactor);
        return frequency * (share + (1 - share) / s.Factor);
    }

    private double[] FeedForward(double[] x, string name)
    {
        var up = Linear(x, $"{name}.up_proj");
        return Linear(config.Gated ? [.. Linear(x, $"{name}.gate_proj").Zip(up, (g, u) => Activate(g) * u)] : [.. up.Select(Activate)], $"{name}.down_proj");
    }

    private double Activate(double x) => config.Activation switch
    {
        Activation.Silu => x / (1 + Math.Exp(-x)),
        Activation.GeluTanh => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        Activation.Relu => Math.Max(x, 0),
        _ => throw new NotSupportedException($"{config.Activation} has no reference."),
    };

    private double[] Norm(double[] x, string name)
    {
        var weight = weights[$"{name}.weight"];
        if (!weights.TryGetValue($"{name}.bias", out var bias))
        {
            var size = Math.Sqrt(x.Average(value => value * value) + config.Epsilon);
            return [.. x.Select((value, i) => value / size * weight[i])];
        }
        var mean = x.Average();
        var deviation = Math.Sqrt(x.Average(value => (value - mean) * (value - mean)) + config.Epsilon);
        return [.. x.Select((value, i) => (value - mean) / deviation * weight[i] + bias[i])];
    }

    private double[] Linear(double[] x, string name)
    {
        var weight = weights[$"{name}.weight"];
        var bias = weights.GetValueOrDefault($"{name}.bias");
        return [.. Enumerable.Range(0, weight.Length / x.Length).Select(row => Enumerable.Range(0, x.Length).Sum(i => weight[row * x.Length + i] * x[i]) + (bias?[row] ?? 0))];
    }

    private double[] Row(string name, int row) => weights[name][(row * config.Width)..((row + 1) * config.Width)];

    private static double[] Add(double[] one, double[] other) => [.. one.Zip(other, (a, b) => a + b)];
}
