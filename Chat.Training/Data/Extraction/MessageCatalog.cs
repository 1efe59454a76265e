using System.Buffers.Binary;
using System.Text;

namespace Chat.Training.Data.Extraction;

/// <summary>A GNU gettext <c>.mo</c> file: original text to translation. Plural forms and contexts keep their raw keys.</summary>
public static class MessageCatalog
{
    private const uint Magic = 0x950412de;

    /// <exception cref="InvalidDataException">Not a catalog, or one that points outside itself.</exception>
    public static Dictionary<string, string> Read(ReadOnlySpan<byte> file)
    {
        if (file.Length < 28) throw new InvalidDataException("A message catalog has at least 28 bytes.");
        var little = BinaryPrimitives.ReadUInt32LittleEndian(file) == Magic;
        if (!little && BinaryPrimitives.ReadUInt32BigEndian(file) != Magic) throw new InvalidDataException("Not a message catalog: wrong magic number.");

        var count = Number(file, 8, little);
        var originals = Number(file, 12, little);
        var translations = Number(file, 16, little);
        var catalog = new Dictionary<string, string>(count, StringComparer.Ordinal);
        for (var i = 0; i < count; i++)
            catalog[Text(file, originals + 8 * i, little)] = Text(file, translations + 8 * i, little);
        return catalog;
    }

    private static string Text(ReadOnlySpan<byte> file, int entry, bool little)
    {
        var length = Number(file, entry, little);
        var offset = Number(file, entry + 4, little);
        if (offset > file.Length - length) throw new InvalidDataException($"A message of {length} bytes at {offset} lies outside the catalog.");
        return Encoding.UTF8.GetString(file.Slice(offset, length));
    }

    private static int Number(ReadOnlySpan<byte> file, int offset, bool little)
    {
        if (offset < 0 || offset > file.Length - 4) throw new InvalidDataException($"A table entry at {offset} lies outside the catalog.");
        var number = little ? BinaryPrimitives.ReadUInt32LittleEndian(file[offset..]) : BinaryPrimitives.ReadUInt32BigEndian(file[offset..]);
        return number <= file.Length ? (int)number : throw new InvalidDataException($"{number} is larger than the catalog.");
    }
}
