using Chat.Api.Hosts.Wire;
using Chat.Domain.Generation;
using Grpc.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Chat.IntegrationTests.Hosts;

/// <summary>The shipped student guesses for the shipped teacher on a model host, whichever of them is loaded over gRPC, and when.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class LoadedDraftTests
{
    private const string Teacher = "chat-teacher", Student = "chat-student";

    [Theory]
    [InlineData(Teacher, Student), InlineData(Student, Teacher)]
    public async Task In_whatever_order_they_are_loaded_and_unloaded(string first, string second)
    {
        await using var host = await HostServer.StartAsync(("Models:Folder", Path.Combine(AppContext.BaseDirectory, "Shipped")), ("Models:Threads", "1"));
        var hashes = (await StatusAsync(host)).Models.ToDictionary(m => m.Id, m => m.Hash);
        var plain = Words(await HearAsync(host, "none"));
        Assert.True(await HasDraftAsync(host));

        foreach (var model in new[] { first, second }) await host.Client.UnloadAsync(new() { Model = model, WaitSeconds = 60 }, HostServer.KeyHeader);
        foreach (var model in new[] { first, second })
        {
            var loaded = await host.Client.LoadAsync(new() { Hash = hashes[model] }, HostServer.KeyHeader);
            Assert.Equal(model == Teacher && second == Teacher, loaded.HasDraft);
        }
        Assert.True(await HasDraftAsync(host));
        var guessed = await HearAsync(host, "draft");
        Assert.Equal(plain, Words(guessed));
        Assert.InRange(guessed[^1].End.Speculation.Guessed, 1, int.MaxValue);

        // It goes in the middle of a reply, which says the same to its end.
        using var running = host.Client.Generate(Request("draft"), HostServer.KeyHeader);
        Assert.True(await running.ResponseStream.MoveNext(CancellationToken.None));
        var heard = new List<GenerateChunk> { running.ResponseStream.Current };
        await host.Client.UnloadAsync(new() { Model = Student }, HostServer.KeyHeader);
        await foreach (var chunk in running.ResponseStream.ReadAllAsync()) heard.Add(chunk);
        Assert.Equal(plain, Words(heard));

        Assert.False(await HasDraftAsync(host));
        var alone = await HearAsync(host, "draft");
        Assert.Equal(plain, Words(alone));
        Assert.Null(alone[^1].End.Speculation);
    }

    [Fact]
    public async Task A_reply_that_asks_for_a_draft_goes_to_a_host_without_one()
    {
        await using var host = await HostServer.StartAsync();
        var models = host.Services.GetRequiredService<IChatModels>();

        Assert.Equal("draft", (string?)models.Check("m1", new() { ["speculation"] = "draft" })["speculation"]);
        var heard = new List<GenerateChunk>();
        await foreach (var chunk in host.Client.Generate(new() { RequestId = "r", Model = "m1", Decoding = """{"speculation":"draft","maxTokens":4}""", Messages = { new Message { Role = Role.User, Text = "你好吗" } } }, HostServer.KeyHeader).ResponseStream.ReadAllAsync()) heard.Add(chunk);
        Assert.Null(heard[^1].End.Speculation);
    }

    private static async Task<StatusReply> StatusAsync(HostServer host) => await host.Client.StatusAsync(new(), HostServer.KeyHeader);

    private static async Task<bool> HasDraftAsync(HostServer host) => (await StatusAsync(host)).Models.Single(m => m.Id == Teacher).HasDraft;

    private static GenerateRequest Request(string speculation) => new()
    {
        RequestId = "r", Model = Teacher, Decoding = $$"""{"strategy":"sample","seed":3,"minTokens":60,"maxTokens":60,"speculation":"{{speculation}}"}""",
        Messages = { new Message { Role = Role.User, Text = "What brings you here, stranger?" } },
    };

    private static async Task<List<GenerateChunk>> HearAsync(HostServer host, string speculation)
    {
        using var call = host.Client.Generate(Request(speculation), HostServer.KeyHeader);
        var heard = new List<GenerateChunk>();
        await foreach (var chunk in call.ResponseStream.ReadAllAsync()) heard.Add(chunk);
        return heard;
    }

    private static string Words(IEnumerable<GenerateChunk> chunks) => string.Concat(chunks.Select(c => c.Text));
}
