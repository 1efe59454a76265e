using System.Text.Json.Nodes;
using Chat.Api.Hosts;
using Chat.Domain.Generation;
using Grpc.Core;

namespace Chat.IntegrationTests.Hosts;

/// <summary>A gateway's side of model hosts: routing, patience, and what becomes of a reply whose host fails.</summary>
public sealed class RemoteChatModelsTests : TwoHosts
{
    [Fact]
    public async Task A_reply_is_what_the_host_says_and_options_are_spelled_out_before_they_travel()
    {
        var models = await StartAsync(A);

        var chunks = await HearAsync(models, Request() with { Tenant = "acme", Priority = 2 });

        Assert.Equal("abcdef", Text(chunks));
        Assert.Equal((3, new GenerationEnd(FinishReason.Length, 3, 6)), (chunks[0].PromptTokens, chunks[^1].End));
        var sent = Assert.Single(A.Requests);
        Assert.Equal(("m", "content-1", "acme", 2), (sent.Model, sent.ModelHash, sent.Tenant, sent.Priority));
        Assert.Equal((long)JsonNode.Parse(sent.Decoding)!["seed"]!, (long)models.Check("m", JsonNode.Parse(sent.Decoding)!.AsObject())["seed"]!);
        Assert.Equal("m", Assert.Single(models.Models).Id);
        Assert.Contains("Known: m", Assert.Throws<GenerationException>(() => models.Check("m9", null)).Message, StringComparison.Ordinal);
        Assert.Equal(GenerationError.TooLong, Assert.Throws<GenerationException>(() => models.Check("m", new() { ["maxTokens"] = 51 })).Error);
    }

    [Theory]
    [InlineData(StatusCode.Unavailable)]
    [InlineData(StatusCode.ResourceExhausted)]
    [InlineData(StatusCode.NotFound)]
    [InlineData(StatusCode.Internal)]
    public async Task A_host_that_fails_before_the_first_token_is_replaced_by_another(StatusCode status)
    {
        var (first, second) = await PreferredAsync();
        first.Before = (_, _) => throw new RpcException(new(status, "not me"));
        var models = await StartAsync(A, B);

        Assert.Equal("abcdef", Text(await HearAsync(models, Request())));
        Assert.Equal((1, 1), (first.Requests.Count, second.Requests.Count));
    }

    [Fact]
    public async Task A_host_that_says_nothing_is_left_for_another_and_hears_so()
    {
        var (first, second) = await PreferredAsync();
        var cancelled = new TaskCompletionSource();
        first.Before = async (_, context) =>
        {
            context.CancellationToken.Register(() => cancelled.TrySetResult());
            await Task.Delay(Timeout.Infinite, context.CancellationToken);
        };
        var models = await StartAsync(new HostsOptions { FirstTokenSeconds = 0.3 }, A, B);

        Assert.Equal("abcdef", Text(await HearAsync(models, Request())));
        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Single(second.Requests);
    }

