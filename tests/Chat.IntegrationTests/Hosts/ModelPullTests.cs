using System.Collections.Concurrent;
using System.Text.Json;
using Chat.Api.Registry;
using Chat.Models.Checkpoints;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Hosts;

/// <summary>Model folders that a host fetches from others: whole, checked, or not at all.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class ModelPullTests : IDisposable
{
    private static readonly string Original = Path.Combine(AppContext.BaseDirectory, "Models", "m1");
    private static readonly string Hash = ModelFolder.Hash(Original);

    private readonly string folder = Directory.CreateTempSubdirectory("chat-pull-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task A_host_pulls_a_model_from_a_peer_and_serves_it_and_gives_it_on()
    {
        await using var peer = await HostServer.StartAsync();
        await using var host = await EmptyHostAsync("one", peer.HttpAddress);
        await using var third = await EmptyHostAsync("two", host.HttpAddress);

        Assert.Equal("m1", (await host.Client.LoadAsync(new() { Hash = Hash }, HostServer.KeyHeader)).Id);
        Assert.Equal("m1", (await third.Client.LoadAsync(new() { Hash = Hash }, HostServer.KeyHeader)).Id);

        var pulled = Path.Combine(folder, "two", "models", Hash, "m1");
        Assert.Equal(ModelFolder.Files(Original), ModelFolder.Files(pulled));
        Assert.Equal([Path.GetDirectoryName(pulled)!], Directory.GetDirectories(Path.Combine(folder, "two", "models")));
        Assert.Equal(Hash, Assert.Single((await third.Client.StatusAsync(new(), HostServer.KeyHeader)).Models).Hash);
    }

    [Fact]
    public async Task A_pull_that_broke_off_shows_nothing_and_goes_on_where_it_stood()
    {
        await using var source = await Source.StartAsync();
        source.BreakAt = "model.safetensors";
        await using var host = await EmptyHostAsync("one", source.Address);

        var error = await Assert.ThrowsAsync<RpcException>(async () => await host.Client.LoadAsync(new() { Hash = Hash }, HostServer.KeyHeader));
        Assert.Equal(StatusCode.NotFound, error.StatusCode);
        Assert.Contains("could not be pulled", error.Status.Detail, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(folder, "one", "models", Hash)));
        Assert.Empty((await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Models);

        source.BreakAt = null;
        Assert.Equal("m1", (await host.Client.LoadAsync(new() { Hash = Hash }, HostServer.KeyHeader)).Id);
        Assert.Equal(2, source.Asked.Count(a => a.File == "model.safetensors"));
        Assert.NotEqual("", source.Asked.Last(a => a.File == "model.safetensors").Range);
        Assert.Equal(1, source.Asked.Count(a => a.File == "config.json"));
    }

    [Fact]
    public async Task A_source_that_gives_something_else_is_left_for_another()
    {
        await using var liar = await Source.StartAsync();
        await using var honest = await Source.StartAsync();
        liar.Falsify = "config.json";
        await using var host = await EmptyHostAsync("one", liar.Address, honest.Address);

        Assert.Equal("m1", (await host.Client.LoadAsync(new() { Hash = Hash }, HostServer.KeyHeader)).Id);

        Assert.Equal(ModelFolder.Files(Original), ModelFolder.Files(Path.Combine(folder, "one", "models", Hash, "m1")));
        Assert.Contains(honest.Asked, a => a.File == "config.json");
    }

    [Fact]
    public async Task Another_content_under_a_served_id_is_refused_until_that_is_unloaded()
    {
        var other = Directory.CreateDirectory(Path.Combine(folder, "peer", "m1")).FullName;
        foreach (var file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Models", "m2"))) File.Copy(file, Path.Combine(other, Path.GetFileName(file)));
        var hash = ModelFolder.Hash(other);
        await using var peer = await HostServer.StartAsync(("Models:Folder", Path.Combine(folder, "peer")));
        await using var host = await HostServer.StartAsync(("Data:Folder", Path.Combine(folder, "one")), ("Models:Folder", Original), ("Models:Sources:0", peer.HttpAddress.OriginalString));

        var error = await Assert.ThrowsAsync<RpcException>(async () => await host.Client.LoadAsync(new() { Hash = hash }, HostServer.KeyHeader));
        Assert.Equal((StatusCode.FailedPrecondition, $"The model 'm1' is served here with the content {Hash}; unload it first."), (error.StatusCode, error.Status.Detail));

        await host.Client.UnloadAsync(new() { Model = "m1" }, HostServer.KeyHeader);
        Assert.Equal(hash, (await host.Client.LoadAsync(new() { Hash = hash }, HostServer.KeyHeader)).Hash);
    }

    [Fact]
    public async Task Without_the_key_no_file_is_given()
    {
        await using var peer = await HostServer.StartAsync();
        await using var host = await EmptyHostAsync("one", [peer.HttpAddress], ("Hosts:Key", "quite another key of an installation"));
        var header = new Metadata { { "authorization", "Bearer quite another key of an installation" } };

        var error = await Assert.ThrowsAsync<RpcException>(async () => await host.Client.LoadAsync(new() { Hash = Hash }, header));

        Assert.Contains("401", error.Status.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("no-such-hash", "")]
    [InlineData(null, "/no-such-file")]
    [InlineData(null, "/..%2F..%2Fm2%2Fconfig.json")]
    [InlineData(null, "/%2Fetc%2Fpasswd")]
    public async Task Only_files_of_a_known_folder_are_given(string? hash, string path)
    {
        await using var peer = await HostServer.StartAsync();
        using var http = new HttpClient { BaseAddress = peer.HttpAddress };
        http.DefaultRequestHeaders.Authorization = new("Bearer", HostServer.Key);

        using var answer = await http.GetAsync($"/api/models/{hash ?? Hash}/files{path}");

        Assert.Equal(System.Net.HttpStatusCode.NotFound, answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
    }

    [Theory]
    [InlineData("../config.json")]
    [InlineData("/etc/passwd")]
    [InlineData("a/../b")]
    [InlineData("a//b")]
    [InlineData("a\\b")]
    [InlineData("")]
    [InlineData("config.json")]     // twice
    public void A_hostile_manifest_is_refused(string path)
    {
        ModelFile[] files = [new("config.json", 1, "00"), new(path, 1, "00")];

        Assert.Throws<InvalidDataException>(() => new ModelManifest("", "m", files).Check(ModelFolder.HashOf(files)));
    }

    [Fact]
    public void A_manifest_must_have_its_hash_and_sizes_that_can_be()
    {
        ModelFile[] files = [new("config.json", 1, "00")];

        new ModelManifest("", "m", files).Check(ModelFolder.HashOf(files));
        Assert.Throws<InvalidDataException>(() => new ModelManifest(Hash, "m", files).Check(Hash));
        Assert.Throws<InvalidDataException>(() => new ModelManifest("", "..", files).Check(ModelFolder.HashOf(files)));
        ModelFile[] huge = [new("config.json", long.MaxValue, "00")];
        Assert.Throws<InvalidDataException>(() => new ModelManifest("", "m", huge).Check(ModelFolder.HashOf(huge)));
        Assert.Throws<InvalidDataException>(() => new ModelManifest("", "m", null!).Check(""));
    }

    private Task<HostServer> EmptyHostAsync(string name, params Uri[] sources) => EmptyHostAsync(name, sources, []);

    private Task<HostServer> EmptyHostAsync(string name, Uri[] sources, params (string, string)[] settings) => HostServer.StartAsync(
    [
        ("Models:Folder", Directory.CreateDirectory(Path.Combine(folder, name, "empty")).FullName), ("Data:Folder", Path.Combine(folder, name)),
        .. sources.Select((s, i) => ($"Models:Sources:{i}", s.OriginalString)), .. settings,
    ]);

    /// <summary>A source of m1 that can break off or lie.</summary>
    private sealed class Source(WebApplication app) : IAsyncDisposable
    {
        public Uri Address => new(app.Urls.Single());

        public ConcurrentQueue<(string File, string Range)> Asked { get; } = [];

        public string? BreakAt { get; set; }
        public string? Falsify { get; set; }

        public static async Task<Source> StartAsync()
        {
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.UseUrls("http://127.0.0.1:0");
            var app = builder.Build();
            var source = new Source(app);
            app.MapGet("/api/models/{hash}/files", () => Results.Json(ModelManifest.Of(Original), JsonSerializerOptions.Web));
            app.MapGet("/api/models/{hash}/files/{**path}", source.AnswerAsync);
            await app.StartAsync();
            return source;
        }

        private async Task<IResult> AnswerAsync(string path, HttpContext context)
        {
            Asked.Enqueue((path, context.Request.Headers.Range.ToString()));
            var bytes = await File.ReadAllBytesAsync(Path.Combine(Original, path));
            if (path == Falsify) bytes[^1] ^= 1;
            return path == BreakAt ? Results.Bytes(bytes[..(bytes.Length / 2)]) : Results.Bytes(bytes, enableRangeProcessing: true);
        }

        public ValueTask DisposeAsync() => app.DisposeAsync();
    }
}
