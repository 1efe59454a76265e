using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text.Json;
using Chat.Api.Hosts;
using Chat.Domain.Generation;
using Chat.Models.Checkpoints;

namespace Chat.Api.Registry;

/// <summary>
/// Fetches model folders by content from <c>Models:Sources</c>: gateways or model hosts, at their HTTP addresses. What comes is put beside the shelf,
/// checked file by file and as a whole, and only then moved onto it, in one step: half a folder is never seen. A pull that was cut off goes on
/// where it stood. One pull of a hash at a time, across processes too.
/// </summary>
internal sealed class ModelPull : IDisposable
{
    private const int LargestManifest = 1 << 20, Piece = 1 << 16;

    private readonly ModelsOptions models;
    private readonly ModelShelf shelf;
    private readonly ILogger<ModelPull> logger;
    private readonly HttpClient http;

    public ModelPull(ModelsOptions models, HostsOptions hosts, ModelShelf shelf, ILogger<ModelPull> logger)
    {
        (this.models, this.shelf, this.logger) = (models, shelf, logger);
        foreach (var source in models.Sources)
            if (!Uri.TryCreate(source, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
                throw new InvalidOperationException($"Models:Sources: '{source}' is no address; it takes the form http://localhost:5080.");
        http = new(new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(5), AllowAutoRedirect = false, UseProxy = false }) { Timeout = Timeout.InfiniteTimeSpan };
        if (hosts.Key is { } key) http.DefaultRequestHeaders.Authorization = new("Bearer", key);
    }

    /// <summary>A source that says nothing for so long is left.</summary>
    internal TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(30);

    /// <returns>The folder, whole and checked.</returns>
    /// <exception cref="GenerationException">No source has it, or none gave it as it should be.</exception>
    public async Task<string> PullAsync(string hash, CancellationToken cancellation)
    {
        Directory.CreateDirectory(shelf.Pulled);
        var target = Path.Combine(shelf.Pulled, hash);
        await using var turn = await TakeTurnAsync(Path.Combine(shelf.Pulled, $".{hash}.lock"), cancellation);
        if (Directory.Exists(target)) return Directory.GetDirectories(target)[0];
        var reasons = new List<string>();
        foreach (var source in models.Sources)
        {
            try
            {
                var folder = await PullAsync(new Uri(source), hash, target, cancellation);
                logger.LogInformation("Pulled {Hash} from {Source}", hash, source);
                return folder;
            }
            catch (Exception e) when (e is HttpRequestException or IOException or InvalidDataException or JsonException || (e is OperationCanceledException && !cancellation.IsCancellationRequested))
            {
                logger.LogWarning("{Hash} could not be pulled from {Source}: {Reason}", hash, source, e.Message);
                reasons.Add($"{source}: {e.Message}");
            }
        }
        throw new GenerationException(GenerationError.UnknownModel, models.Sources.Length == 0
            ? $"No model folder here has the content {hash}, and Models:Sources names nobody to pull it from."
            : $"No model folder here has the content {hash}, and it could not be pulled. {string.Join(' ', reasons)}", "hash");
    }

    public void Dispose() => http.Dispose();

    private async Task<string> PullAsync(Uri source, string hash, string target, CancellationToken cancellation)
    {
        var manifest = await ReadManifestAsync(new(source, $"api/models/{hash}/files"), cancellation);
        manifest.Check(hash);
        // Named by the hash, so that another source goes on with what one has given.
        var partial = Path.Combine(shelf.Pulled, $".{hash}.partial");
        var folder = Path.Combine(partial, manifest.Name);
        Directory.CreateDirectory(folder);
        foreach (var file in manifest.Files) await FetchAsync(new(source, $"api/models/{hash}/files/{file.Path}"), file, Path.Combine(folder, file.Path), cancellation);
        var wanted = manifest.Files.Select(f => Path.Combine(folder, f.Path)).ToHashSet();
        foreach (var file in Directory.EnumerateFiles(partial, "*", SearchOption.AllDirectories))
            if (!wanted.Contains(file)) File.Delete(file);
        if (ModelFolder.Hash(folder) is var actual && actual != hash) throw new InvalidDataException($"What came has the content {actual}.");
        foreach (var other in Directory.GetDirectories(partial))
            if (other != folder) Directory.Delete(other, recursive: true);     // of a source that named it otherwise
        Directory.Move(partial, target);
        return Path.Combine(target, manifest.Name);
    }

    private async Task<ModelManifest> ReadManifestAsync(Uri address, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Silence);
        using var answer = await http.GetAsync(address, HttpCompletionOption.ResponseHeadersRead, limit.Token);
        answer.EnsureSuccessStatusCode();
        if (answer.Content.Headers.ContentLength > LargestManifest) throw new InvalidDataException("The manifest is too large.");
        await using var body = await answer.Content.ReadAsStreamAsync(limit.Token);
        var text = new byte[LargestManifest];
        var length = await body.ReadAtLeastAsync(text, text.Length, throwOnEndOfStream: false, limit.Token);
        if (length == text.Length) throw new InvalidDataException("The manifest is too large.");
        return JsonSerializer.Deserialize<ModelManifest>(text.AsSpan(0, length), JsonSerializerOptions.Web) ?? throw new InvalidDataException("The manifest is empty.");
    }

    private async Task FetchAsync(Uri address, ModelFile file, string target, CancellationToken cancellation)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!);
        await using (var written = new FileStream(target, FileMode.OpenOrCreate, FileAccess.Write, FileShare.None))
        {
            if (written.Length > file.Size) written.SetLength(0);
            written.Position = written.Length;
            if (written.Length < file.Size) await AppendAsync(address, file, written, cancellation);
        }
        if (await HashAsync(target, cancellation) == file.Sha256) return;
        File.Delete(target);     // the next try begins anew
        throw new InvalidDataException($"{file.Path} came with another content than the manifest says.");
    }

    private async Task AppendAsync(Uri address, ModelFile file, FileStream written, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Silence);
        using var request = new HttpRequestMessage(HttpMethod.Get, address);
        if (written.Length > 0) request.Headers.Range = new RangeHeaderValue(written.Length, null);
        using var answer = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, limit.Token);
        answer.EnsureSuccessStatusCode();
        if (answer.StatusCode != HttpStatusCode.PartialContent || answer.Content.Headers.ContentRange?.From != written.Length) written.SetLength(0);
        await using var body = await answer.Content.ReadAsStreamAsync(limit.Token);
        var piece = new byte[Piece];
        while (written.Length < file.Size)
        {
            limit.CancelAfter(Silence);
            var read = await body.ReadAsync(piece.AsMemory(0, (int)Math.Min(piece.Length, file.Size - written.Length)), limit.Token);
            if (read == 0) throw new IOException($"{file.Path} broke off after {written.Length} of {file.Size} bytes.");
            await written.WriteAsync(piece.AsMemory(0, read), limit.Token);
        }
    }

    private static async Task<string> HashAsync(string path, CancellationToken cancellation)
    {
        await using var file = File.OpenRead(path);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(file, cancellation));
    }

    // The lock is the open file: a process that dies lets go of it.
    private static async Task<FileStream> TakeTurnAsync(string path, CancellationToken cancellation)
    {
        for (; ; )
        {
            try { return new(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.None); }
            catch (IOException) when (File.Exists(path)) { await Task.Delay(TimeSpan.FromMilliseconds(200), cancellation); }
        }
    }
}
