using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Chat.Api.Registry;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Domain.Training;

namespace Chat.Api.Store;

/// <summary>A Regenerate that was heard: the reply that it made, and the one that it replaces.</summary>
public sealed record HeardRequest(string Reply, string Of);

/// <summary>The JSON of everything stored. Enumerations are camelCase words; unknown fields of a newer schema are ignored.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(CamelCaseEnums)])]
[JsonSerializable(typeof(Conversation))]
[JsonSerializable(typeof(Turn))]
[JsonSerializable(typeof(RatedReply))]
[JsonSerializable(typeof(HeardRequest))]
[JsonSerializable(typeof(JournalFact))]
[JsonSerializable(typeof(ChatEvent))]
[JsonSerializable(typeof(LoggedEvent))]
[JsonSerializable(typeof(ModelRecord))]
[JsonSerializable(typeof(WantedPin))]
[JsonSerializable(typeof(TrainingJob))]
[JsonSerializable(typeof(JobProgress))]
[JsonSerializable(typeof(JobEnd))]
[JsonSerializable(typeof(WorkerPlugin[]))]
[JsonSerializable(typeof(JsonObject))]
internal sealed partial class StoreJson : JsonSerializerContext;

/// <summary>Enumerations as camelCase words; numbers are refused.</summary>
public sealed class CamelCaseEnums : JsonConverterFactory
{
    private static readonly JsonStringEnumConverter Words = new(JsonNamingPolicy.CamelCase, allowIntegerValues: false);

    public override bool CanConvert(Type typeToConvert) => Words.CanConvert(typeToConvert);

    public override JsonConverter? CreateConverter(Type typeToConvert, JsonSerializerOptions options) => Words.CreateConverter(typeToConvert, options);
}
