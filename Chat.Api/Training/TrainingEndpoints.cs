using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Security.Claims;
using System.Text.Json;
using Chat.Api.Identity;
using Chat.Domain.Conversations;
using Chat.Domain.Training;

namespace Chat.Api.Training;

/// <param name="Recipe">A training recipe, as the worker's command line reads it from a file.</param>
/// <param name="Evaluate">Whether the model's scores are measured and stand in its card; true where it is not said.</param>
/// <param name="Register">Whether the run becomes a registered model; true where it is not said. Then the recipe has a card.</param>
public sealed record NewTrainingJob(JsonElement? Recipe, bool? Evaluate, bool? Register);

/// <summary>/api/training/jobs, for admins: jobs of their tenant for the training workers.</summary>
internal static class TrainingEndpoints
{
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(500), Silence = TimeSpan.FromSeconds(15);

    public static void MapTraining(this WebApplication app)
    {
        var jobs = app.MapGroup("/api/training/jobs").WithTags("training").RequireAuthorization(Admins.Policy)
            .ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status403Forbidden).ProducesProblem(StatusCodes.Status429TooManyRequests);

        jobs.MapGet("", (ClaimsPrincipal user, TrainingJobs training, int limit = 50) => limit is >= 1 and <= 200
                ? training.ListAsync(user.Caller().Tenant, limit)
                : throw ChatException.Invalid($"'limit' is {limit}; it must be 1 to 200."))
            .WithName("listTrainingJobs").WithSummary("Lists the tenant's training jobs, the one last queued first. For admins.").ProducesProblem(StatusCodes.Status400BadRequest);

        jobs.MapPost("", async (NewTrainingJob asked, ClaimsPrincipal user, TrainingJobs training, TimeProvider time, ILogger<TrainingJobs> logger) =>
        {
            var (caller, register) = (user.Caller(), asked.Register ?? true);
            var recipe = RecipeCheck.Read(asked.Recipe, register, await training.PluginsAsync());
            var job = new TrainingJob(Guid.NewGuid().ToString("N"), caller.Tenant, caller.User, time.GetUtcNow(), recipe, asked.Evaluate ?? register, register);
            if (job is { Evaluate: true, Register: false }) throw ChatException.Invalid("'evaluate' needs 'register': what is measured is the model folder.");
            await training.SubmitAsync(job);
            logger.LogInformation("{User} submitted training job {Job}, {Name}", caller.User, job.Id, job.Name);
            return Results.Created($"/api/training/jobs/{job.Id}", await training.ReadAsync(caller.Tenant, job.Id));
        }).WithName("submitTrainingJob").WithSummary("Queues a recipe for the training workers: train, export, evaluate, register. For admins.")
            .Produces<TrainingJobInfo>(StatusCodes.Status201Created).ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status409Conflict).ProducesProblem(StatusCodes.Status413PayloadTooLarge);

        var one = jobs.MapGroup("/{id}").ProducesProblem(StatusCodes.Status404NotFound);

        one.MapGet("", (string id, ClaimsPrincipal user, TrainingJobs training) => training.ReadAsync(user.Caller().Tenant, id))
            .WithName("readTrainingJob").WithSummary("Reads a training job: its state, how far it is, its recipe, the model it made. For admins.").Produces<TrainingJobInfo>();

        one.MapGet("/events", async (string id, ClaimsPrincipal user, TrainingJobs training, TimeProvider time, IHostApplicationLifetime lifetime, CancellationToken cancellation) =>
        {
            var first = await training.ReadAsync(user.Caller().Tenant, id);
            return TypedResults.ServerSentEvents(FollowAsync(first, user.Caller().Tenant, training, time, lifetime.ApplicationStopping, cancellation));
        }).WithName("followTrainingJob").WithSummary("Follows a training job as server-sent events: the job at once, whenever it changes, and every 15 seconds; ends with the job. For admins.")
            .Produces<string>(StatusCodes.Status200OK, "text/event-stream");

        one.MapPost("/cancel", async (string id, ClaimsPrincipal user, TrainingJobs training) =>
        {
            await training.CancelAsync(user.Caller().Tenant, id);
            return await training.ReadAsync(user.Caller().Tenant, id);
        }).WithName("cancelTrainingJob").WithSummary("Cancels a training job: its worker ends with the step it is at and leaves a checkpoint. For admins.").Produces<TrainingJobInfo>().ProducesProblem(StatusCodes.Status409Conflict);

        one.MapPost("/resume", async (string id, ClaimsPrincipal user, TrainingJobs training) =>
        {
            await training.ResumeAsync(user.Caller().Tenant, id);
            return await training.ReadAsync(user.Caller().Tenant, id);
        }).WithName("resumeTrainingJob").WithSummary("Queues a cancelled or failed training job again; it goes on from its checkpoint. For admins.").Produces<TrainingJobInfo>().ProducesProblem(StatusCodes.Status409Conflict);

        one.MapDelete("", async (string id, ClaimsPrincipal user, TrainingJobs training) =>
        {
            await training.DeleteAsync(user.Caller().Tenant, id);
            return Results.NoContent();
        }).WithName("deleteTrainingJob").WithSummary("Forgets a training job that nobody is at; its run folder and its model stay. For admins.").Produces(StatusCodes.Status204NoContent).ProducesProblem(StatusCodes.Status409Conflict);
    }

    private static async IAsyncEnumerable<SseItem<TrainingJobInfo>> FollowAsync(
        TrainingJobInfo job, string tenant, TrainingJobs training, TimeProvider time, CancellationToken stopping, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var timer = new PeriodicTimer(Look, time);
        var (told, last) = (default(string), time.GetTimestamp());
        while (true)
        {
            job = job with { Recipe = null };
            var text = JsonSerializer.Serialize(job, JsonSerializerOptions.Web);
            if (text != told || time.GetElapsedTime(last) >= Silence)
            {
                (told, last) = (text, time.GetTimestamp());
                yield return new(job, "job");
            }
            if (job.State is JobState.Cancelled or JobState.Failed or JobState.Finished) yield break;
            if (stopping.IsCancellationRequested || !await timer.WaitForNextTickAsync(cancellation)) yield break;
            try { job = await training.ReadAsync(tenant, job.Id); }
            catch (ChatException e) when (e.Error == ChatError.NotFound) { yield break; }
            catch (ChatException) { }     // the store is away; the job goes on without it
        }
    }
}
