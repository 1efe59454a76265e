using Chat.Domain.Safety;
using Chat.Safety;

namespace Chat.Tests.Safety;

public class SafetyFilterTests
{
    private static string Masked(ISafetyFilter filter, string text) => new SafetyPolicy([filter]).Check(text, "test").Cleared.Text;

    [Theory]
    [InlineData("Ass", "***")]
    [InlineData("class", "class")]
    [InlineData("assist", "assist")]
    [InlineData("an ass.", "an ***.")]
    [InlineData("ass1", "ass1")]
    [InlineData("他ass了", "他***了")]
    [InlineData("éass", "éass")]
    [InlineData("wild ass", "wild ass")]
    [InlineData("去死吧", "***吧")]
    [InlineData("去死胡同走走", "去死胡同走走")]
    [InlineData("去死胡同，去死", "去死胡同，***")]
    [InlineData("A+ is a+b", "*** is a+b")]
    public void Words_have_borders_where_the_script_has_blanks(string text, string expected) =>
        Assert.Equal(expected, Masked(new WordFilter(new([], ["ass", "去死", "a+"], ["去死胡同", "Wild Ass", "a+b"])), text));

    [Theory]
    [InlineData("13800138000", "[phone]")]
    [InlineData("电话：+86 138 0013 8000。", "电话：[phone]。")]
    [InlineData("008613800138000", "[phone]")]
    [InlineData("order 201380013800012", "order 201380013800012")]
    [InlineData("0.13800138000", "0.13800138000")]
    [InlineData("12800138000", "12800138000")]
    [InlineData("010-62345678 or 0571 8765432", "[phone] or [phone]")]
    [InlineData("call (415) 555-2671 or 415-555-2671", "call [phone] or [phone]")]
    [InlineData("+44 20 7946 0958, ok", "[phone], ok")]
    [InlineData("+1234567890123456", "+1234567890123456")]
    [InlineData("1 + 2 = 3, 2024-11-25, 10 000 000, 3.14159265358", "1 + 2 = 3, 2024-11-25, 10 000 000, 3.14159265358")]
    [InlineData("+123456", "+123456")]
    public void Telephone_numbers_are_masked_and_other_numbers_stay(string text, string expected) =>
        Assert.Equal(expected, Masked(new PhoneFilter(), text));

    [Theory]
    [InlineData("a@b.co", "[email]")]
    [InlineData("写信到zhang.san@example.com.cn。", "写信到[email]。")]
    [InlineData("me@example.com.", "[email].")]
    [InlineData("<me@sub.example.org>", "<[email]>")]
    [InlineData("a@b", "a@b")]
    [InlineData("a@b.c", "a@b.c")]
    [InlineData("@name and a@ b.co", "@name and a@ b.co")]
    [InlineData("a@b@c.com", "a@[email]")]
    [InlineData("a@-b.com", "a@-b.com")]
    [InlineData("price@10.50", "price@10.50")]
    [InlineData("a@b.co138 0013", "[email]138 0013")]
    [InlineData("a@b.co1.com", "[email]")]
    [InlineData("a@b.c0m", "a@b.c0m")]
    [InlineData("a@b.co-138", "[email]-138")]
    [InlineData("a@b.co-op.uk", "[email]")]
    public void Addresses_are_masked(string text, string expected) =>
        Assert.Equal(expected, Masked(new EmailFilter(), text));

    [Fact]
    public void The_shipped_list_masks_and_refuses_and_lets_innocent_text_pass()
    {
        var policy = new SafetyPolicy([new WordFilter()]);

        Assert.Equal(Verdict.Mask, policy.Check("oh Shit!", "test").Verdict);
        Assert.Equal(Verdict.Refuse, policy.Check("go kill yourself", "test").Verdict);
        Assert.Equal(Verdict.Mask, policy.Check("他妈的，真热", "test").Verdict);
        foreach (var innocent in new[] { "Scunthorpe is a town", "他妈的生日", "shiitake", "我妈的手艺", "the cockpit, the classics, Essex" })
            Assert.Equal(Verdict.Allow, policy.Check(innocent, "test").Verdict);
    }

    [Fact]
    public void A_broken_line_of_a_word_list_is_named()
    {
        var error = Assert.Throws<FormatException>(() => WordList.Parse("mask one\nblock two"));

        Assert.Equal("Word list line 2: expected 'refuse', 'mask' or 'allow' and a word, found 'block'.", error.Message);
    }
}
