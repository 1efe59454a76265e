using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.RegularExpressions;
using static Microsoft.Playwright.Assertions;

namespace Chat.IntegrationTests.Page;

/// <summary>What goes over the wire for the page, and under which headers.</summary>
[Collection(nameof(PageCollection))]
public sealed class WireTests(Browser browser)
{
    private const long Budget = 40_000;

    [Fact]
    public async Task A_cold_load_costs_less_than_forty_kilobytes_headers_included()
    {
        await using var visit = await browser.VisitAsync(new() { Locale = "zh-CN" });
        var protocol = await visit.Page.Context.NewCDPSessionAsync(visit.Page);
        await protocol.SendAsync("Network.enable");
        await protocol.SendAsync("Network.setCacheDisabled", new() { ["cacheDisabled"] = true });
        long bytes = 0;
        protocol.Event("Network.loadingFinished").OnEvent += (_, finished) => Interlocked.Add(ref bytes, (long)finished!.Value.GetProperty("encodedDataLength").GetDouble());

        await visit.ReloadAsync();
        await visit.Page.WaitForLoadStateAsync(Microsoft.Playwright.LoadState.NetworkIdle);

        Assert.InRange(Interlocked.Read(ref bytes), 20_000, Budget);
        TestContext.Current.TestOutputHelper?.WriteLine($"cold load: {bytes} bytes");
    }

    [Fact]
    public async Task The_page_comes_under_a_policy_that_lets_nothing_in_from_elsewhere()
    {
        using var client = new HttpClient();

        using var response = await client.GetAsync($"{browser.Server.Origin}/");

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("text/html", response.Content.Headers.ContentType!.MediaType);
        var policy = Assert.Single(response.Headers.GetValues("Content-Security-Policy"));
        Assert.Equal("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
            + "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'", policy);
        Assert.Equal("nosniff", Assert.Single(response.Headers.GetValues("X-Content-Type-Options")));
        Assert.Equal("no-referrer", Assert.Single(response.Headers.GetValues("Referrer-Policy")));
    }

    [Fact]
    public async Task The_policy_is_in_force()
    {
        await using var visit = await browser.VisitAsync();
        visit.Expected.AddRange(["TrustedHTML", "Content Security Policy"]);

        var refused = await visit.Page.EvaluateAsync<string>("() => { try { document.body.innerHTML = '<b>x</b>'; return 'let in'; } catch (error) { return error.name; } }");
        await visit.Page.EvaluateAsync("() => { const script = document.createElement('script'); script.id = 'foreign'; document.body.append(Object.assign(document.createElement('img'), { src: 'data:image/gif;base64,AAAA' })); }");

        Assert.Equal("TypeError", refused);
    }

    [Theory, InlineData("br"), InlineData("gzip")]
    public async Task Every_linked_file_is_sent_compressed(string encoding)
    {
        using var client = new HttpClient(new HttpClientHandler { AutomaticDecompression = DecompressionMethods.None }) { BaseAddress = browser.Server.Address };
        var page = await client.GetStringAsync("/");
        var linked = Regex.Matches(page, "(?:src|href)=\"([^\"#][^\"]*)\"").Select(m => "/" + m.Groups[1].Value).Append("/").Append("/i18n/zh.json").Append("/i18n/en.json").ToArray();
        Assert.Contains("/chat.js", linked);
        Assert.Contains("/signalr.js", linked);

        foreach (var file in linked)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, file);
            request.Headers.AcceptEncoding.Add(new StringWithQualityHeaderValue(encoding));
            using var response = await client.SendAsync(request);
            using var plain = await client.GetAsync(file);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal([encoding], response.Content.Headers.ContentEncoding);
            Assert.InRange(response.Content.Headers.ContentLength!.Value, 1, (await plain.Content.ReadAsByteArrayAsync()).Length - 1);
        }
    }

    [Fact]
    public async Task Signalr_is_served_with_its_licence_and_sources_are_not_served()
    {
        using var client = new HttpClient { BaseAddress = browser.Server.Address };

        Assert.Contains("The MIT License", await client.GetStringAsync("/licenses.txt"));
        Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync("/js/main.js")).StatusCode);
    }

    [Fact]
    public async Task Both_languages_say_the_same_things()
    {
        using var client = new HttpClient { BaseAddress = browser.Server.Address };
        using var english = JsonDocument.Parse(await client.GetStringAsync("/i18n/en.json"));
        using var chinese = JsonDocument.Parse(await client.GetStringAsync("/i18n/zh.json"));

        Assert.Equal(Outline(english.RootElement), Outline(chinese.RootElement));
    }

    [Fact]
    public async Task Every_word_the_page_asks_for_is_in_the_language_files()
    {
        using var client = new HttpClient { BaseAddress = browser.Server.Address };
        using var english = JsonDocument.Parse(await client.GetStringAsync("/i18n/en.json"));
        var script = await client.GetStringAsync("/chat.js");
        var page = await client.GetStringAsync("/");

        var keys = Regex.Matches(script, @"\bt\('(\w+)'").Concat(Regex.Matches(page, "data-(?:text|label|placeholder)-key=\"(\\w+)\"")).Select(m => m.Groups[1].Value).Distinct().ToArray();

        Assert.InRange(keys.Length, 60, 200);
        Assert.All(keys, key => Assert.True(english.RootElement.TryGetProperty(key, out _), $"no '{key}' in en.json"));
    }

    /// <summary>Keys in order, each with the holes of its text.</summary>
    private static IEnumerable<string> Outline(JsonElement element) => element.EnumerateObject().SelectMany(property => property.Value.ValueKind switch
    {
        JsonValueKind.Object => Outline(property.Value).Select(inner => $"{property.Name}.{inner}"),
        JsonValueKind.Array => [$"{property.Name}[{property.Value.GetArrayLength()}]"],
        _ => [$"{property.Name} {string.Join(' ', Regex.Matches(property.Value.GetString()!, @"\{\w+\}").Select(m => m.Value).Order())}"],
    });
}
