using System.Text;
using Chat.Models.Tokenizers;

namespace Chat.Tests.Engine;

/// <summary>A token a byte behind four special ones, and a few longer tokens, some of which end inside a character.</summary>
internal sealed class ByteTokenizer : ITextTokenizer
{
    private static readonly byte[][] Longer = [.. new[] { "the", " a", "你好", "ab", "好" }.Select(Encoding.UTF8.GetBytes), [0xE4, 0xBD], [0xA0, (byte)'!'], [0xF0, 0x9F, 0x98]];

    public int VocabularySize => 260 + Longer.Length;

    public SpecialTokens Special { get; } = new(Start: 3, Separator: 1, Pad: 2, Unknown: 0);

    public IReadOnlyList<int> Encode(string text) => [.. Encoding.UTF8.GetBytes(text).Select(b => b + 4)];

    public ReadOnlySpan<byte> Bytes(int id) => id < 4 ? [] : id < 260 ? new[] { (byte)(id - 4) } : Longer[id - 260];
}
