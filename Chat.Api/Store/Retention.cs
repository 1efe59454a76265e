namespace Chat.Api.Store;

/// <summary>Section <c>Retention</c>: days that a conversation is kept after its last message; 0 = until somebody erases it.</summary>
internal sealed class Retention
{
    public double Days { get; set; }

    /// <summary>By tenant, before <see cref="Days"/>.</summary>
    public Dictionary<string, double> Tenants { get; set; } = [];

    public TimeSpan? For(string tenant) => (Tenants.TryGetValue(tenant, out var days) ? days : Days) is > 0 and var kept ? TimeSpan.FromDays(kept) : null;
}
