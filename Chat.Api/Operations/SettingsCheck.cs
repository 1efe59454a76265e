using Chat.Api.Conversations;
using Chat.Api.Identity;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Safety;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.Extensions.Options;

namespace Chat.Api.Operations;

/// <summary>
/// Looks at every setting that would otherwise be met by a user's first message, before anything is opened: a server that starts can do what it was set to do.
/// </summary>
internal static class SettingsCheck
{
    /// <summary>Comes before the parts that open folders and connections: hosted services start in their order.</summary>
    public static WebApplicationBuilder AddSettingsCheck(this WebApplicationBuilder builder)
    {
        builder.Services.AddHostedService<Check>();
        return builder;
    }

    private sealed class Check(IServiceProvider services, IConfiguration configuration, LimitSettings limits, ReplySettings replies, Bots bots) : IHostedService
    {
        /// <exception cref="InvalidOperationException">A setting that cannot hold, by its name.</exception>
        public Task StartAsync(CancellationToken cancellationToken)
        {
            CheckAddresses();
            AtLeastOne("Limits:MessagesPerMinute", limits.MessagesPerMinute);
            AtLeastOne("Limits:ConcurrentReplies", limits.ConcurrentReplies);
            AtLeastOne("Limits:HttpRequestsPerMinute", limits.HttpRequestsPerMinute);
            if (replies.CoalesceMs is < 0 or > 10_000) throw new InvalidOperationException($"Replies:CoalesceMs must be from 0 to 10000, not {replies.CoalesceMs}.");
            if (replies.NoReaderSeconds is not (> 0 and <= 86_400)) throw new InvalidOperationException($"Replies:NoReaderSeconds must be above 0 and at most 86400, not {replies.NoReaderSeconds}.");
            Naming("Safety", () => services.GetRequiredService<SafetyPolicy>());
            Naming("Authentication:Schemes:Bearer", () => services.GetRequiredService<IOptionsMonitor<JwtBearerOptions>>().Get(JwtBearerDefaults.AuthenticationScheme));
            // Models on other machines are not known yet, and may come later.
            var models = services.GetRequiredService<IChatModels>();
            foreach (var bot in bots.All)
                if (models.Models.Count > 0 && (bot.Model is not null || bot.Decoding is not null)) Naming($"Bot '{bot.Name}'", () => models.Check(bot.Model ?? models.Models[0].Id, bot.Decoding));
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        private void CheckAddresses()
        {
            foreach (var address in (configuration["urls"] ?? "").Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
            {
                var isAddress = true;
                try { isAddress = BindingAddress.Parse(address) is { Scheme: "http" or "https", Port: >= 0 and <= 65_535 }; }
                catch (FormatException) { isAddress = false; }
                if (!isAddress) throw new InvalidOperationException($"ASPNETCORE_URLS: '{address}' is no address to listen on; it takes the form http://localhost:5080.");
            }
        }

        private static void AtLeastOne(string name, int value)
        {
            if (value < 1) throw new InvalidOperationException($"{name} must be at least 1, not {value}. Limits:Enabled=false turns the limits off.");
        }

        private static void Naming<T>(string section, Func<T> read)
        {
            try
            {
                read();
            }
            catch (Exception e) when (e is FormatException or ArgumentException or InvalidOperationException or GenerationException or ChatException)
            {
                throw new InvalidOperationException($"{section}: {e.Message}");
            }
        }
    }
}
