using System.Security.Cryptography;
using System.Text;
using Chat.Domain.Generation;

namespace Chat.Api.Hosts;

/// <summary>A host as routing sees it: requests that it is at, and the rows it has for the model.</summary>
internal readonly record struct HostLoad(string Name, int Active, int Rows);

/// <summary>
/// Which host answers. Requests that begin alike prefer one host, which may still hold what they share: the highest of hash(prefix, host),
/// rendezvous hashing, so that a host that comes or goes moves only its own share. A host takes at most 5/4 of its part of the load
/// (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam, arXiv:1608.01350); beyond it the request goes to the least loaded.
/// </summary>
internal static class HostChoice
{
    private const double Balance = 1.25;

    /// <summary>What requests of one conversation have in common however long it grows: the model and all up to the first thing the user said.</summary>
    public static ulong PrefixOf(string modelHash, IReadOnlyList<ChatMessage> messages)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(modelHash));
        foreach (var message in messages)
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"\n{message.Role}\n{message.Text}"));
            if (message.Role == ChatRole.User) break;
        }
        return BitConverter.ToUInt64(hash.GetHashAndReset());
    }

    /// <returns>The index of the host.</returns>
    public static int Choose(IReadOnlyList<HostLoad> hosts, ulong prefix)
    {
        var preferred = Enumerable.Range(0, hosts.Count).MaxBy(i => Weight(prefix, hosts[i].Name));
        var share = (hosts.Sum(h => (long)h.Active) + 1) * hosts[preferred].Rows / (double)hosts.Sum(h => (long)h.Rows);
        if (hosts[preferred].Active + 1 <= Math.Ceiling(Balance * share)) return preferred;
        return Enumerable.Range(0, hosts.Count).OrderBy(i => hosts[i].Active / (double)hosts[i].Rows).ThenByDescending(i => Weight(prefix, hosts[i].Name)).First();
    }

    private static ulong Weight(ulong prefix, string host)
    {
        var text = Encoding.UTF8.GetBytes(host);
        return BitConverter.ToUInt64(SHA256.HashData((byte[])[.. BitConverter.GetBytes(prefix), .. text]));
    }
}
