using System.Globalization;
using Chat.Api.Hosts.Wire;
using Chat.Training.Methods;
using Grpc.Core;
using Grpc.Net.Client;
using Polly;
using Polly.Retry;

namespace Chat.Training.Objectives;

/// <summary>How a model host is asked.</summary>
/// <param name="Key">The installation's key (<c>Hosts:Key</c> there); <c>null</c>: none is shown.</param>
/// <param name="Deadline">Of one reply's scores.</param>
/// <param name="Tries">For what may pass: a host that is busy, or is started anew. 1: none after the first.</param>
/// <param name="Wait">Before the second try; twice as long before each further one.</param>
public sealed record TeacherHostOptions(string? Key, TimeSpan Deadline, int Tries, TimeSpan Wait)
{
    /// <summary>The key from the environment's <c>Hosts__Key</c>; seven tries, which give a host half a minute to come back.</summary>
    public static TeacherHostOptions Default { get; } = new(Environment.GetEnvironmentVariable("Hosts__Key"), TimeSpan.FromMinutes(2), 7, TimeSpan.FromSeconds(0.5));

    /// <summary>The same without patience, for a look whether a host is there.</summary>
    public TeacherHostOptions Once => this with { Tries = 1, Deadline = Deadline < LookDeadline ? Deadline : LookDeadline };

    private static readonly TimeSpan LookDeadline = TimeSpan.FromSeconds(10);
}

/// <summary>A teacher that answers no more, or refuses. What was trained until the step before is kept.</summary>
public sealed class TeacherLostException(string message, Exception inner) : Exception(message, inner);

/// <summary>
/// A teacher that a model host serves: model_host.proto's <c>Score</c> and <c>Draw</c>, as many replies at a time as the host computes together. The content that it served first is asked for ever after, so a host that
/// comes back with other weights is an error. Used by one thread.
/// </summary>
public sealed class TeacherHost : IDisposable
{
    private const int LargestMessage = 4 << 20;

    private static readonly StatusCode[] Final = [StatusCode.InvalidArgument, StatusCode.NotFound, StatusCode.OutOfRange, StatusCode.FailedPrecondition, StatusCode.Unauthenticated, StatusCode.PermissionDenied, StatusCode.Unimplemented];

    private readonly string address;
    private readonly TeacherHostOptions options;
    private readonly TimeProvider time;
    private readonly GrpcChannel channel;
    private readonly ModelHost.ModelHostClient client;
    private readonly ResiliencePipeline patience;
    private readonly Metadata headers = [];
    private readonly ServedModel model;

