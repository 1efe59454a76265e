using Chat.Api.Hosts;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Chat.Api.Operations;

/// <summary>GET /health/live: the process answers. GET /health/ready: everything that a reply needs answers too.</summary>
public static class HealthSetup
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(3);

    public static void AddHealth(this WebApplicationBuilder builder)
    {
        builder.Services.AddHealthChecks().AddCheck<StoreHealth>("store", timeout: Limit);
        builder.AddModelHealth();
    }

    public static IHealthChecksBuilder AddModelHealth(this WebApplicationBuilder builder) => builder.Services.AddHealthChecks().AddCheck<ModelHealth>("model", timeout: Limit);

    public static void MapHealth(this WebApplication app)
    {
        var group = app.MapGroup("/health").WithTags("operations");
        group.MapGet("/live", () => TypedResults.Ok(new Health("live", new Dictionary<string, string>())))
            .WithName("getLiveness").WithSummary("200 while the process answers.");
        group.MapGet("/ready", async (HealthCheckService checks, CancellationToken cancellation) =>
            {
                var report = await checks.CheckHealthAsync(cancellation);
                var isReady = report.Status == HealthStatus.Healthy;
                var health = new Health(isReady ? "ready" : "not ready", report.Entries.ToDictionary(e => e.Key, e => e.Value.Status == HealthStatus.Healthy ? "answers" : e.Value.Description ?? "does not answer"));
                return TypedResults.Json(health, statusCode: isReady ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);
            })
            .WithName("getReadiness").WithSummary("200 only while the store and the default model answer.")
            .Produces<Health>().Produces<Health>(StatusCodes.Status503ServiceUnavailable);
    }

    public sealed record Health(string Status, IReadOnlyDictionary<string, string> Checks);

    private sealed class StoreHealth(StoreConnection store) : IHealthCheck
    {
        public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
        {
            try
            {
                await store.CallAsync(db => db.PingAsync(), cancellationToken);
                return HealthCheckResult.Healthy();
            }
            catch (Exception e) when (e is ChatException or OperationCanceledException)
            {
                return HealthCheckResult.Unhealthy("The store does not answer.");
            }
        }
    }

    private sealed class ModelHealth(IChatModels models) : IHealthCheck
    {
        // Asking for a reply would show in the counters, which agree with what users asked for.
        public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
        {
            try
            {
                if (models.Models.Count == 0) return Task.FromResult(HealthCheckResult.Unhealthy("No model is loaded."));
                var first = models.Models[0].Id;
                models.Check(first, null);
                return Task.FromResult(models is RemoteChatModels hosts && !hosts.Answers(first) ? HealthCheckResult.Unhealthy("No model host that serves the default model answers.") : HealthCheckResult.Healthy());
            }
            catch (GenerationException e)
            {
                return Task.FromResult(HealthCheckResult.Unhealthy(e.Message));
            }
        }
    }
}
