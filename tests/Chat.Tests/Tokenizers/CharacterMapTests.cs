using System.Buffers.Binary;
using Chat.Models.Tokenizers;

namespace Chat.Tests.Tokenizers;

/// <summary>Maps put together by hand. A unit: its label, bit 8 = a rule ends there, children at its own index XOR bits 10 and up; a rule's unit has bit 31 and its place in the store.</summary>
public class CharacterMapTests
{
    private const uint EndsHere = 1 << 8, Free = 1u << 31;

    [Fact]
    public void A_rule_replaces_its_letter_and_nothing_else()
    {
        var map = CharacterMap.Read(Map(Units(('a', 300)), "xyz\0"));
        Assert.Equal("xyzbxyz", map.Apply("aba"));
        Assert.Equal("", map.Apply(""));
        Assert.Equal("你b\r\n", map.Apply("你b\r\n"));
    }

    [Fact]
    public void The_shortest_rule_stands_for_a_whole_cluster_of_few_bytes()
    {
        var map = CharacterMap.Read(Map(Units(('a', 300)), "x\0"));
        Assert.Equal("xb", map.Apply("a\u0301b"));                                          // three bytes: the accent goes with its letter
        Assert.Equal("x\u0301\u0302\u0303", map.Apply("a\u0301\u0302\u0303"));             // seven: letter by letter
    }

    [Fact]
    public void A_map_that_is_cut_points_outside_itself_or_goes_in_circles_is_refused()
    {
        var units = Units(('a', 300));
        Assert.Throws<FormatException>(() => CharacterMap.Read(Map(units, "x\0").AsSpan(0, 4 * 900)));
        Assert.Throws<FormatException>(() => CharacterMap.Read(Map(Units(('a', 300), value: 2), "x\0")));
        Assert.Throws<FormatException>(() => CharacterMap.Read(Map(Units(('a', 1 << 12)), "x\0")));

        // Every unit is a child of every other.
        var circle = Enumerable.Range(0, 256).Select(i => (uint)i | (uint)i << 10).ToArray();
        Assert.Contains("circles", Assert.Throws<FormatException>(() => CharacterMap.Read(Map(circle, "x\0"))).Message, StringComparison.Ordinal);
    }

    /// <summary>A trie with one letter: the root's children are at 256 XOR their label.</summary>
    private static uint[] Units((char Letter, int Leaf) rule, uint value = 0)
    {
        var units = Enumerable.Repeat(Free, 1024).ToArray();
        units[0] = 256u << 10;
        var node = 256u ^ rule.Letter;
        units[node] = rule.Letter | EndsHere | (node ^ (uint)rule.Leaf) << 10;
        if (rule.Leaf < units.Length) units[rule.Leaf] = Free | value;
        return units;
    }

    private static byte[] Map(uint[] units, string store)
    {
        var map = new byte[4 + 4 * units.Length + store.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(map, (uint)(4 * units.Length));
        for (var i = 0; i < units.Length; i++) BinaryPrimitives.WriteUInt32LittleEndian(map.AsSpan(4 + 4 * i), units[i]);
        System.Text.Encoding.ASCII.GetBytes(store).CopyTo(map, 4 + 4 * units.Length);
        return map;
    }
}
