using Microsoft.AspNetCore.Authorization;

namespace Chat.Api.Identity;

/// <summary>Who may change what everybody uses: the role admin; in Development also whoever sits at this machine.</summary>
internal static class Admins
{
    public const string Role = "admin";

    public static readonly AuthorizationPolicy Policy = new AuthorizationPolicyBuilder()
        .RequireAuthenticatedUser()
        .RequireAssertion(context => context.User.Caller().Roles.Contains(Role) || context.User.Identity?.AuthenticationType == AnonymousCaller.Scheme)
        .Build();
}
