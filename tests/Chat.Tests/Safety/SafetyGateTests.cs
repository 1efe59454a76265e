using System.Text;
using Chat.Domain.Safety;
using Chat.Safety;
using CsCheck;

namespace Chat.Tests.Safety;

public class SafetyGateTests
{
    private static readonly WordList Words = new(Refused: ["abc", "去死", "no way"], Masked: ["bd", "dab", "坏"], Allowed: ["cabcd", "去死胡同", "坏人"]);

    // Few letters, so that words, allowed phrases, addresses and numbers come up by chance.
    private static readonly Gen<string> Texts = Gen.OneOf(
        "a", "b", "c", "d", " ", "去", "死", "胡同", "坏", "人", "no", "way", "1", "3800138000", "138-0013-8000", "+1 ", "415 555", "@", ".", "co", "x", "-", "😀", "\ud83d", "\n")
        .Array[0, 30].Select(string.Concat);

    private static SafetyPolicy Policy(int holdLimit = 256, Action<SafetyRecord>? audit = null) =>
        new([new WordFilter(Words), new EmailFilter(), new PhoneFilter()], holdLimit, audit);

    private static IEnumerable<ClearedText> Through(SafetyGate gate, IEnumerable<string> chunks)
    {
        foreach (var chunk in chunks) yield return gate.Push(chunk);
        yield return gate.Complete();
    }

    private static (string Text, Finding? Refusal) Run(SafetyPolicy policy, IEnumerable<string> chunks)
    {
        var cleared = Through(policy.OpenGate("test"), chunks).ToList();
        return (string.Concat(cleared.Select(c => c.Text)), cleared[^1].Refusal);
    }

    private static IEnumerable<string> Cut(string text, int[] lengths)
    {
        var at = 0;
        for (var i = 0; at < text.Length; i++)
        {
            var length = Math.Min(lengths.Length == 0 ? text.Length : lengths[i % lengths.Length], text.Length - at);
            yield return text.Substring(at, length);
            at += length;
        }
    }

    private static IEnumerable<string> UnitByUnit(string text) => text.Select(unit => unit.ToString());

    [Fact]
    public void Every_way_of_cutting_gives_the_same_text_and_the_same_refusal() =>
        Gen.Select(Texts, Gen.Int[1, 9].Array[1, 6], Gen.OneOf(4, 12, 256)).Sample((text, lengths, limit) =>
        {
            var whole = Run(Policy(limit), [text]);
            Assert.Equal(Run(Policy(limit), UnitByUnit(text)), whole);
            Assert.Equal(Run(Policy(limit), Cut(text, lengths)), whole);
        }, iter: 4000);

    [Fact]
    public void A_stream_that_is_not_refused_releases_what_the_whole_text_check_clears() =>
        Gen.Select(Texts, Gen.Int[1, 9].Array[1, 6]).Sample((text, lengths) =>
        {
            var check = Policy(1000).Check(text, "test");
            var (streamed, refusal) = Run(Policy(1000), Cut(text, lengths));
            Assert.Equal(check.Verdict == Verdict.Refuse, refusal is not null);
            if (refusal is null) Assert.Equal(check.Cleared.Text, streamed);
        }, iter: 4000);

    [Fact]
    public void No_character_of_a_finding_leaves_before_or_after_it_is_decided() =>
        Gen.Select(Texts, Gen.Int[1, 9].Array[1, 6]).Sample((text, lengths) =>
        {
            var policy = Policy();
            var findings = policy.Check(text, "test").Findings;
            var gate = policy.OpenGate("test");
            var source = 0;
            foreach (var cleared in Through(gate, Cut(text, lengths)))
            {
                foreach (var span in cleared.Spans)
                {
                    if (!span.IsMasked)
                        Assert.DoesNotContain(findings, f => f.Verdict != Verdict.Review && Bytes(text, f.Start) < source + span.SourceBytes && Bytes(text, f.End) > source);
                    source += span.SourceBytes;
                }
            }
        }, iter: 4000);

