using System.Text.Json.Nodes;
using Chat.Api.Hosts;
using Chat.Api.Operations;
using Chat.Domain.Generation;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Hosts;

/// <summary>Models of a folder, as configuration asks for them, in a host that really reads them.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class InProcessModelsTests
{
    private static readonly string Models = Path.Combine(AppContext.BaseDirectory, "Models");

    [Fact]
    public async Task Every_folder_is_served_and_the_configured_default_comes_first()
    {
        await using var host = await StartAsync(("Models:Default", "m2"));
        var models = host.Services.GetRequiredService<IChatModels>();

        Assert.Equal(["m2", "m1"], models.Models.Select(m => m.Id));
        Assert.NotEqual("", await SayAsync(models, "m1", """{"strategy":"greedy","maxTokens":6}"""));
        Assert.NotEqual("", await SayAsync(models, "m2", """{"strategy":"eva2","maxTokens":6}"""));
    }

    [Fact]
    public async Task One_model_folder_can_be_named_itself()
    {
        await using var host = await StartAsync(("Models:Folder", Path.Combine(Models, "m1")));

        Assert.Equal("m1", Assert.Single(host.Services.GetRequiredService<IChatModels>().Models).Id);
    }

    [Fact]
    public async Task Configured_decoding_stands_between_request_and_strategy()
    {
        await using var host = await StartAsync(("Decoding:Default:Temperature", "0.25"), ("Decoding:Default:topK", "7"), ("Decoding:Default:stop:0", "7"), ("Decoding:Default:LogitBias:9", "-1.5"));
        var spelled = host.Services.GetRequiredService<IChatModels>().Check("m1", new JsonObject { ["topK"] = 3 });

        Assert.Equal(("sample", 0.25, 3, "7", -1.5), ((string)spelled["strategy"]!, (double)spelled["temperature"]!, (int)spelled["topK"]!, (string)spelled["stop"]![0]!, (double)spelled["logitBias"]!["9"]!));
    }

    [Theory]
    [InlineData("Models:Folder", "/no/such/folder", "is not a folder")]
    [InlineData("Models:Default", "m9", "is not among the models: m1, m2")]
    [InlineData("Models:Pins:help:Model", "m9", "Models:Pins:help:Model 'm9' is not among the models: m1, m2")]
    [InlineData("Models:Pins:help:SystemPrompt", "Be kind.", "Models:Pins:help names no model")]
    [InlineData("Models:Pins:help:Model", "m1", "'help' cannot be pinned: prompts of m1 have no beginning in common")]
    [InlineData("Models:PinBytes", "-1", "Models:PinBytes is -1 (at least 0)")]
    [InlineData("Decoding:Default:temprature", "1", "No strategy has an option 'temprature'")]
    [InlineData("Decoding:Default:strategy", "beem", "Known: beam")]
    [InlineData("Decoding:Default:temperature", "warm", "temperature must be a number")]
    public async Task A_wrong_setting_fails_the_start_and_says_why(string key, string value, string message)
    {
        var error = await Assert.ThrowsAnyAsync<Exception>(async () => { await using var host = await StartAsync((key, value)); });

        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_without_models_fails_the_start()
    {
        var empty = Directory.CreateTempSubdirectory("chat-test-");
        try
        {
            var error = await Assert.ThrowsAsync<InvalidOperationException>(async () => { await using var host = await StartAsync(("Models:Folder", empty.FullName)); });

            Assert.Contains("holds no model folder", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            empty.Delete();
        }
    }

    private static async Task<WebApplication> StartAsync(params (string Key, string Value)[] settings)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Configuration.AddInMemoryCollection([new("urls", "http://127.0.0.1:0"), new("Models:Folder", Models), new("Models:Rows", "4")]);
        builder.Configuration.AddInMemoryCollection(settings.Select(s => KeyValuePair.Create(s.Key, (string?)s.Value)));
        builder.Logging.ClearProviders();
        builder.AddPlugins();
        builder.AddInProcessModels();
        var app = builder.Build();
        try
        {
            await app.StartAsync();
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }
        return app;
    }

    private static async Task<string> SayAsync(IChatModels models, string model, string decoding)
    {
        var text = "";
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var request = new GenerationRequest { RequestId = "r", Model = model, Messages = [new(ChatRole.User, "你好吗")], Decoding = JsonNode.Parse(decoding)!.AsObject() };
        await foreach (var chunk in models.GenerateAsync(request, deadline.Token)) text += chunk.Text;
        return text;
    }
}
