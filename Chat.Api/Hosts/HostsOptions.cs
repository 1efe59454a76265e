namespace Chat.Api.Hosts;

/// <summary>Section <c>Hosts</c>: how gateways and model hosts find and trust each other, and how patient a gateway is.</summary>
internal sealed record HostsOptions
{
    public const string Section = "Hosts";
    private const int ShortestKey = 16;

    /// <summary>A gateway's model hosts, <c>http://host:5090</c>; none, here and in <see cref="Dns"/> = it serves models itself.</summary>
    public string[] Addresses { get; init; } = [];

    /// <summary>Names that stand for several model hosts, one at each address of the name: <c>http://model-hosts:5090</c>, a headless service of Kubernetes for instance.</summary>
    public string[] Dns { get; init; } = [];

    /// <summary>Between two look-ups of the names.</summary>
    public double DnsSeconds { get; init; } = 10;

    /// <summary>Shared by all gateways and hosts of an installation.</summary>
    public string? Key { get; init; }

    /// <summary>Certificates instead of, or beside, the key.</summary>
    public HostTls Tls { get; init; } = new();

    /// <summary>Where a model host takes gRPC calls (HTTP/2). Health and metrics stand at ASPNETCORE_URLS, as HTTP/1.1.</summary>
    public string Listen { get; init; } = "http://localhost:5090";

    /// <summary>How long a gateway waits for a host's first token before it asks another one.</summary>
    public double FirstTokenSeconds { get; init; } = 30;

    /// <summary>How long a gateway waits for a host's first token before it asks a second one as well; 0 = it does not.</summary>
    public double HedgeAfterSeconds { get; init; }

    /// <summary>How long one reply may take in all; travels to the host as the call's deadline.</summary>
    public double ReplySeconds { get; init; } = 600;

    /// <summary>Between two looks at a host's status.</summary>
    public double PollSeconds { get; init; } = 1;

    /// <summary>What a host that is told to end gives its running replies.</summary>
    public double DrainSeconds { get; init; } = 30;

    /// <exception cref="InvalidOperationException">A value that cannot hold.</exception>
    public static HostsOptions Read(IConfiguration configuration)
    {
        var options = configuration.GetSection(Section).Get<HostsOptions>() ?? new();
        foreach (var (name, value) in new[] { (nameof(FirstTokenSeconds), options.FirstTokenSeconds), (nameof(ReplySeconds), options.ReplySeconds), (nameof(PollSeconds), options.PollSeconds), (nameof(DrainSeconds), options.DrainSeconds), (nameof(DnsSeconds), options.DnsSeconds) })
            if (value is not (> 0 and <= 86_400)) throw new InvalidOperationException($"{Section}:{name} must be above 0 and at most 86400, not {value}.");
        if (options.HedgeAfterSeconds is not (>= 0 and <= 86_400)) throw new InvalidOperationException($"{Section}:{nameof(HedgeAfterSeconds)} must be from 0 to 86400, not {options.HedgeAfterSeconds}.");
        foreach (var address in options.Addresses.Concat(options.Dns).Append(options.Listen))
            if (!Uri.TryCreate(address, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https") || uri.PathAndQuery != "/")
                throw new InvalidOperationException($"{Section}: '{address}' is no address of a model host; it takes the form http://localhost:5090.");
        if (options.Key is { Length: < ShortestKey }) throw new InvalidOperationException($"{Section}:Key must have at least {ShortestKey} characters.");
        options.Tls.Check();
        return options;
    }
}
