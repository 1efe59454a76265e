using System.Net;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;

namespace Chat.Api.Hosts;

/// <summary>
/// Lets in who knows the installation's key (<c>authorization: Bearer KEY</c>). Without a key: who has shown a certificate of its authority, and in
/// Development this machine.
/// </summary>
internal sealed class HostKey(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, HostsOptions hosts, IHostEnvironment environment)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    public new const string Scheme = "HostKey";

    /// <exception cref="InvalidOperationException">Anybody could come in.</exception>
    public static void Require(HostsOptions hosts, IHostEnvironment environment)
    {
        if (hosts.Key is null && !hosts.Tls.IsOn && !environment.IsDevelopment()) throw new InvalidOperationException("Hosts:Key must be set, or Hosts:Tls: a model host answers only gateways of its installation. (Development on this machine needs neither.)");
    }

    protected override Task<AuthenticateResult> HandleAuthenticateAsync() => Task.FromResult(IsKnown()
        ? AuthenticateResult.Success(new(new ClaimsPrincipal(new ClaimsIdentity(Scheme)), Scheme))
        : AuthenticateResult.Fail("The key of this installation is needed: authorization: Bearer <Hosts:Key>."));

    private bool IsKnown()
    {
        if (hosts is { Key: null, Tls.IsOn: true } && Context.Connection.ClientCertificate is not null) return true;     // checked when the connection was made
        if (hosts.Key is null) return environment.IsDevelopment() && Context.Connection.RemoteIpAddress is { } address && IPAddress.IsLoopback(address);
        var given = Request.Headers.Authorization.ToString();
        // Hashed first, so that neither content nor length shows in the time it takes.
        return CryptographicOperations.FixedTimeEquals(Hash(given), Hash($"Bearer {hosts.Key}"));
    }

    private static byte[] Hash(string text) => SHA256.HashData(Encoding.UTF8.GetBytes(text));
}
