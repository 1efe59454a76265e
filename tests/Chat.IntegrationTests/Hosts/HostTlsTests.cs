using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Chat.Api.Hosts;
using Microsoft.Extensions.Logging.Abstractions;

namespace Chat.IntegrationTests.Hosts;

/// <summary>Certificates in both directions, instead of a key.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class HostTlsTests : IDisposable
{
    private static readonly DateTimeOffset From = new(2020, 1, 1, 0, 0, 0, TimeSpan.Zero), To = From.AddYears(100);

    private readonly string folder = Directory.CreateTempSubdirectory("chat-tls-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task Only_gateways_with_a_certificate_of_the_same_authority_are_answered()
    {
        using var authority = Authority("ours");
        using var stranger = Authority("theirs");
        var (host, friend, foe) = (Issue(authority, "host", IPAddress.Loopback), Issue(authority, "gateway", null), Issue(stranger, "other", null));
        await using var server = await HostServer.StartAsync(
            ("Hosts:Listen", "https://127.0.0.1:0"), ("Hosts:Key", null!), ("Hosts:Tls:Certificate", host.Certificate!), ("Hosts:Tls:Key", host.Key!), ("Hosts:Tls:Authority", host.Authority!));

        await Until.TrueAsync(async () => (await ModelsAsync(server.Address, friend)).Count == 2);     // a busy machine may miss a poll
        Assert.Empty(await ModelsAsync(server.Address, foe with { Authority = friend.Authority }));     // the host does not know it
        Assert.Empty(await ModelsAsync(server.Address, friend with { Authority = foe.Authority }));     // it does not know the host
    }

    [Fact]
    public async Task A_host_must_be_the_one_that_its_certificate_names()
    {
        using var authority = Authority("ours");
        var (host, friend) = (Issue(authority, "host", IPAddress.Parse("10.1.2.3")), Issue(authority, "gateway", null));
        await using var server = await HostServer.StartAsync(
            ("Hosts:Listen", "https://127.0.0.1:0"), ("Hosts:Key", null!), ("Hosts:Tls:Certificate", host.Certificate!), ("Hosts:Tls:Key", host.Key!), ("Hosts:Tls:Authority", host.Authority!));

        Assert.Empty(await ModelsAsync(server.Address, friend));
    }

    [Fact]
    public async Task A_host_behind_a_name_is_known_by_the_name()
    {
        using var authority = Authority("ours");
        var (host, friend) = (Issue(authority, "model-hosts", null), Issue(authority, "gateway", null));
        await using var server = await HostServer.StartAsync(
            ("Hosts:Listen", "https://127.0.0.1:0"), ("Hosts:Key", null!), ("Hosts:Tls:Certificate", host.Certificate!), ("Hosts:Tls:Key", host.Key!), ("Hosts:Tls:Authority", host.Authority!));

        await Until.TrueAsync(async () => (await ModelsAsync(new($"https://model-hosts:{server.Address.Port}"), friend, IPAddress.Loopback)).Count == 2);
        Assert.Empty(await ModelsAsync(new($"https://other-hosts:{server.Address.Port}"), friend, IPAddress.Loopback));
    }

    [Fact]
    public async Task Certificates_that_are_not_there_or_not_used_fail_the_start()
    {
        using var authority = Authority("ours");
        var host = Issue(authority, "host", IPAddress.Loopback);

        Assert.Contains("all three", (await Assert.ThrowsAsync<InvalidOperationException>(() => HostServer.StartAsync(("Hosts:Tls:Key", host.Key!)))).Message, StringComparison.Ordinal);
        Assert.Contains("cannot be read", (await Assert.ThrowsAsync<InvalidOperationException>(() => HostServer.StartAsync(("Hosts:Tls:Certificate", "/no/such"), ("Hosts:Tls:Key", host.Key!), ("Hosts:Tls:Authority", host.Authority!)))).Message, StringComparison.Ordinal);
        Assert.Contains("must be https", (await Assert.ThrowsAsync<InvalidOperationException>(() => HostServer.StartAsync(("Hosts:Tls:Certificate", host.Certificate!), ("Hosts:Tls:Key", host.Key!), ("Hosts:Tls:Authority", host.Authority!)))).Message, StringComparison.Ordinal);
    }

    private static async Task<IReadOnlyList<string>> ModelsAsync(Uri address, HostTls tls, IPAddress? at = null)
    {
        using var gateway = new RemoteHost(address, at, new() { Tls = tls }, TimeProvider.System, NullLogger.Instance);
        await gateway.PollAsync(CancellationToken.None);
        return [.. gateway.Offers.Select(o => o.Description.Id)];
    }

    private X509Certificate2 Authority(string name)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, pathLengthConstraint: 0, critical: true));
        var authority = request.CreateSelfSigned(From, To);
        File.WriteAllText(Path.Combine(folder, $"{name}.pem"), authority.ExportCertificatePem());
        return authority;
    }

    private HostTls Issue(X509Certificate2 authority, string name, IPAddress? address)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        if (address is not null) names.AddIpAddress(address);
        else names.AddDnsName(name);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.Create(authority, From, To, RandomNumberGenerator.GetBytes(8));
        var (certificateFile, keyFile) = (Path.Combine(folder, $"{name}.pem"), Path.Combine(folder, $"{name}.key"));
        File.WriteAllText(certificateFile, certificate.ExportCertificatePem());
        File.WriteAllText(keyFile, key.ExportPkcs8PrivateKeyPem());
        return new() { Certificate = certificateFile, Key = keyFile, Authority = Path.Combine(folder, $"{authority.GetNameInfo(X509NameType.SimpleName, false)}.pem") };
    }
}
