using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.Conversations;

/// <summary>Chats leave for training with consent only.</summary>
public sealed class ConsentTests
{
    [Theory]
    [InlineData(Store.Garnet)]
    [InlineData(Store.Redis)]
    public async Task Only_consented_chats_are_exported_masked_and_until_consent_is_taken_back(Store store)
    {
        await using var server = await ChatServer.StartAsync(store, settings: ("Training:Tenants:0", "default"));
        await using var client = await server.ConnectAsync();
        using var http = server.Http();
        const string message = "write to me at someone@example.com or 13812345678";
        server.Say(message, "I", " will");
        string asked = await client.StartAsync(), silent = await client.StartAsync(), erased = await client.StartAsync();
        foreach (var id in new[] { asked, silent, erased }) await client.Send(id, "m1", message).AllAsync();

        Assert.False((bool)(await http.GetFromJsonAsync<JsonObject>($"/api/conversations/{asked}/consent"))!["training"]!);
        Assert.Empty(await ExportAsync());
        foreach (var id in new[] { asked, erased }) (await SayAsync(id, true)).EnsureSuccessStatusCode();
        (await http.DeleteAsync($"/api/conversations/{erased}")).EnsureSuccessStatusCode();

        var line = Assert.Single(await ExportAsync());
        Assert.Equal(asked, (string)line["conversation"]!);
        Assert.Equal(["user", "assistant"], line["turns"]!.AsArray().Select(turn => (string)turn!["role"]!));
        Assert.Equal("write to me at [email] or [phone]", (string)line["turns"]![0]!["text"]!);
        Assert.DoesNotContain("anonymous", line.ToJsonString(), StringComparison.Ordinal);
        // The form that training is tested with.
        var known = JsonNode.Parse(File.ReadLines(Path.Combine(AppContext.BaseDirectory, "consent", "export.ndjson")).First())!;
        Assert.Equal(known.AsObject().Select(each => each.Key), line.Select(each => each.Key));
        Assert.Equal(known["turns"]![0]!.AsObject().Select(each => each.Key), line["turns"]![0]!.AsObject().Select(each => each.Key));

        (await SayAsync(asked, false)).EnsureSuccessStatusCode();
        Assert.Empty(await ExportAsync());
        Assert.Equal(HttpStatusCode.NotFound, (await SayAsync("nobodys", true)).StatusCode);

        Task<HttpResponseMessage> SayAsync(string id, bool training) => http.PutAsJsonAsync($"/api/conversations/{id}/consent", new { training });
        async Task<List<JsonObject>> ExportAsync() =>
            [.. (await http.GetStringAsync("/api/training/export")).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(each => JsonNode.Parse(each)!.AsObject())];
    }

    [Fact]
    public async Task A_tenant_that_does_not_train_asks_nobody()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        await using var client = await server.ConnectAsync();
        using var http = server.Http();
        var id = await client.StartAsync();

        Assert.Equal(HttpStatusCode.BadRequest, (await http.PutAsJsonAsync($"/api/conversations/{id}/consent", new { training = true })).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await http.PutAsJsonAsync($"/api/conversations/{id}/consent", new { training = false })).StatusCode);
        Assert.Equal("{\"training\":false,\"asked\":false}", await http.GetStringAsync($"/api/conversations/{id}/consent"));
        Assert.Equal("", await http.GetStringAsync("/api/training/export"));
    }
}