    // A lone surrogate counts as U+FFFD, three bytes, as it leaves.
    private static int Bytes(string text, int units) => Encoding.UTF8.GetByteCount(text.AsSpan(0, units));

    [Fact]
    public void Released_text_holds_no_listed_word() =>
        Gen.Select(Texts, Gen.Int[1, 5].Array[1, 6]).Sample((text, lengths) =>
        {
            var (released, _) = Run(Policy(), Cut(text, lengths));
            Assert.DoesNotContain(Policy().Check(released, "test").Findings, f => f.Rule == "words");
        }, iter: 4000);

    [Fact]
    public void Source_bytes_of_the_spans_add_up_to_the_source() =>
        Gen.Select(Texts, Gen.Int[1, 9].Array[1, 6]).Sample((text, lengths) =>
        {
            var gate = new SafetyPolicy([new EmailFilter(), new PhoneFilter()]).OpenGate("test");
            var cleared = Through(gate, Cut(text, lengths)).ToList();
            Assert.Null(cleared[^1].Refusal);
            Assert.Equal(Bytes(text, text.Length), cleared.SelectMany(c => c.Spans).Sum(s => s.SourceBytes));
        }, iter: 2000);

    // Addresses and numbers glued to each other and to words, runs longer than an address may be, and digits enough to spoil a number.
    private static readonly Gen<string> Glued = Gen.OneOf(
        "a@b.co", "@b.co", "@", "13800138000", "138 0013 8000", "0571-8765432", "+86", "(415) 555-2671", "1", "00", " ", "-", ".", "x", "bd", "dab", "坏", "[", "*", "１３８", new string('x', 61), new string('7', 63))
        .Array[0, 12].Select(string.Concat);

    [Fact]
    public void A_text_is_never_refused_because_no_placeholder_can_stand_in_it() =>
        Gen.Select(Glued, Gen.Int[1, 9].Array[1, 6]).Sample((text, lengths) =>
        {
            var policy = new SafetyPolicy([new WordFilter(new([], ["bd", "dab", "坏", "xxx"], ["坏人"])), new EmailFilter(), new PhoneFilter()]);
            var (released, refusal) = Run(policy, Cut(text, lengths));
            Assert.True(refusal is null, $"refused {refusal} of '{text}'");
            Assert.DoesNotContain(policy.Check(released, "test").Findings, f => f.Rule == "words");
        }, iter: 6000);

    [Theory]
    [InlineData("写信到zhang@example.com13800138000。", "写信到[email][phone]。")]
    [InlineData("a@b.co138 0013 8000", "[email][phone]")]
    [InlineData("13800138000a@b.co", "[email]")]
    [InlineData("a@b.cox@c.de", "[email]@c.de")]
    [InlineData("bd13800138000", "bdx**")]
    [InlineData("bd138 0013 8000@b.co", "bdx**")]
    public void Findings_that_touch_are_masked_side_by_side(string text, string expected)
    {
        Assert.Equal(expected, Policy().Check(text, "test").Cleared.Text);
        Assert.Equal((expected, null), Run(Policy(), UnitByUnit(text)));
    }

    [Fact]
    public void Held_text_begins_at_the_oldest_live_match()
    {
        var gate = Policy().OpenGate("test");

        Assert.Equal("x ", gate.Push("x ab").Text);         // abc could follow
        Assert.Equal("ab ", gate.Push(" d").Text);          // d may begin dab
        Assert.Equal("d.", gate.Push(". ").Text.TrimEnd());
        Assert.Equal("", gate.Complete().Text);
    }

    [Fact]
    public void A_masked_span_leaves_as_its_placeholder()
    {
        Assert.Equal("write to [email], or call [phone].", Run(Policy(), UnitByUnit("write to jo.doe+x@mail.example.com, or call 138-0013-8000.")).Text);
        Assert.Equal("电话[phone]，*** 人", Run(Policy(), UnitByUnit("电话13800138000，坏 人")).Text);
    }

