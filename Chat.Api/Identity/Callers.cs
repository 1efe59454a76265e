using System.Security.Claims;
using Chat.Domain.Conversations;

namespace Chat.Api.Identity;

internal static class Callers
{
    /// <summary>Who an authenticated principal is: claims <c>sub</c>, <c>tenant</c> and <c>role</c>/<c>roles</c>.</summary>
    public static Caller Caller(this ClaimsPrincipal principal) => new(principal.FindFirstValue("tenant") ?? "", principal.FindFirstValue("sub") ?? "")
    {
        Roles = [.. principal.FindAll(c => c.Type is "role" or "roles").Select(c => c.Value)],
    };
}
