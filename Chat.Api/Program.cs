using Chat.Api;
using Chat.Api.Conversations;
using Chat.Api.Hosts;
using Chat.Api.Identity;
using Chat.Api.OpenAi;
using Chat.Api.Operations;
using Chat.Api.Store;

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
    builder.AddStartFailure();
    builder.AddSettingsCheck();
    builder.AddServerLimits();
    builder.AddErrorAnswers();
    builder.AddIdentity();
    builder.AddPlugins();
    builder.AddSafety();
    builder.AddInProcessModels();
    builder.AddStore();
    builder.AddConversations();
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
    app.MapPlugins();
    app.MapModels();
    app.MapOpenAi();
    app.MapHealth();
    app.MapOpenApiDocument();
    app.MapChatPage();
    return app;
}
