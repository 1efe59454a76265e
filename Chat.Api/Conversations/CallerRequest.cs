using System.Text.Json.Serialization;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>A request of somebody. The caller is set by the hub or the endpoint from the token, never by the client.</summary>
public abstract record CallerRequest<T> : IRequest<T>
{
    [JsonIgnore]
    public Caller Caller { get; init; } = new("", "");
}
