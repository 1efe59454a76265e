using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.WebUtilities;

namespace Chat.IntegrationTests;

/// <summary>Bearer tokens of a test's own issuer, signed by hand, and the settings that make a server believe them.</summary>
internal static class Tokens
{
    private const string Issuer = "test-issuer", Audience = "chat", Key = "dGhlIHRlc3RzJyBvd24ga2V5LCAzMiBieXRlcyBhbmQgbW9yZQ==";

    public static (string, string)[] Settings =>
    [
        ("Authentication:Schemes:Bearer:ValidIssuer", Issuer), ("Authentication:Schemes:Bearer:ValidAudiences:0", Audience),
        ("Authentication:Schemes:Bearer:SigningKeys:0:Issuer", Issuer), ("Authentication:Schemes:Bearer:SigningKeys:0:Value", Key),
    ];

    public static string For(string user, string? key = null, long expires = 4_000_000_000, string audience = Audience, string tenant = "", string role = "")
    {
        var content = $"{Part("""{"alg":"HS256","typ":"JWT"}""")}.{Part($$"""{"sub":"{{user}}","tenant":"{{tenant}}","role":"{{role}}","iss":"{{Issuer}}","aud":"{{audience}}","exp":{{expires}}}""")}";
        return $"{content}.{WebEncoders.Base64UrlEncode(HMACSHA256.HashData(Convert.FromBase64String(key ?? Key), Encoding.ASCII.GetBytes(content)))}";
    }

    private static string Part(string json) => WebEncoders.Base64UrlEncode(Encoding.UTF8.GetBytes(json));
}
