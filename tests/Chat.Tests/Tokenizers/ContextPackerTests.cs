using Chat.Models.Tokenizers;
using CsCheck;

namespace Chat.Tests.Tokenizers;

public class ContextPackerTests
{
    private static readonly SpecialTokens Special = new(Start: 1, Separator: 2, Pad: 3, Unknown: 4);
    private static readonly Gen<(int[][], int)> Dialogues = Gen.Select(Gen.Int[10, 99].Array[0, 12].Array[1, 8], Gen.Int[3, 30]);

    [Fact]
    public void Whole_turns_are_packed_newest_first_until_one_does_not_fit() =>
        Assert.Equal([20, 21, 2, 30, 2, 1], ContextPacker.Pack([[10, 11, 12], [20, 21], [30]], Special, longest: 8));

    [Fact]
    public void All_turns_are_there_when_they_fit() =>
        Assert.Equal([10, 2, 20, 21, 2, 30, 2, 1], ContextPacker.Pack([[10], [20, 21], [30]], Special, longest: 8));

    [Fact]
    public void A_long_turn_in_the_middle_ends_the_context_and_is_not_skipped() =>
        Assert.Equal([30, 2, 1], ContextPacker.Pack([[10], [20, 21, 22, 23, 24, 25], [30]], Special, longest: 8));

    [Fact]
    public void A_last_turn_that_does_not_fit_alone_keeps_its_last_tokens() =>
        Assert.Equal([13, 14, 15, 2, 1], ContextPacker.Pack([[9], [10, 11, 12, 13, 14, 15]], Special, longest: 5));

    [Fact]
    public void The_packed_context_is_a_suffix_of_the_whole_dialogue_that_fits_and_ends_in_the_marks() => Dialogues.Sample((dialogue, longest) =>
    {
        var packed = ContextPacker.Pack(dialogue, Special, longest);
        int[] whole = [.. dialogue.SelectMany(turn => turn.Append(Special.Separator)), Special.Start];
        Assert.True(packed.Length <= longest);
        Assert.Equal([Special.Separator, Special.Start], packed[^2..]);
        Assert.Equal(whole[^packed.Length..], packed);
        // Nothing more would have fitted.
        var dropped = whole.Length - packed.Length;
        var turn = dialogue.Length - packed.Count(id => id == Special.Separator) - 1;
        if (turn >= 0) Assert.True(packed.Length + dialogue[turn].Length + 1 > longest);
        else Assert.True(dropped == 0 || packed.Length == longest);
    });

    [Fact]
    public void Nothing_to_pack_or_no_room_is_an_error()
    {
        Assert.Throws<ArgumentException>(() => ContextPacker.Pack([], Special, 10));
        Assert.Throws<ArgumentException>(() => ContextPacker.Pack([[1]], Special, 2));
    }
}
