using System.Runtime.CompilerServices;
using Chat.Domain.Conversations;
using Microsoft.AspNetCore.SignalR;

namespace Chat.Api.Conversations;

/// <summary>Turns every failure of a hub method, streams included, into a <see cref="HubException"/> of the form «code: sentence».</summary>
internal sealed class HubErrors(ILogger<HubErrors> logger) : IHubFilter
{
    public async ValueTask<object?> InvokeMethodAsync(HubInvocationContext invocationContext, Func<HubInvocationContext, ValueTask<object?>> next)
    {
        try
        {
            var result = await next(invocationContext);
            return result is IAsyncEnumerable<ChatEvent> events ? Stream(events, invocationContext.HubMethodName) : result;
        }
        catch (Exception e) when (e is not HubException and not OperationCanceledException)
        {
            throw Clear(e, invocationContext.HubMethodName);
        }
    }

    private async IAsyncEnumerable<ChatEvent> Stream(IAsyncEnumerable<ChatEvent> events, string method, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        await using var enumerator = events.GetAsyncEnumerator(cancellation);
        for (; ; )
        {
            try
            {
                if (!await enumerator.MoveNextAsync()) yield break;
            }
            catch (Exception e) when (e is not HubException and not OperationCanceledException)
            {
                throw Clear(e, method);
            }
            yield return enumerator.Current;
        }
    }

    private HubException Clear(Exception e, string method)
    {
        if (e is ChatException known)
        {
            // What a client did wrong is the client's to know; only a store or model in trouble is ours.
            if (known is { Error: ChatError.Busy, InnerException: { } cause }) logger.LogWarning(cause, "{Method}: {Code}.", method, known.Code);
            return new($"{known.Code}: {known.Message}");
        }
        logger.LogError(e, "{Method} failed.", method);
        return new("busy: The server failed to answer this call. Try again in 5 seconds.");
    }
}
