using Chat.Domain.Generation;
using Chat.Models.Engine;

namespace Chat.Tests.Engine;

public sealed class DialogueReaderTests
{
    private static readonly ByteTokenizer Tokenizer = new();

    [Fact]
    public void Turns_end_with_separators_and_the_start_token_comes_last()
    {
        var (context, dialogue) = Read(20, (ChatRole.User, "ab"), (ChatRole.Assistant, "c"), (ChatRole.User, "d"));

        Assert.Equal("ab|c|d|^", Show(context));
        Assert.Equal("ab|c|d|", Show(dialogue));
    }

    [Fact]
    public void A_system_message_stays_while_older_turns_drop()
    {
        var (context, dialogue) = Read(12, (ChatRole.System, "SYS"), (ChatRole.User, "old"), (ChatRole.Assistant, "xy"), (ChatRole.User, "new"));

        Assert.Equal("SYS|xy|new|^", Show(context));
        Assert.Equal("old|xy|new|", Show(dialogue));
    }

    [Fact]
    public void A_system_message_that_leaves_no_room_for_the_last_turn_goes()
    {
        Assert.Equal("hello|^", Show(Read(10, (ChatRole.System, "SYSTEM"), (ChatRole.User, "hello")).Context));
    }

    [Fact]
    public void A_last_turn_that_is_too_long_keeps_its_end()
    {
        var (context, dialogue) = Read(8, (ChatRole.System, "S"), (ChatRole.User, "0123456789"));

        Assert.Equal("456789|^", Show(context));
        Assert.Equal("0123456789|", Show(dialogue));
    }

    [Fact]
    public void An_endless_history_is_cut_to_what_can_matter()
    {
        var messages = Enumerable.Range(0, 3000).Select(i => (ChatRole.User, "ten chars.")).ToArray();

        var (context, dialogue) = Read(64, messages);

        Assert.InRange(dialogue.Length, DialogueReader.LongestDialogue - 11, DialogueReader.LongestDialogue);
        Assert.Equal(11 * 5 + 1, context.Length);
    }

    private static (int[] Context, int[] Dialogue) Read(int longest, params (ChatRole Role, string Text)[] messages) =>
        new DialogueReader(Tokenizer, longest).Read([.. messages.Select(m => new ChatMessage(m.Role, m.Text))]);

    private static string Show(int[] ids) => string.Concat(ids.Select(id => id switch { 1 => "|", 3 => "^", _ => ((char)Tokenizer.Bytes(id)[0]).ToString() }));
}
