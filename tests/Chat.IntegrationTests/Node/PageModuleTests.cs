namespace Chat.IntegrationTests.Node;

/// <summary>The page's modules without a browser.</summary>
public sealed class PageModuleTests
{
    [Fact]
    public async Task The_markdown_of_long_hostile_texts_is_painted_in_linear_time()
    {
        var result = await NodeScript.RunAsync("markdown.mjs", []);

        Assert.Equal(29, result.GetProperty("texts").GetInt32());
        Assert.Equal(29, result.GetProperty("kept").GetInt32());
    }

    [Fact]
    public async Task The_types_in_the_modules_comments_hold()
    {
        var complaints = await NodeScript.RunToolAsync(["node_modules/typescript/bin/tsc", "--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "esnext", "--module", "esnext",
            "--moduleResolution", "bundler", "--lib", "esnext,dom,dom.iterable", "--types", "", "../../../Chat.Api/wwwroot/js/main.js"]);

        Assert.Empty(complaints);
    }
}
