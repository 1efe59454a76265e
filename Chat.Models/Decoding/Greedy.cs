using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

[Plugin("greedy", Summary = "Always the best token.")]
public sealed class Greedy : IDecodingStrategy
{
    public DecodingOptions Defaults { get; } = new();

    public bool IsPure => true;

    public int Width(DecodingOptions options) => 1;

    public ISearch Start(DecodingOptions options, DecodingContext context) => new TokenSearch(options, context, greedy: true);
}