    /// <param name="address"><c>http://HOST:PORT/MODEL</c>, where the host takes gRPC; <c>https</c> with a certificate that this machine trusts.</param>
    /// <exception cref="ArgumentException">No such address, no such model, or one whose numbers are rounded.</exception>
    /// <exception cref="TeacherLostException">Nobody answers.</exception>
    public TeacherHost(string address, TeacherHostOptions options, TimeProvider time)
    {
        (this.address, this.options, this.time) = (address, options, time);
        var uri = new Uri(address);
        var id = Uri.UnescapeDataString(uri.AbsolutePath.Trim('/'));
        if (id.Length == 0 || id.Contains('/', StringComparison.Ordinal)) throw new ArgumentException($"'{address}' names no model: http://HOST:PORT/MODEL does.");
        if (options.Key is { } key) headers.Add("authorization", $"Bearer {key}");
        patience = options.Tries <= 1 ? ResiliencePipeline.Empty : new ResiliencePipelineBuilder { TimeProvider = time }.AddRetry(new RetryStrategyOptions
        {
            ShouldHandle = new PredicateBuilder().Handle<RpcException>(error => !Final.Contains(error.StatusCode)),
            MaxRetryAttempts = options.Tries - 1,
            Delay = options.Wait,
            MaxDelay = TimeSpan.FromSeconds(15),
            BackoffType = DelayBackoffType.Exponential,
            DelayGenerator = attempt => ValueTask.FromResult(Asked(attempt.Outcome.Exception)),
        }).Build();
        channel = GrpcChannel.ForAddress(new Uri(uri.GetLeftPart(UriPartial.Authority)), new()
        {
            MaxReceiveMessageSize = LargestMessage, MaxSendMessageSize = LargestMessage, DisposeHttpClient = true,
            HttpHandler = new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(5), EnableMultipleHttp2Connections = true, KeepAlivePingDelay = TimeSpan.FromSeconds(5), KeepAlivePingTimeout = TimeSpan.FromSeconds(5) },
        });
        client = new(channel);
        try
        {
            var status = Ask(limit => client.StatusAsync(new(), headers, limit).ResponseAsync);
            model = status.Models.FirstOrDefault(served => served.Id == id)
                ?? throw new ArgumentException($"the host of '{address}' serves no model '{id}'. It serves: {string.Join(", ", status.Models.Select(served => served.Id))}.");
            if (model.Weights != "exact")
                throw new ArgumentException($"'{address}' is served with {(model.Weights.Length == 0 ? "weights that an older host does not tell of" : $"{model.Weights} weights")}: a student would learn their rounding. Start that host with Models__Weights=exact.");
            Names = Vocabulary();
        }
        catch
        {
            channel.Dispose();
            throw;
        }
    }

    /// <summary>Whether a teacher's name is an address.</summary>
    public static bool IsAddress(string teacher) => Uri.TryCreate(teacher, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https";

    /// <summary>Content hash of the model's folder.</summary>
    public string Hash => model.Hash;

    public TokenNames Names { get; }

    /// <summary>Tokens of a context, and of a reply with its end token, that it can be asked about.</summary>
    public (int Context, int Reply) Longest => (model.MaxPromptTokens, model.MaxCompletionTokens);

    /// <summary>What the teacher says about replies, in their order.</summary>
    /// <param name="kind">How much is asked for, and sent: 4·V bytes a place for <see cref="SignalKind.Full"/>.</param>
    /// <param name="k">Of the best, for <see cref="SignalKind.TopK"/>.</param>
    /// <exception cref="TeacherLostException">The host answers no more, or refuses.</exception>
    public StoredSignal[] Score(IReadOnlyList<Sample> samples, SignalKind kind, int k, double temperature) =>
        AskEach(samples, (sample, _, cancel) => ScoreAsync(sample, kind, k, temperature, cancel));

    /// <summary>Whether it can <see cref="Write"/>; an older host cannot.</summary>
    public bool Writes => model.Draws;

    /// <summary>Replies that the teacher draws: its own law, as <see cref="RolloutWriter"/> draws in this process. A reply has a seed of its own, so one that is asked for again is the same.</summary>
    /// <param name="longest">Tokens a reply has at most, the end token counted.</param>
    /// <param name="first">Number of the first reply; the others follow.</param>
    /// <exception cref="TeacherLostException">The host answers no more, or refuses.</exception>
    public WrittenReply[] Write(IReadOnlyList<int[]> contexts, int longest, double temperature, ulong seed, long first) =>
        AskEach(contexts, (context, i, cancel) => DrawAsync(context, longest, temperature, RolloutWriter.SeedOf(seed, first + i), cancel));

    public void Dispose() => channel.Dispose();

    private TAnswer[] AskEach<T, TAnswer>(IReadOnlyList<T> questions, Func<T, int, CancellationToken, Task<TAnswer>> ask)
    {
        var answers = new TAnswer[questions.Count];
        Run(async () => await Parallel.ForEachAsync(Enumerable.Range(0, answers.Length), new ParallelOptions { MaxDegreeOfParallelism = model.Rows },
            async (i, cancel) => answers[i] = await patience.ExecuteAsync(async inner => await ask(questions[i], i, inner), cancel)));
        return answers;
    }

    private async Task<WrittenReply> DrawAsync(int[] context, int longest, double temperature, long seed, CancellationToken cancel)
    {
        var request = new DrawRequest { RequestId = Guid.NewGuid().ToString("n"), Model = model.Id, ModelHash = model.Hash, Context = { context }, MaxTokens = longest, Temperature = temperature, Seed = seed };
        var drawn = new List<Chat.Models.Engine.DrawnToken>();
        using var call = client.Draw(request, headers, Limit(), cancel);
        await foreach (var token in call.ResponseStream.ReadAllAsync(cancel)) drawn.Add(new(token.Id, token.Logprob));
        return drawn.Count > 0 && drawn.Count <= longest && drawn.All(token => (uint)token.Id < (uint)Names.Count)
            ? WrittenReply.Of(drawn)
            : throw new RpcException(new(StatusCode.DataLoss, $"It answered with {drawn.Count} tokens that are no reply of at most {longest}."));
    }

    private async Task<StoredSignal> ScoreAsync(Sample sample, SignalKind kind, int k, double temperature, CancellationToken cancel)
    {
        var request = new ScoreRequest { RequestId = Guid.NewGuid().ToString("n"), Model = model.Id, ModelHash = model.Hash, Temperature = temperature, Context = { sample.Context }, Reply = { sample.Labels } };
        if (kind == SignalKind.Full) request.Full = true;
        if (kind == SignalKind.TopK) request.Top = k;
        var (width, length) = (kind switch { SignalKind.Full => model.VocabularySize, SignalKind.TopK => Math.Min(k, model.VocabularySize), _ => 0 }, sample.Labels.Length);
        int[] ids = kind == SignalKind.TopK ? new int[length * width] : [];
        float[] logprobs = new float[length * width], tails = kind == SignalKind.TopK ? new float[length] : [], labels = new float[length];
        using var call = client.Score(request, headers, Limit(), cancel);
        var at = 0;
        for (; await call.ResponseStream.MoveNext(cancel); at++)
        {
            var place = call.ResponseStream.Current;
            if (at >= length || (width > 0 && place.Logprobs.Count != width)) throw Nonsense();
            labels[at] = place.Logprob;
            if (width > 0) place.Logprobs.CopyTo(logprobs, at * width);
            if (kind != SignalKind.TopK) continue;
            place.Ids.CopyTo(ids, at * width);
            tails[at] = place.Tail;
        }
        return at == length ? new(kind, width, ids, logprobs, tails, labels) : throw Nonsense();

        RpcException Nonsense() => new(new(StatusCode.DataLoss, $"It answered {length} places with something else."));
    }

    private TokenNames Vocabulary()
    {
        var (names, special) = (new List<byte[]>(), new HashSet<int>());
        Ask(async limit =>
        {
            names.Clear();
            using var call = client.Vocabulary(new() { Model = model.Id, ModelHash = model.Hash }, headers, limit);
            await foreach (var part in call.ResponseStream.ReadAllAsync())
            {
                names.AddRange(part.Tokens.Select(token => token.ToByteArray()));
                special.UnionWith(part.Special);
            }
            return names.Count;
        });
        return new(names, special);
    }

    private T Ask<T>(Func<DateTime, Task<T>> call)
    {
        T answer = default!;
        Run(async () => answer = await patience.ExecuteAsync(async _ => await call(Limit())));
        return answer;
    }

    private DateTime Limit() => (time.GetUtcNow() + options.Deadline).UtcDateTime;

    /// <summary>Training has one thread, which waits; torch's scopes must not wander with a continuation.</summary>
    private void Run(Func<Task> work)
    {
        try
        {
            Task.Run(work).GetAwaiter().GetResult();
        }
        catch (RpcException error)
        {
            var advice = error.StatusCode switch
            {
                StatusCode.Unauthenticated or StatusCode.PermissionDenied => "Set Hosts__Key to that installation's key.",
                StatusCode.FailedPrecondition or StatusCode.NotFound => "A run goes on with the teacher that it began with: serve that model there again.",
                StatusCode.InvalidArgument or StatusCode.OutOfRange => "",
                _ when options.Tries <= 1 => "Start the host, or name another teacher; the same command then begins, or goes on.",
                _ => $"It was asked {options.Tries} times. Start the host again; the same command then goes on from the last whole step.",
            };
            throw new TeacherLostException($"The teacher {address} does not answer: {error.StatusCode}, {error.Status.Detail} {advice}".TrimEnd(), error);
        }
    }

    private static TimeSpan? Asked(Exception? error) =>
        error is RpcException { StatusCode: StatusCode.ResourceExhausted } busy && long.TryParse(busy.Trailers.GetValue("chat-retry-after-ms"), CultureInfo.InvariantCulture, out var wait) ? TimeSpan.FromMilliseconds(wait) : null;
}

/// <summary>A model host's teacher, asked about a batch at a time. The student's vocabulary must be its own.</summary>
public sealed class HostTeacher(TeacherHost host, SignalKind kind, int k = 0, double temperature = 1) : ITeacher
{
    public SignalKind Kind => kind;

    public ITeacherRows Score(Batch batch) => new StoredRows(host.Score(batch.Samples, kind, k, temperature));
}
