using System.Text;
using System.Text.RegularExpressions;
using Chat.Api.Operations;
using Microsoft.Extensions.Configuration;

namespace Chat.IntegrationTests.Operations;

/// <summary>Names of settings: what README lists is known, what is mistyped is refused with what is meant.</summary>
public sealed class SettingNamesTests
{
    [Theory]
    [InlineData("Models:Treads", "Models:Treads is no setting. Is Models:Threads meant (Models__Threads in the environment)?")]
    [InlineData("models:FOLDERS", "Models:FOLDERS is no setting. Is Models:Folder meant")]
    [InlineData("Models:Pins:help:SystemPromt", "Is Models:Pins:help:SystemPrompt meant (Models__Pins__help__SystemPrompt in the environment)?")]
    [InlineData("Models:Pins", "Models:Pins:help is no setting itself", "help")]
    [InlineData("Hosts:Tls:Cert", "Known: Authority, Certificate, Key.")]
    [InlineData("Hosts:HedgeAfterSecond", "Is Hosts:HedgeAfterSeconds meant")]
    [InlineData("Hosts:Dns", "Hosts:Dns is a list: Hosts:Dns:0, Hosts:Dns:1 …")]
    [InlineData("Hosts:Dns:first", "Hosts:Dns is a list")]
    [InlineData("Limits:MesagesPerMinute", "Is Limits:MessagesPerMinute meant")]
    [InlineData("Limits:HeadersSeconds", "Is Limits:HeaderSeconds meant")]
    [InlineData("Replies:CoalescMs", "Is Replies:CoalesceMs meant")]
    [InlineData("Replies:NoReader", "Replies:NoReader is no setting. Known: CoalesceMs, NoReaderSeconds.")]      // a property that is computed is none
    [InlineData("Training:JobPerTenant", "Is Training:JobsPerTenant meant")]
    [InlineData("Retention:Tenant:acme", "Is Retention:Tenants meant")]
    [InlineData("Retention:Tenants:acme:days", "Retention:Tenants:acme is one value, and has none below it: Retention:Tenants:acme:days is no setting.")]
    [InlineData("Safety:Filter:0", "Is Safety:Filters meant")]
    [InlineData("Plugins:Allow:P", "Is Plugins:Allowed meant")]
    [InlineData("OpenAi:MaxRequestByte", "Is OpenAi:MaxRequestBytes meant")]
    [InlineData("Data:Dir", "Data:Dir is no setting. Known: ErasedTextSeconds, Folder.")]
    [InlineData("Decoding:Defaults:topP", "Is Decoding:Default meant")]
    [InlineData("Retentions:Days", "Is Retention meant")]
    [InlineData("Bot:0:name", "Is Bots meant")]
    [InlineData("ConnectionStrings:Reddis", "Is ConnectionStrings:Redis meant")]
    [InlineData("Authentication:Schemes:Bearer:ValidAudience s", "Is Authentication:Schemes:Bearer:ValidAudiences meant")]
    public void A_name_that_is_none_is_refused_with_the_nearest(string name, string sentence, string? below = null)
    {
        if (below is not null) name += ":" + below;
        var error = Assert.Throws<InvalidOperationException>(() => SettingNames.Check(Of((name, "x"))));

        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void All_that_are_wrong_are_named_at_once() =>
        Assert.Equal(2, Assert.Throws<InvalidOperationException>(() => SettingNames.Check(Of(("Models:Foldr", "x"), ("Hosts:Keys", "x")))).Message.Split("is no setting").Length - 1);

    [Theory]
    [InlineData("PATH"), InlineData("npm:config:registry"), InlineData("DATABASE:URL"), InlineData("Kestrel:Certificates:Default:Path"), InlineData("Logging:LogLevel:Default"), InlineData("Datadog:Key"), InlineData("Model")]
    [InlineData("ConnectionStrings:Billing"), InlineData("Authentication:Schemes:Cookie:X"), InlineData("Authentication:Schemes:Bearer:MapInboundClaims"), InlineData("Authentication:Schemes:Bearer:SigningKeys:0:Id")]
    [InlineData("Retention:Tenants:Any Tenant"), InlineData("Decoding:Default:topP"), InlineData("Bots:0:decoding:topP"), InlineData("Models:Pins:help:model"), InlineData("MODELS:FOLDER"), InlineData("Plugins:Allowed:P")]
    public void What_is_known_or_not_ours_passes(string name) => SettingNames.Check(Of((name, "x")));

    [Fact]
    public void An_empty_list_and_an_empty_section_pass()
    {
        using var json = new MemoryStream(Encoding.UTF8.GetBytes("""{"Hosts":{"Addresses":[],"Tls":{}},"Models":{"Pins":{},"Runner":null},"Safety":{}}"""));
        SettingNames.Check(new ConfigurationBuilder().AddJsonStream(json).AddInMemoryCollection([new("Hosts:Dns", "")]).Build());
    }

    [Fact]
    public void Every_setting_that_the_readme_lists_is_one()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Chat.sln"))) folder = folder.Parent;
        var names = new List<string>();
        foreach (var row in File.ReadLines(Path.Combine(folder.FullName, "README.md")).Where(line => line.StartsWith("| `", StringComparison.Ordinal)))
        {
            var before = "";
            foreach (Match name in Regex.Matches(row.Split('|')[1], "`([A-Za-z:0-9*]+)`"))
            {
                // `Models:Rows`, `QueueLimit`: what has no section of its own stands in the one before.
                var given = name.Groups[1].Value;
                if (char.IsUpper(given[0]) && given.LastIndexOf(':') is >= 0 and var end) before = given[..(end + 1)];
                else given = before + given;
                if (before != "") names.Add(Regex.Replace(given, ":N$", ":0").Replace("*", "topP", StringComparison.Ordinal));
            }
        }

        Assert.InRange(names.Count, 40, 200);
        SettingNames.Check(Of([.. names.Select(name => (name is "Safety:Words" or "Safety:Masked" or "Safety:Allow" or "Safety:Filters" ? name + ":0" : name, "x"))]));
    }

    [Theory]
    [InlineData("", "", 0), InlineData("abc", "", 3), InlineData("", "abc", 3), InlineData("kitten", "sitting", 3), InlineData("Flaw", "lawn", 2), InlineData("same", "SAME", 0)]
    public void Distance_counts_letters(string one, string other, int distance) => Assert.Equal(distance, SettingNames.Distance(one, other));

    private static IConfigurationRoot Of(params (string Name, string Value)[] settings) => new ConfigurationBuilder().AddInMemoryCollection(settings.Select(s => KeyValuePair.Create(s.Name, (string?)s.Value))).Build();
}
