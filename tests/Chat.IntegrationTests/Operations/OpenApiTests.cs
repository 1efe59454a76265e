using System.Text.Json.Nodes;
using Chat.IntegrationTests.OpenAi;

namespace Chat.IntegrationTests.Operations;

public sealed class OpenApiTests : IAsyncLifetime
{
    private OpenAiServer server = null!;

    public async ValueTask InitializeAsync() => server = await OpenAiServer.StartAsync();

    public ValueTask DisposeAsync() => server.DisposeAsync();

    [Fact]
    public async Task Every_route_has_its_own_operation_id_and_says_how_it_can_be_asked_wrongly()
    {
        var document = JsonNode.Parse(await server.Client.GetStringAsync("/openapi/v1.json"))!;

        Assert.StartsWith("3.1.", document["openapi"]!.GetValue<string>());
        var operations = document["paths"]!.AsObject().SelectMany(path => path.Value!.AsObject()).Select(o => o.Value!.AsObject()).ToList();
        var ids = operations.Select(o => o["operationId"]?.GetValue<string>()).ToList();
        Assert.All(ids, Assert.NotNull);
        Assert.Equal(ids.Count, ids.Distinct().Count());
        Assert.All(operations, o => Assert.Contains(o["responses"]!.AsObject(), r => r.Key.StartsWith('4')));
        Assert.Superset(new HashSet<string?> { "createChatCompletion", "listModels", "getModel", "listPlugins", "getLiveness", "getReadiness" }, ids.ToHashSet());
    }

    [Fact]
    public async Task Documented_properties_are_those_on_the_wire()
    {
        var schemas = JsonNode.Parse(await server.Client.GetStringAsync("/openapi/v1.json"))!["components"]!["schemas"]!;

        var answer = await server.AnswerAsync(OpenAiServer.Ask());

        Assert.Equal(answer.Select(p => p.Key).Order(), schemas["Completion"]!["properties"]!.AsObject().Select(p => p.Key).Order());
        Assert.Equal(answer["usage"]!.AsObject().Select(p => p.Key).Order(), schemas["CompletionUsage"]!["properties"]!.AsObject().Select(p => p.Key).Order());
    }
}
