namespace Chat.GoldenRunner;

/// <summary>The command line: an operation, then options with a value each.</summary>
internal sealed record Arguments(string Operation, string Model, string Input, string? Weights, string Runner = Arguments.Torch)
{
    /// <summary>Who computes encoders: libtorch, or the kernels that serve.</summary>
    public const string Torch = "torch", Kernels = "kernels";

    public static Arguments Parse(string[] args, IEnumerable<string> operations)
    {
        if (args.Length == 0 || !operations.Contains(args[0])) throw new ArgumentException($"The first argument must be one of: {string.Join(", ", operations)}.");
        var options = new Dictionary<string, string>();
        for (var i = 1; i < args.Length; i += 2)
        {
            if (args[i] is not ("--model" or "--input" or "--weights" or "--runner")) throw new ArgumentException($"Unknown option '{args[i]}'. Known: --model, --input, --weights, --runner.");
            options[args[i]] = i + 1 < args.Length ? args[i + 1] : throw new ArgumentException($"{args[i]} needs a value.");
        }
        var runner = options.GetValueOrDefault("--runner", Torch);
        if (runner is not (Torch or Kernels)) throw new ArgumentException($"Unknown runner '{runner}'. Known: {Torch}, {Kernels}.");
        return new Arguments(args[0], options.GetValueOrDefault("--model", "."), options.GetValueOrDefault("--input") ?? throw new ArgumentException("--input is missing."), options.GetValueOrDefault("--weights"), runner);
    }
}
