using System.Text.Json.Nodes;
using Chat.IntegrationTests.Node;
using Chat.IntegrationTests.OpenAi;

namespace Chat.IntegrationTests.Operations;

public sealed class OpenApiTests(GarnetServer shared) : IClassFixture<GarnetServer>
{
    private readonly HttpClient client = shared.Http;

    [Fact]
    public async Task Every_route_has_its_own_operation_id_and_says_how_it_can_be_asked_wrongly()
    {
        var document = JsonNode.Parse(await client.GetStringAsync("/openapi/v1.json"))!;

        Assert.StartsWith("3.1.", document["openapi"]!.GetValue<string>());
        var operations = document["paths"]!.AsObject().SelectMany(path => path.Value!.AsObject()).Select(o => o.Value!.AsObject()).ToList();
        var ids = operations.Select(o => o["operationId"]?.GetValue<string>()).ToList();
        Assert.All(ids, Assert.NotNull);
        Assert.Equal(ids.Count, ids.Distinct().Count());
        Assert.All(operations, o => Assert.Contains(o["responses"]!.AsObject(), r => r.Key.StartsWith('4')));
        Assert.Superset(new HashSet<string?> 
        {
            "createChatCompletion", "listModels", "getModel", "listPlugins", "listServedModels", "getLiveness", "getReadiness",
            "listConversations", "readConversation", "renameConversation", "deleteConversation", "exportConversation", "listBots",
        }, ids.ToHashSet());
    }

    [Fact]
    public async Task Documented_properties_are_those_on_the_wire()
    {
        var schemas = JsonNode.Parse(await client.GetStringAsync("/openapi/v1.json"))!["components"]!["schemas"]!;

        var answer = await client.AnswerAsync(Completions.Ask());

        Assert.Equal(answer.Select(p => p.Key).Order(), schemas["Completion"]!["properties"]!.AsObject().Select(p => p.Key).Order());
        Assert.Equal(answer["usage"]!.AsObject().Select(p => p.Key).Order(), schemas["CompletionUsage"]!["properties"]!.AsObject().Select(p => p.Key).Order());
    }

    [Fact]
    public async Task The_description_lints_without_error()
    {
        var file = Path.Combine(Directory.CreateTempSubdirectory("chat-openapi-").FullName, "v1.json");
        await File.WriteAllTextAsync(file, await client.GetStringAsync("/openapi/v1.json"));
        try
        {
            Environment.SetEnvironmentVariable("REDOCLY_TELEMETRY", "off");
            var lines = await NodeScript.RunToolAsync(["node_modules/@redocly/cli/bin/cli.js", "lint", "--format=json", file]);

            var report = JsonNode.Parse(string.Join('\n', lines.SkipWhile(line => line.Trim() != "{")))!;
            Assert.Equal(0, (int)report["totals"]!["errors"]!);
            Assert.Equal([], report["problems"]!.AsArray().Select(p => (string?)p!["ruleId"]));
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(file)!, recursive: true);
        }
    }
}
