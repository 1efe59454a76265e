using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>What a model, or who feeds it, may write: it stays text, loads nothing, and cannot freeze the page.</summary>
[Collection(nameof(PageCollection))]
public sealed class HostileTextTests(Browser browser)
{
    private const string Hostile = """
        <script>window.hit = 1</script><img src=x onerror="window.hit = 1"><iframe src="https://evil.example/"></iframe>

        ![pixel](https://evil.example/pixel.png) [click](javascript:window.hit=1) [click](JaVaScRiPt:window.hit=1) [data](data:text/html,<script>window.hit=1</script>)

        [vb](vbscript:msgbox) <javascript:window.hit=1> [tab](java	script:window.hit=1) [file](file:///etc/passwd) [blob](blob:https://evil.example/1)

        # <svg onload=window.hit=1>

        | <b onclick=window.hit=1>x</b> | y |
        |---|---|
        | <style>*{display:none}</style> | [ok](https://example.com/ok "t" onclick=x) |

        - <details open ontoggle=window.hit=1>

        ```html
        <script>window.hit = 1</script>
        ```

        Good: [site](https://example.com/a?b=c&d) [mail](mailto:someone) https://example.com/bare.
        """;

    [Fact]
    public async Task Hostile_markdown_makes_no_script_no_picture_no_request_and_no_strange_link()
    {
        browser.Server.Say("Attack.", Hostile);
        await using var visit = await browser.VisitAsync();

        await visit.AskAsync("Attack.");

        await Expect(visit.Replies).ToContainTextAsync("<script>window.hit = 1</script>");
        Assert.Equal(0, await visit.Replies.Locator("script, img, iframe, svg, style, details, object, embed, form, input, b").CountAsync());
        Assert.False(await visit.Page.EvaluateAsync<bool>("'hit' in window"));
        Assert.Empty(await visit.Replies.EvaluateAsync<string[]>("node => [...node.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on') || a.name === 'style').map(a => a.name)"));
        Assert.Equal(["https://evil.example/", "https://evil.example/pixel.png", "https://evil.example/1", "https://example.com/ok", "https://example.com/a?b=c&d", "mailto:someone", "https://example.com/bare"],
            await visit.Replies.Locator("a").EvaluateAllAsync<string[]>("links => links.map(link => link.href)"));
        Assert.Equal(["noopener noreferrer nofollow"], (await visit.Replies.Locator("a").EvaluateAllAsync<string[]>("links => links.map(link => link.rel)")).Distinct());
    }

    [Fact]
    public async Task Text_without_markup_stays_exactly_itself_blank_lines_included()
    {
        const string Plain = "  First line,\nsecond line.\n\n\nA new paragraph; 2 * 3 * 4 = 24, snake_case_word, a < b > c.\n\n最后一段。\n";
        browser.Server.Say("Plainly.", Plain);
        await using var visit = await browser.VisitAsync();

        await visit.AskAsync("Plainly.");

        Assert.Equal(Plain, await visit.Replies.TextContentAsync());
        Assert.Equal(3, await visit.Replies.Locator("p").CountAsync());
    }

    [Fact]
    public async Task Markdown_becomes_the_elements_it_means()
    {
        browser.Server.Say("Everything.", "## Title\nA **bold _and_ slanted** ~~old~~ `a*b*` line.\n- one\n- two\n  - two and a half\n- three\n\n3. third\n4. fourth\n\n> said\n> again\n\n---\n\n~~~\nx  y\n~~~\n\n| a | b |\n|---|---|\n| 1 | 2 |");
        await using var visit = await browser.VisitAsync();

        await visit.AskAsync("Everything.");

        var shape = await visit.Replies.EvaluateAsync<string>("""
            node => { const tree = e => e.tagName.toLowerCase() + ([...e.children].length ? `(${[...e.children].map(tree).join(' ')})` : `:${e.textContent.trim()}`); return [...node.children].map(tree).join(' | '); }
            """);
        Assert.Equal("h4:Title | p(strong(em:and) del:old code:a*b*) | ul(li:one li(ul(li:two and a half)) li:three) | ol(li:third li:fourth) | blockquote:said\nagain | hr: | pre(code:x  y) | "
            + "div(table(thead(tr(th:a th:b)) tbody(tr(td:1 td:2))))", shape);
    }
}