    [Fact]
    public void After_a_refusal_nothing_comes_out()
    {
        var gate = Policy().OpenGate("test");

        Assert.Equal("hello ", gate.Push("hello abc").Text + gate.Push(" and more").Text);
        var end = gate.Complete();
        Assert.Equal("", end.Text);
        Assert.Equal(new Finding(6, 9, Verdict.Refuse, "words"), end.Refusal);
    }

    [Fact]
    public void More_held_text_than_the_limit_is_refused()
    {
        var gate = Policy(holdLimit: 10).OpenGate("test");

        Assert.Null(gate.Push("0123456789 ").Refusal);
        Assert.Null(gate.Push("xxxxxxxxxx").Refusal);
        Assert.Equal(SafetyPolicy.CapRule, gate.Push("x").Refusal?.Rule);
        Assert.Equal("", gate.Push(" more ").Text);
    }

    private sealed class BrokenFilter(Func<string, Scan> scan) : ISafetyFilter
    {
        public int ContextLength => 0;
        public Scan Scan(ReadOnlySpan<char> window, int context, bool final) => scan(window.ToString());
    }

    [Fact]
    public void A_filter_that_fails_refuses_in_both_directions()
    {
        Func<string, Scan>[] faults =
        [
            _ => throw new TimeoutException(),
            window => new([], window.Length + 1),
            window => new([new(0, window.Length + 5, Verdict.Mask, "x")], window.Length),
            window => new([new(-1, 1, Verdict.Mask, "x")], window.Length),
            _ => new([], -1),
        ];
        foreach (var fault in faults)
        {
            var policy = new SafetyPolicy([new BrokenFilter(fault)]);
            Assert.Equal(("", SafetyPolicy.ErrorRule), Run(policy, ["text"]) is var (text, refusal) ? (text, refusal?.Rule) : default);
            Assert.Equal(Verdict.Refuse, policy.Check("text", "test").Verdict);
            Assert.Equal("", policy.Check("text", "test").Cleared.Text);
        }
    }

    [Fact]
    public void A_mask_makes_no_word_of_what_stood_beside_it()
    {
        var policy = new SafetyPolicy([new WordFilter(new(["abc"], [], [])), new PhoneFilter()]);

        Assert.Equal("abcx**, [phone].", policy.Check("abc13800138000, 13800138000.", "test").Cleared.Text);
        Assert.Equal(Verdict.Refuse, policy.Check("13800138000abc", "test").Verdict);
        Assert.Equal(("[phone]", "words"), Run(policy, UnitByUnit("13800138000abc")) is var (text, refusal) ? (text, refusal?.Rule) : default);
    }

    [Fact]
    public void A_placeholder_that_the_list_forbids_becomes_stars()
    {
        var policy = new SafetyPolicy([new WordFilter(new(["email"], [], [])), new EmailFilter()]);

        Assert.Equal("to *** now", policy.Check("to a@b.cd now", "test").Cleared.Text);
    }

    [Fact]
    public void Each_finding_is_recorded_once()
    {
        var records = new List<SafetyRecord>();

        Run(Policy(audit: records.Add), UnitByUnit("a@b.cd and bd, then abc."));

        Assert.Equal(
            [(Verdict.Mask, "email", 0, 6), (Verdict.Mask, "words", 11, 13), (Verdict.Refuse, "words", 20, 23)],
            records.Select(r => (r.Finding.Verdict, r.Finding.Rule, r.Finding.Start, r.Finding.End)));
        Assert.Equal(["a@b.cd", "bd", "abc"], records.Select(r => r.Matched));
    }

    [Fact]
    public void Cleared_text_has_no_public_constructor() =>
        Assert.Empty(typeof(ClearedText).GetConstructors());
}
