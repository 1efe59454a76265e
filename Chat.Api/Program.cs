using Chat.Api;

var builder = WebApplication.CreateBuilder(args).AddChatPage();
var app = builder.Build();
app.MapChatPage();
app.Run();
