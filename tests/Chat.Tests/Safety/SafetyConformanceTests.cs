using Chat.Domain.Plugins;
using Chat.Domain.Safety;
using Chat.Safety;
using CsCheck;

namespace Chat.Tests.Safety;

/// <summary>What every plugin of kind safety promises. A new filter is picked up from the catalog.</summary>
public class SafetyConformanceTests
{
    private static readonly PluginCatalog Catalog = new([typeof(SafetyGate).Assembly]);

    public static TheoryData<string> Filters => [.. Catalog.OfKind("safety").Select(p => p.Name)];

    private static readonly Gen<string> Texts = Gen.OneOf(
        "shit", "１３８", "。", "例子", "kill ", "yourself", "他妈的", "生日", "a", "mail", "@", ".com", ".", "1", "38", "00138000", "-", "+", "(", ")", "86", " ", "😀", "é", "\n", "好")
        .Array[0, 25].Select(string.Concat);

    private static ISafetyFilter Create(string name) => (ISafetyFilter)Activator.CreateInstance(Catalog.Get("safety", name).Type)!;

    [Fact]
    public void The_catalog_lists_the_shipped_filters() =>
        Assert.Equal(["email", "phone", "words"], Catalog.OfKind("safety").Select(p => p.Name));

    [Theory, MemberData(nameof(Filters))]
    public void Empty_text_has_no_finding(string name)
    {
        foreach (var final in new[] { false, true })
        {
            var scan = Create(name).Scan("", 0, final);
            Assert.Empty(scan.Findings);
            Assert.Equal(0, scan.HoldFrom);
        }
    }

    [Theory, MemberData(nameof(Filters))]
    public void Spans_lie_in_the_window_behind_the_context_and_nothing_is_held_at_the_end(string name) =>
        Gen.Select(Texts, Gen.Double[0, 1]).Sample((text, share) =>
        {
            var context = (int)(share * text.Length);
            foreach (var final in new[] { false, true })
            {
                var scan = Create(name).Scan(text, context, final);
                Assert.All(scan.Findings, f => Assert.True(context <= f.Start && f.Start < f.End && f.End <= text.Length));
                Assert.InRange(scan.HoldFrom, final ? text.Length : context, text.Length);
            }
        }, iter: 1000);

    [Theory, MemberData(nameof(Filters))]
    public void More_text_takes_no_finding_back_and_never_moves_the_hold_back(string name) =>
        Texts.Sample(text =>
        {
            var filter = Create(name);
            var hold = 0;
            IReadOnlyList<Finding> before = [];
            foreach (var end in Ends(text))
            {
                var scan = filter.Scan(text.AsSpan(0, end), 0, final: false);
                Assert.All(before, f => Assert.Contains(f, scan.Findings));
                Assert.True(scan.HoldFrom >= hold, $"hold fell from {hold} to {scan.HoldFrom} at {end} of '{text}'");
                (hold, before) = (scan.HoldFrom, scan.Findings);
            }
            Assert.All(before, f => Assert.Contains(f, filter.Scan(text, 0, final: true).Findings));
        }, iter: 1000);

    [Theory, MemberData(nameof(Filters))]
    public void Findings_start_nowhere_before_the_hold_of_an_earlier_look(string name) =>
        Texts.Sample(text =>
        {
            var filter = Create(name);
            var findings = filter.Scan(text, 0, final: true).Findings;
            foreach (var end in Ends(text))
            {
                var scan = filter.Scan(text.AsSpan(0, end), 0, final: false);
                Assert.All(findings.Except(scan.Findings), f => Assert.True(f.Start >= scan.HoldFrom, $"{f} would have leaked at {end} of '{text}'"));
            }
        }, iter: 1000);

    [Theory, MemberData(nameof(Filters))]
    public void Context_of_the_stated_length_is_enough(string name) =>
        Texts.Sample(text =>
        {
            var filter = Create(name);
            foreach (var end in Ends(text))
            {
                var released = filter.Scan(text.AsSpan(0, end), 0, final: false).HoldFrom;
                var forget = Math.Max(0, released - filter.ContextLength);
                var whole = filter.Scan(text, 0, final: true).Findings.Where(f => f.Start >= released);
                var rest = filter.Scan(text.AsSpan(forget), released - forget, final: true).Findings;
                Assert.Equal(whole, rest.Select(f => f with { Start = f.Start + forget, End = f.End + forget }));
            }
        }, iter: 1000);

    private static IEnumerable<int> Ends(string text) => Enumerable.Range(0, text.Length + 1).Where(i => i == text.Length || !char.IsLowSurrogate(text[i]));
}
