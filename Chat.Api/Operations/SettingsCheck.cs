using System.Globalization;
using Chat.Api.Conversations;
using Chat.Api.Identity;
using Chat.Api.Registry;
using Chat.Api.Store;
using Chat.Api.Training;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Safety;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.Extensions.Options;
using Microsoft.IdentityModel.Tokens;

namespace Chat.Api.Operations;

/// <summary>
/// Looks at every setting that would otherwise be met by a user's first message, before anything is opened: a server that starts can do what it was set to do.
/// </summary>
internal static class SettingsCheck
{
    private const string Bearer = "Authentication:Schemes:Bearer";
    private const int LeastKeyBits = 256;

    /// <summary>Comes before the parts that open folders and connections: hosted services start in their order.</summary>
    public static WebApplicationBuilder AddSettingsCheck(this WebApplicationBuilder builder)
    {
        builder.Services.AddHostedService<Check>();
        return builder;
    }

    /// <exception cref="InvalidOperationException">The setting is out of its range.</exception>
    public static void Require<T>(bool holds, string name, T value, string range)
    {
        if (!holds) throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"{name} is {value} ({range})."));
    }

    private sealed class Check(IServiceProvider services, IConfiguration configuration, LimitSettings limits, ReplySettings replies, Retention retention, TrainingSettings training, Bots bots, ModelRegistry registry) : IHostedService
    {
        /// <exception cref="InvalidOperationException">A setting that cannot hold, by its name.</exception>
        public async Task StartAsync(CancellationToken cancellationToken)
        {
            CheckAddresses();
            CheckRanges();
            Naming("Safety", () => _ = services.GetRequiredService<SafetyPolicy>());
            Naming(Bearer, CheckTokens);
            var models = services.GetRequiredService<IChatModels>();
            if (models.Models.Count == 0) return;     // those of other machines are not known yet, and may come later
            foreach (var bot in bots.All)
            {
                if (bot.Model is null && bot.Decoding is null) continue;
                var model = bot.Model is { } named ? await registry.ResolveAsync(named) : models.Models[0].Id;
                Naming($"Bot '{bot.Name}'", () => _ = models.Check(model, bot.Decoding));
            }
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

        private void CheckRanges()
        {
            const string atLeastOne = "at least 1; Limits:Enabled=false turns the limits off";
            Require(limits.MessagesPerMinute >= 1, "Limits:MessagesPerMinute", limits.MessagesPerMinute, atLeastOne);
            Require(limits.ConcurrentReplies >= 1, "Limits:ConcurrentReplies", limits.ConcurrentReplies, atLeastOne);
            Require(limits.HttpRequestsPerMinute >= 1, "Limits:HttpRequestsPerMinute", limits.HttpRequestsPerMinute, atLeastOne);
            Require(replies.CoalesceMs is >= 0 and <= 10_000, "Replies:CoalesceMs", replies.CoalesceMs, "from 0 to 10000");
            // A reader on another gateway is remembered for no longer.
            var longest = ReplyLog.ReaderMark.TotalSeconds;
            Require(replies.NoReaderSeconds > 0 && replies.NoReaderSeconds < longest, "Replies:NoReaderSeconds", replies.NoReaderSeconds, $"above 0, below {longest:0}");
            Require(training.JobsPerTenant is >= 1 and <= TrainingJobs.MostJobs, "Training:JobsPerTenant", training.JobsPerTenant, $"from 1 to {TrainingJobs.MostJobs}, the most of all tenants together");
            foreach (var (name, days) in retention.Tenants.Select(t => ($"Retention:Tenants:{t.Key}", t.Value)).Prepend(("Retention:Days", retention.Days)))
                Require(days is >= 0 and <= 36_500, name, days, "from 0 to 36500; 0 keeps conversations until they are erased");
        }

        /// <summary>ASP.NET passes over keys that fit no issuer and reads the rest when the first token comes; then every token would be refused.</summary>
        private void CheckTokens()
        {
            var options = services.GetRequiredService<IOptionsMonitor<JwtBearerOptions>>().Get(JwtBearerDefaults.AuthenticationScheme);
            if (!configuration.GetSection(Bearer + ":SigningKeys").GetChildren().Any()) return;
            var keys = options.TokenValidationParameters.IssuerSigningKeys?.ToList() ?? [];
            if (keys.Count == 0) throw new InvalidOperationException("none of the SigningKeys has a Value and the Issuer that ValidIssuer names, so no token could be checked.");
            if (keys.Find(k => k is SymmetricSecurityKey && k.KeySize < LeastKeyBits) is { } key)
                throw new InvalidOperationException($"a Value of SigningKeys is base64 of {key.KeySize} bits; a key has {LeastKeyBits} or more. `openssl rand -base64 32` makes one.");
        }

        private static void Naming(string section, Action read)
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
