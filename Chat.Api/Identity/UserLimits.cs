using System.Threading.RateLimiting;
using Chat.Api.Conversations;
using Chat.Api.Operations;
using Chat.Domain.Conversations;
using Microsoft.AspNetCore.SignalR;

namespace Chat.Api.Identity;

/// <summary>Section <c>Limits</c>, per user, in this process. <see cref="Enabled"/> = false turns rates and concurrency off; size caps stay.</summary>
internal sealed class LimitSettings
{
    public bool Enabled { get; set; } = true;
    public int MessagesPerMinute { get; set; } = 60;
    public int ConcurrentReplies { get; set; } = 10;
    public int HttpRequestsPerMinute { get; set; } = 600;
}

internal static class UserLimits
{
    public static void AddUserLimits(this IServiceCollection services, IConfiguration configuration)
    {
        var settings = configuration.GetSection("Limits").Get<LimitSettings>() ?? new();
        services.AddSingleton(settings);
        services.AddSingleton<HubLimits>();
        services.AddRateLimiter(limiter =>
        {
            limiter.GlobalLimiter = PartitionedRateLimiter.Create<HttpContext, Caller>(http => settings.Enabled && IsLimited(http.Request.Path)
                ? RateLimitPartition.GetTokenBucketLimiter(http.User.Caller(), _ => Bucket(settings.HttpRequestsPerMinute))
                : RateLimitPartition.GetNoLimiter(new Caller("", "")));
            limiter.OnRejected = async (rejected, cancellation) =>
            {
                var seconds = Seconds(rejected.Lease.TryGetMetadata(MetadataName.RetryAfter, out var after) ? after : TimeSpan.FromSeconds(1));
                rejected.HttpContext.Response.Headers.RetryAfter = $"{seconds}";
                await ErrorAnswers.WriteAsync(rejected.HttpContext, StatusCodes.Status429TooManyRequests, $"Too many requests. Try again in {seconds} seconds.", "limited");
            };
        });
    }

    private static bool IsLimited(PathString path) =>
        path.StartsWithSegments("/api", StringComparison.OrdinalIgnoreCase) || path.StartsWithSegments("/v1", StringComparison.OrdinalIgnoreCase);

    /// <summary>A minute's worth may come at once; then it fills up evenly.</summary>
    public static TokenBucketRateLimiterOptions Bucket(int perMinute) => new()
    {
        TokenLimit = perMinute,
        TokensPerPeriod = Math.Max(1, perMinute / 60),
        ReplenishmentPeriod = TimeSpan.FromSeconds(Math.Max(1, 60.0 / perMinute)),
        QueueLimit = 0,
    };

    public static int Seconds(TimeSpan time) => Math.Max(1, (int)Math.Ceiling(time.TotalSeconds));
}

/// <summary>Holds a user to so many messages a minute and so many running replies.</summary>
internal sealed class HubLimits(LimitSettings settings, RunningReplies replies) : IHubFilter, IDisposable
{
    private static readonly string[] Asking = [nameof(ChatHub.Send), nameof(ChatHub.Edit), nameof(ChatHub.Regenerate)];

    private readonly PartitionedRateLimiter<Caller> messages =
        PartitionedRateLimiter.Create<Caller, Caller>(caller => RateLimitPartition.GetTokenBucketLimiter(caller, _ => UserLimits.Bucket(settings.MessagesPerMinute)));

    public ValueTask<object?> InvokeMethodAsync(HubInvocationContext invocationContext, Func<HubInvocationContext, ValueTask<object?>> next)
    {
        if (settings.Enabled && Asking.Contains(invocationContext.HubMethodName)) Check(invocationContext.Context.User!.Caller());
        return next(invocationContext);
    }

    public void Dispose() => messages.Dispose();

    private void Check(Caller caller)
    {
        if (replies.CountOf(caller) >= settings.ConcurrentReplies) throw Limited($"{settings.ConcurrentReplies} replies are running already.", TimeSpan.FromSeconds(1));
        using var lease = messages.AttemptAcquire(caller);
        if (!lease.IsAcquired) throw Limited($"More than {settings.MessagesPerMinute} messages a minute.", lease.TryGetMetadata(MetadataName.RetryAfter, out var after) ? after : TimeSpan.FromSeconds(1));
    }

    private static ChatException Limited(string what, TimeSpan after) =>
        new(ChatError.Limited, $"{what} Try again in {UserLimits.Seconds(after)} seconds.") { RetryAfter = after };
}