    [Fact]
    public async Task A_wrong_request_is_asked_once()
    {
        A.Before = B.Before = (_, _) => throw new RpcException(new(StatusCode.InvalidArgument, "emitted: 3 is not a token of a reply."), [new("chat-parameter", "emitted")]);
        var models = await StartAsync(A, B);

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));

        Assert.Equal((GenerationError.InvalidOption, "emitted", "emitted: 3 is not a token of a reply."), (error.Error, error.Parameter, error.Message));
        Assert.Equal(1, A.Requests.Count + B.Requests.Count);
    }

    [Fact]
    public async Task Where_all_are_busy_the_caller_hears_when_to_come_again()
    {
        A.Before = B.Before = (_, _) => throw new RpcException(new(StatusCode.ResourceExhausted, "The model has 9 requests waiting."), [new("chat-retry-after-ms", "7000")]);
        var models = await StartAsync(A, B);

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));

        Assert.Equal((GenerationError.Busy, TimeSpan.FromSeconds(7)), (error.Error, error.RetryAfter));
        Assert.Equal((1, 1), (A.Requests.Count, B.Requests.Count));
    }

    [Fact]
    public async Task A_reply_whose_host_dies_goes_on_at_another_behind_what_was_said()
    {
        var (first, second) = await PreferredAsync();
        DieWhenHeard(first);
        var models = await StartAsync(A, B);

        var chunks = await HearAsync(models, Request());

        Assert.Equal("abcdef", Text(chunks));
        Assert.Equal([10, 11, 12], Assert.Single(second.Requests).Emitted);
        Assert.Equal(Assert.Single(first.Requests).Decoding, Assert.Single(second.Requests).Decoding);
        Assert.Equal([3], chunks.Select(c => c.PromptTokens).OfType<int>());
    }

    [Fact]
    public async Task A_reply_of_a_strategy_that_cannot_go_on_ends_with_a_sentence()
    {
        var (first, second) = await PreferredAsync();
        DieWhenHeard(first);
        var models = await StartAsync(A, B);
        var heard = new List<GenerationChunk>();

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request() with { Decoding = new() { ["strategy"] = "beam" } }, heard));

        Assert.Equal(("abc", GenerationError.Unavailable), (Text(heard), error.Error));
        Assert.Contains("'beam' cannot go on elsewhere", error.Message, StringComparison.Ordinal);
        Assert.Empty(second.Requests);
    }

    [Fact]
    public async Task A_reply_goes_on_only_where_the_same_content_is_served()
    {
        var (first, second) = await PreferredAsync();
        second.Hash = "content-0";     // of equal age: the other one is taken
        first.Hash = "content-+";
        DieWhenHeard(first);
        var models = await StartAsync(A, B);

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));

        Assert.Contains("No model host answers for 'm' now", error.Message, StringComparison.Ordinal);
        Assert.Empty(second.Requests);
    }

    [Fact]
    public async Task Cancelling_reaches_the_host()
    {
        var cancelled = new TaskCompletionSource();
        A.Before = async (place, context) =>
        {
            if (place < 2) return;
            context.CancellationToken.Register(() => cancelled.TrySetResult());
            await Task.Delay(Timeout.Infinite, context.CancellationToken);
        };
        var models = await StartAsync(A);
        using var cancel = new CancellationTokenSource();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var chunk in models.GenerateAsync(Request(), cancel.Token))
                if (chunk.Text == "b") await cancel.CancelAsync();
        });

        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(0, Assert.Single(models.Hosts).Active);
    }

    [Fact]
    public async Task A_host_that_fails_again_and_again_is_not_asked_for_a_while()
    {
        A.Before = (_, _) => throw new RpcException(new(StatusCode.Unavailable, "no"));
        var models = await StartAsync(A);

        for (var i = 0; i < 6; i++) Assert.Equal(GenerationError.Unavailable, (await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()))).Error);

        Assert.InRange(A.Requests.Count, 3, 5);
    }

    [Fact]
    public async Task A_draining_host_gets_nothing_new()
    {
        var (first, second) = await PreferredAsync();
        first.IsDraining = true;
        var models = await StartAsync(A, B);

        await HearAsync(models, Request());

        Assert.Equal((0, 1), (first.Requests.Count, second.Requests.Count));
    }

    [Fact]
    public async Task What_begins_alike_goes_to_one_host_until_that_is_busier_than_its_share()
    {
        var (first, second) = await PreferredAsync();
        var models = await StartAsync(A, B);
        for (var i = 0; i < 3; i++)
            await HearAsync(models, Request() with { Messages = [.. Request().Messages, new(ChatRole.Assistant, "aye"), new(ChatRole.User, $"and {i}?")] });
        Assert.Equal((3, 0), (first.Requests.Count, second.Requests.Count));

        first.Active = 6;
        var later = await StartAsync(A, B);
        await HearAsync(later, Request());
        Assert.Equal((3, 1), (first.Requests.Count, second.Requests.Count));
    }

    [Fact]
    public async Task A_host_that_goes_away_leaves_its_models_known_and_is_found_again()
    {
        var models = await StartAsync(new HostsOptions { PollSeconds = 0.05 }, A);
        Assert.True(models.Answers("m"));
        await A.DisposeAsync();
        await Until.TrueAsync(() => !models.Answers("m"));

        Assert.Equal("m", Assert.Single(models.Models).Id);
        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));
        Assert.Equal((GenerationError.Unavailable, TimeSpan.FromSeconds(5)), (error.Error, error.RetryAfter));
    }

    [Fact]
    public async Task A_host_with_another_key_serves_nobody()
    {
        await using var host = await HostServer.StartAsync();
        var known = Gateway(new HostsOptions { Addresses = [host.Address.OriginalString], Key = HostServer.Key });
        var unknown = Gateway(new HostsOptions { Addresses = [host.Address.OriginalString], Key = "some other key, long enough" });

        await known.StartAsync(CancellationToken.None);
        await unknown.StartAsync(CancellationToken.None);

        Assert.Equal(["m1", "m2"], known.Models.Select(m => m.Id).Order());
        Assert.Empty(unknown.Models);
        Assert.Equal(GenerationError.Unavailable, Assert.Throws<GenerationException>(() => unknown.Check("m1", null)).Error);
        var own = (IChatModels)host.Services.GetService(typeof(IChatModels))!;
        var request = Request() with { Model = "m1", Messages = [new(ChatRole.User, "你好吗")], Decoding = new() { ["seed"] = 4, ["minTokens"] = 8, ["maxTokens"] = 8 } };
        Assert.Equal(Text(await HearAsync(own, request)), Text(await HearAsync(known, request)));
    }
}
