using Chat.Api;
using Chat.Api.Conversations;
using Chat.Api.Hosts;
using Chat.Api.Identity;
using Chat.Api.OpenAi;
using Chat.Api.Operations;
using Chat.Api.Registry;
using Chat.Api.Store;
using Chat.Api.Training;

try
{
    Compose(args).Run();
    return 0;
}
catch (Exception failure) when (failure is not HostAbortedException)
{
    return StartFailure.Tell(failure, Console.Error);
}

static WebApplication Compose(string[] args)
{
    var builder = WebApplication.CreateBuilder(args);
    SettingNames.Check(builder.Configuration);
    return builder.Configuration["Role"] switch
    {
        null or "" or "gateway" => Gateway(builder),
        ModelHostRole.Name => ModelHostRole.Compose(builder),
        var other => throw new InvalidOperationException($"There is no Role '{other}'. Known: gateway, {ModelHostRole.Name}."),
    };
}

static WebApplication Gateway(WebApplicationBuilder builder)
{
    builder.AddStartFailure();
    builder.AddServerLogs();
    builder.AddSettingsCheck();
    builder.AddServerLimits();
    builder.AddErrorAnswers();
    builder.AddIdentity();
    builder.AddPlugins();
    builder.AddSafety();
    builder.AddChatModels();
    builder.AddStore();
    builder.AddRegistry();
    builder.AddConversations();
    builder.Services.AddSingleton<TrainingJobs>();
    builder.AddOpenAi();
    builder.AddMetrics();
    builder.AddHealth();
    builder.AddOpenApiDocument();
    builder.AddChatPage();

    var app = builder.Build();
    app.UseErrorAnswers();
    app.UseSecurityHeaders();
    app.UseMetrics();
    app.UseBrowserIds();
    app.UseRouting();
    app.UseAuthentication();
    app.UseAuthorization();
    app.UseRateLimiter();
    app.MapChatHub();
    app.MapConversations();
    app.MapTrainingConsent();
    app.MapTraining();
    app.MapPlugins();
    app.MapModels();
    app.MapPins();
    app.MapModelFiles();
    app.MapOpenAi();
    app.MapHealth();
    app.MapOpenApiDocument();
    app.MapChatPage();
    return app;
}
