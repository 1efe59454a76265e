using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Chat.Models.Tokenizers;

/// <summary>
/// SentencePiece's compiled rules of normalization (<c>precompiled_charsmap</c>, Kudo and Richardson, arXiv 1808.06226): a double-array trie (Darts) of UTF-8 bytes over
/// a store of replacements, each ended by a zero byte. Applied as Hugging Face's tokenizers do, cluster by cluster; SentencePiece itself takes the longest rule at each place.
/// Immutable.
/// </summary>
internal sealed class CharacterMap
{
    /// <summary>Clusters of more bytes are looked up by their code points alone, and none of these is longer.</summary>
    private const int LongestKey = 5;
    private const int LargestTrie = 4 << 20;            // bytes; all of NFKC takes 0.2 MB

    private readonly Dictionary<string, string>.AlternateLookup<ReadOnlySpan<char>> rules;
    private readonly bool[] isAsciiChanged = new bool[128];

    private CharacterMap(Dictionary<string, string> rules)
    {
        this.rules = rules.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach (var key in rules.Keys.Where(key => char.IsAscii(key[0]))) isAsciiChanged[key[0]] = true;
    }

    /// <exception cref="FormatException">It is no base64, or no such map.</exception>
    public static CharacterMap Read(string base64) => Read(Convert.FromBase64String(base64));

    /// <param name="map">Bytes of the trie (32 bit, little endian), the trie, the store.</param>
    /// <exception cref="FormatException">It is no such map.</exception>
    public static CharacterMap Read(ReadOnlySpan<byte> map)
    {
        if (map.Length < 4 || BinaryPrimitives.ReadUInt32LittleEndian(map) is var size && (size > map.Length - 4 || size % 4 != 0 || size == 0 || size > LargestTrie)) throw new FormatException("precompiled_charsmap is cut off or too large.");
        var units = new uint[size / 4];
        for (var i = 0; i < units.Length; i++) units[i] = BinaryPrimitives.ReadUInt32LittleEndian(map[(4 + 4 * i)..]);
        return new(new Walk(units, map[(4 + (int)size)..].ToArray()).Rules());
    }

    /// <param name="text">Well formed.</param>
    public string Apply(string text)
    {
        StringBuilder? changed = null;
        for (var at = 0; at < text.Length;)
        {
            var length = Lone(text, at) ? 1 : StringInfo.GetNextTextElementLength(text.AsSpan(at));
            var cluster = text.AsSpan(at, length);
            if (length == 1 && char.IsAscii(cluster[0]) && !isAsciiChanged[cluster[0]]) changed?.Append(cluster);
            else if (Encoding.UTF8.GetByteCount(cluster) <= LongestKey && ShortestRule(cluster) is { } whole) Changed(at).Append(whole);
            else
                for (var from = 0; from < length;)
                {
                    Rune.DecodeFromUtf16(cluster[from..], out _, out var units);
                    var letter = cluster.Slice(from, units);
                    if (ShortestRule(letter) is { } other) Changed(at + from).Append(other);
                    else changed?.Append(letter);
                    from += units;
                }
            at += length;
        }
        return changed?.ToString() ?? text;

        StringBuilder Changed(int upTo) => changed ??= new StringBuilder(text.Length).Append(text, 0, upTo);
    }

    // Two letters of ASCII are never one cluster, but \r\n is.
    private static bool Lone(string text, int at) => text[at] is not '\r' && char.IsAscii(text[at]) && at + 1 < text.Length && char.IsAscii(text[at + 1]);

    /// <summary>What stands for a piece: the rule of its shortest beginning that has one, which replaces all of the piece.</summary>
    private string? ShortestRule(ReadOnlySpan<char> piece)
    {
        for (var length = 0; length < piece.Length;)
        {
            Rune.DecodeFromUtf16(piece[length..], out _, out var units);
            length += units;
            if (rules.TryGetValue(piece[..length], out var found)) return found;
        }
        return null;
    }

    /// <summary>All keys that can be asked for, found by walking the trie. An honest one is a tree: it has no more nodes than units.</summary>
    private sealed class Walk(uint[] units, byte[] store)
    {
        private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);
        private readonly Dictionary<string, string> rules = new(StringComparer.Ordinal);
        private readonly byte[] key = new byte[LongestKey];
        private int nodes;

        public Dictionary<string, string> Rules()
        {
            From(Offset(0), 0);
            return rules;
        }

        // A unit: bits 0 to 7 its label, bit 8 whether a rule ends there, bit 9 and 10 to 31 where its children are. A rule's unit: bits 0 to 30 its place in the store.
        private void From(uint node, int depth)
        {
            for (var label = 1u; label < 256; label++)
            {
                if ((node ^ label) >= units.Length || (units[node ^ label] & 0x8000_00ff) != label) continue;
                if (++nodes > units.Length) throw new FormatException("precompiled_charsmap goes in circles.");
                key[depth] = (byte)label;
                var child = (node ^ label) ^ Offset(node ^ label);
                if ((units[node ^ label] >> 8 & 1) == 1) rules.TryAdd(Strict.GetString(key, 0, depth + 1), Replacement(child));
                if (depth + 1 < LongestKey) From(child, depth + 1);
            }
        }

        private uint Offset(uint node) => units[node] >> 10 << (int)((units[node] & 1 << 9) >> 6);

        private string Replacement(uint leaf)
        {
            if (leaf >= units.Length || (units[leaf] & 0x7fff_ffff) is var place && place >= store.Length) throw new FormatException("precompiled_charsmap points outside itself.");
            var length = store.AsSpan((int)place).IndexOf((byte)0);
            return Strict.GetString(store.AsSpan((int)place, length < 0 ? store.Length - (int)place : length));
        }
    }
}
