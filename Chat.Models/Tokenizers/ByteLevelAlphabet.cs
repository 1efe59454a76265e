using System.Collections.Frozen;
using System.Text;

namespace Chat.Models.Tokenizers;

/// <summary>GPT-2's writing of bytes as printable characters: a byte that is a printable Latin-1 character stands for itself, the others follow from U+0100 on.</summary>
public static class ByteLevelAlphabet
{
    private static readonly char[] ToChar = Build();
    private static readonly FrozenDictionary<char, byte> ToByte = ToChar.Select((letter, value) => (letter, (byte)value)).ToFrozenDictionary(pair => pair.letter, pair => pair.Item2);

    /// <summary>All 256 letters, by byte.</summary>
    public static ReadOnlySpan<char> Letters => ToChar;

    public static string Write(string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        return string.Create(bytes.Length, bytes, static (letters, bytes) =>
        {
            for (var i = 0; i < bytes.Length; i++) letters[i] = ToChar[bytes[i]];
        });
    }

    /// <summary>The bytes a written text stands for, or <c>null</c> when it holds another letter.</summary>
    public static byte[]? Read(string letters)
    {
        var bytes = new byte[letters.Length];
        for (var i = 0; i < bytes.Length; i++)
            if (!ToByte.TryGetValue(letters[i], out bytes[i])) return null;
        return bytes;
    }

    private static char[] Build()
    {
        var letters = new char[256];
        var next = (char)256;
        for (var value = 0; value < 256; value++)
            letters[value] = value is >= '!' and <= '~' or >= 0xa1 and <= 0xac or >= 0xae and <= 0xff ? (char)value : next++;
        return letters;
    }
}
