using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;

namespace Chat.Api.Hosts;

/// <summary>
/// Section <c>Hosts:Tls</c>, PEM files: gateways and hosts show each other certificates of the installation's own authority and speak with nobody
/// else. A host's certificate must name the host as gateways call it. Revocation is not looked up: a lost certificate needs a new authority.
/// </summary>
internal sealed record HostTls
{
    public string? Certificate { get; init; }
    public string? Key { get; init; }
    public string? Authority { get; init; }

    public bool IsOn => Certificate is not null;

    /// <exception cref="InvalidOperationException">Some of the files are not named, or cannot be read.</exception>
    public void Check()
    {
        if (Certificate is null && Key is null && Authority is null) return;
        if (Certificate is null || Key is null || Authority is null) throw new InvalidOperationException("Hosts:Tls needs Certificate, Key and Authority, all three.");
        try
        {
            using var own = Own();
            using var authority = Root();
        }
        catch (Exception e) when (e is CryptographicException or IOException or ArgumentException)
        {
            throw new InvalidOperationException($"Hosts:Tls: the certificates cannot be read: {e.Message}");
        }
    }

    public void Listen(ListenOptions listen)
    {
        var (own, root) = (Own(), Root());     // as long as the process
        listen.UseHttps(https =>
        {
            https.ServerCertificate = own;
            https.ClientCertificateMode = ClientCertificateMode.RequireCertificate;
            https.ClientCertificateValidation = (other, _, _) => IsOurs(other, root);
        });
    }

    public SslClientAuthenticationOptions Client()
    {
        var (own, root) = (Own(), Root());
        return new()
        {
            ClientCertificates = [own],
            RemoteCertificateValidationCallback = (_, other, _, errors) =>
                !errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch) && other is X509Certificate2 certificate && IsOurs(certificate, root),
        };
    }

    private X509Certificate2 Own() => X509Certificate2.CreateFromPemFile(Certificate!, Key!);

    private X509Certificate2 Root() => X509Certificate2.CreateFromPem(File.ReadAllText(Authority!));

    private static bool IsOurs(X509Certificate2 certificate, X509Certificate2 root)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(root);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        return chain.Build(certificate);
    }
}
