using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Training;

namespace Chat.Training.Worker;

/// <summary>A gateway that is not there, or does not do what it was asked. The message says what to do.</summary>
public sealed class GatewayException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Whether the same request may find it otherwise in a moment.</summary>
    public bool MayPass { get; init; }
}

/// <summary>A gateway's <c>/api/training/jobs</c>, as operators use it. Whatever fails is a <see cref="GatewayException"/>. Thread-safe.</summary>
public sealed class GatewayJobs : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30), Loading = TimeSpan.FromMinutes(30), Pause = TimeSpan.FromSeconds(1);
    private const int MostPauses = 60;

    private readonly HttpClient http;
    private readonly TimeProvider time;
    private readonly bool hasToken;

    /// <param name="token">A bearer token of a user with the role admin; <c>null</c> = none, as a gateway in Development on this machine takes it.</param>
    /// <exception cref="GatewayException">The address is none.</exception>
    public GatewayJobs(string gateway, string? token, TimeProvider time)
    {
        if (!Uri.TryCreate(gateway, UriKind.Absolute, out var address) || address.Scheme is not ("http" or "https"))
            throw new GatewayException($"'{gateway}' is no address of a gateway; it takes the form http://localhost:5080.");
        http = new() { BaseAddress = new(address.GetLeftPart(UriPartial.Path).TrimEnd('/') + "/"), Timeout = Timeout.InfiniteTimeSpan };
        if (token is not null && !AuthenticationHeaderValue.TryParse($"Bearer {token}", out _)) throw new GatewayException("The token has characters that no token has.");
        if (token is not null) http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        (this.time, hasToken) = (time, token is not null);
    }

    public Uri Address => http.BaseAddress!;

    public Task<TrainingJobInfo> SubmitAsync(JsonNode recipe, bool evaluate, bool register, CancellationToken cancel) =>
        AskAsync<TrainingJobInfo>(HttpMethod.Post, "api/training/jobs", new JsonObject { ["recipe"] = recipe.DeepClone(), ["evaluate"] = evaluate, ["register"] = register }, cancel);

    /// <summary>The tenant's jobs, the one last queued first, without their recipes.</summary>
    public Task<TrainingJobInfo[]> ListAsync(int most, CancellationToken cancel) => AskAsync<TrainingJobInfo[]>(HttpMethod.Get, $"api/training/jobs?limit={most}", null, cancel);

    public Task<TrainingJobInfo> ReadAsync(string id, CancellationToken cancel) => AskAsync<TrainingJobInfo>(HttpMethod.Get, At(id), null, cancel);

    /// <param name="verb"><c>cancel</c> or <c>resume</c>.</param>
    public Task<TrainingJobInfo> ChangeAsync(string id, string verb, CancellationToken cancel) => AskAsync<TrainingJobInfo>(HttpMethod.Post, $"{At(id)}/{verb}", null, cancel);

    /// <summary>Has a registered model served, by the gateway itself or by one of its model hosts, which pulls it where it has not got it.</summary>
    /// <returns>The model's id.</returns>
    public async Task<string> LoadAsync(string hash, string? host, CancellationToken cancel) =>
        (string)(await AskAsync<JsonObject>(HttpMethod.Post, $"api/models/{hash}/load{(host is null ? "" : $"?host={Uri.EscapeDataString(host)}")}", null, cancel, Loading))["id"]!;

    public async Task DeleteAsync(string id, CancellationToken cancel) => (await SendAsync(HttpMethod.Delete, At(id), null, HttpCompletionOption.ResponseContentRead, cancel)).Dispose();

    /// <summary>The job now and whenever it changes, until it has ended. A gateway that goes away is waited for a minute: the job runs without it.</summary>
    /// <param name="say">Told when it goes away.</param>
    public async IAsyncEnumerable<TrainingJobInfo> FollowAsync(string id, Action<string> say, [EnumeratorCancellation] CancellationToken cancel)
    {
        var first = await ReadAsync(id, cancel);
        yield return first;
        if (IsOver(first.State)) yield break;
        for (var pauses = 0; ;)
        {
            var stream = TellAsync(id, cancel).GetAsyncEnumerator(cancel);
            await using var _ = stream.ConfigureAwait(false);
            string? reason = null;
            while (reason is null)
            {
                try
                {
                    if (!await stream.MoveNextAsync()) reason = "it ended the connection";
                }
                catch (GatewayException error) when (error.MayPass)
                {
                    reason = error.Message;
                }
                if (reason is not null) break;
                pauses = 0;
                yield return stream.Current;
                if (IsOver(stream.Current.State)) yield break;
            }
            if (pauses == 0) say($"Waiting for the gateway, the job goes on: {reason}");
            if (pauses++ == MostPauses) throw new GatewayException($"The gateway at {Address} has not come back for a minute. The job goes on without it; look again with jobs show {id} --follow.");
            await Task.Delay(Pause, time, cancel);
        }
    }

    public static bool IsOver(JobState state) => state is JobState.Cancelled or JobState.Failed or JobState.Finished;

    public void Dispose() => http.Dispose();

    /// <summary>The events of one connection.</summary>
    private async IAsyncEnumerable<TrainingJobInfo> TellAsync(string id, [EnumeratorCancellation] CancellationToken cancel)
    {
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        silence.CancelAfter(2 * Patience);
        using var answer = await SendAsync(HttpMethod.Get, At(id) + "/events", null, HttpCompletionOption.ResponseHeadersRead, cancel);
        await using var body = await answer.Content.ReadAsStreamAsync(cancel);
        await using var events = SseParser.Create(body, (_, data) => JsonSerializer.Deserialize<TrainingJobInfo>(data, JsonSerializerOptions.Web)!).EnumerateAsync(silence.Token).GetAsyncEnumerator(silence.Token);
        while (true)
        {
            try
            {
                if (!await events.MoveNextAsync()) yield break;
            }
            catch (Exception error) when (error is IOException or HttpRequestException or JsonException || (error is OperationCanceledException && !cancel.IsCancellationRequested))
            {
                throw new GatewayException(error is OperationCanceledException ? "it has been silent for a minute" : error.Message, error) { MayPass = true };
            }
            silence.CancelAfter(2 * Patience);      // a word comes every 15 seconds, if only that all is as it was
            yield return events.Current.Data;
        }
    }

    private static string At(string id) => $"api/training/jobs/{Uri.EscapeDataString(id)}";

    private async Task<T> AskAsync<T>(HttpMethod method, string path, JsonNode? body, CancellationToken cancel, TimeSpan? patience = null)
    {
        using var answer = await SendAsync(method, path, body, HttpCompletionOption.ResponseContentRead, cancel, patience);
        try
        {
            return (await answer.Content.ReadFromJsonAsync<T>(JsonSerializerOptions.Web, cancel))!;
        }
        catch (JsonException error)
        {
            throw Stranger(answer, error);
        }
    }

    /// <returns>An answer that is none of an error.</returns>
    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, JsonNode? body, HttpCompletionOption completion, CancellationToken cancel, TimeSpan? patience = null)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(patience ?? Patience);
        HttpResponseMessage answer;
        try
        {
            using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : JsonContent.Create(body) };
            answer = await http.SendAsync(request, completion, limit.Token);
        }
        catch (Exception error) when (error is HttpRequestException || (error is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            var reason = error is HttpRequestException ? error.Message.TrimEnd('.') : $"nothing came for {(patience ?? Patience).TotalSeconds} seconds";
            throw new GatewayException($"No gateway answers at {Address}: {reason}. Start one (make run), or say where it is with --gateway or CHAT_GATEWAY.", error) { MayPass = true };
        }
        if (answer.IsSuccessStatusCode) return answer;
        using (answer) throw Refused(answer, await DetailAsync(answer, cancel));
    }

    private GatewayException Refused(HttpResponseMessage answer, string? detail) => answer.StatusCode switch
    {
        HttpStatusCode.Unauthorized => new(hasToken
            ? $"The gateway at {Address} refuses the token: it has expired, or was signed for another server. Put a new one into CHAT_TOKEN, or give it with --token."
            : $"The gateway at {Address} asks for a token: put one of a user with the role admin into CHAT_TOKEN, or give it with --token."),
        HttpStatusCode.Forbidden => new($"The gateway at {Address} lets only admins at training jobs: give a token whose role is admin{(hasToken ? "" : " (CHAT_TOKEN, --token); without one only this machine is an admin, in Development")}."),
        _ when detail is null => Stranger(answer, null),
        HttpStatusCode.NotFound when answer.RequestMessage!.RequestUri!.AbsolutePath.Contains("/training/", StringComparison.Ordinal) => new($"{detail} jobs list shows those of your tenant."),
        HttpStatusCode.BadRequest or HttpStatusCode.RequestEntityTooLarge => new($"The gateway refuses it: {detail}"),
        var status => new(detail) { MayPass = status is HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable or HttpStatusCode.InternalServerError },
    };

    private GatewayException Stranger(HttpResponseMessage answer, Exception? inner) =>
        new($"What answers at {Address} is no gateway of Chat, or has no training jobs ({(int)answer.StatusCode} {answer.ReasonPhrase}). Say where the gateway is with --gateway or CHAT_GATEWAY.", inner) { MayPass = (int)answer.StatusCode >= 500 };

    /// <returns>What the gateway says; <c>null</c> where it speaks otherwise than our gateways do.</returns>
    private static async Task<string?> DetailAsync(HttpResponseMessage answer, CancellationToken cancel)
    {
        try
        {
            return await answer.Content.ReadFromJsonAsync<JsonObject>(cancel) is { } problem && problem["code"] is not null ? (string?)problem["detail"] : null;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
