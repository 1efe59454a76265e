using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.ExceptionServices;
using System.Text.Json;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using MessagePack;
using MessagePack.Resolvers;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Protocol;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Chat.Api.Conversations;

/// <summary>The hub's two encodings, made to carry the same shapes and to answer unreadable arguments with a sentence.</summary>
internal static class HubProtocols
{
    /// <summary>The one shape of everything that the hub and the HTTP API say: camelCase keys, camelCase words, a key twice is an error.</summary>
    public static readonly JsonSerializerOptions Json = Shape(new JsonSerializerOptions());

    public static JsonSerializerOptions Shape(JsonSerializerOptions options)
    {
        options.PropertyNamingPolicy = JsonNamingPolicy.CamelCase;
        options.PropertyNameCaseInsensitive = true;
        options.AllowDuplicateProperties = false;
        options.Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
        options.Converters.Add(new CamelCaseEnums());
        return options;
    }

    public static ISignalRServerBuilder AddChatProtocols(this ISignalRServerBuilder signalR)
    {
        signalR.AddJsonProtocol(o => Shape(o.PayloadSerializerOptions));
        signalR.AddMessagePackProtocol(o => o.SerializerOptions = MessagePackSerializerOptions.Standard
            .WithResolver(CompositeResolver.Create(JsonShapeResolver.Instance, StandardResolver.Instance))
            .WithSecurity(MessagePackSecurity.UntrustedData));
        signalR.Services.RemoveAll<IHubProtocol>();
        signalR.Services.AddSingleton<IHubProtocol>(sp => new ClearProtocol(ActivatorUtilities.CreateInstance<JsonHubProtocol>(sp)));
        signalR.Services.AddSingleton<IHubProtocol>(sp => new ClearProtocol(ActivatorUtilities.CreateInstance<MessagePackHubProtocol>(sp)));
        return signalR;
    }

    /// <summary>SignalR answers arguments that do not fit with a bare «failed to invoke»; here they are <c>invalid</c> like any other bad input.</summary>
    private sealed class ClearProtocol(IHubProtocol inner) : IHubProtocol
    {
        private static readonly string[] Methods = [.. typeof(ChatHub).GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly).Select(m => m.Name)];

        public string Name => inner.Name;
        public int Version => inner.Version;
        public TransferFormat TransferFormat => inner.TransferFormat;
        public bool IsVersionSupported(int version) => inner.IsVersionSupported(version);
        public ReadOnlyMemory<byte> GetMessageBytes(HubMessage message) => inner.GetMessageBytes(message);
        public void WriteMessage(HubMessage message, IBufferWriter<byte> output) => inner.WriteMessage(message, output);

        public bool TryParseMessage(ref ReadOnlySequence<byte> input, IInvocationBinder binder, [NotNullWhen(true)] out HubMessage? message)
        {
            if (!inner.TryParseMessage(ref input, binder, out message)) return false;
            if (message is InvocationBindingFailureMessage { BindingFailure.SourceException: var failure } unreadable)
                message = new InvocationBindingFailureMessage(unreadable.InvocationId, unreadable.Target, ExceptionDispatchInfo.Capture(new HubException(Sentence(unreadable.Target, failure))));
            return true;
        }

        private static string Sentence(string method, Exception failure)
        {
            if (!Methods.Contains(method)) return $"invalid: No method '{method}'. Known: {string.Join(", ", Methods)}.";
            for (var e = failure; e is not null; e = e.InnerException)
            {
                if (e is JsonException { Path: { Length: > 0 } path }) return $"invalid: An argument of '{method}' cannot be read at {path}: wrong type, unknown word, or a key twice.";
            }
            return $"invalid: The arguments of '{method}' cannot be read: wrong number or types.";
        }
    }
}
