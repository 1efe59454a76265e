using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using MessagePack;
using MessagePack.Formatters;

namespace Chat.Api.Conversations;

/// <summary>
/// Gives our types the same shape in MessagePack as in JSON, by going through JSON: one definition of names, words and nulls, and no second set of
/// attributes to keep in step. Costs a few microseconds an event.
/// </summary>
internal sealed class JsonShapeResolver : IFormatterResolver
{
    public static readonly JsonShapeResolver Instance = new();

    public IMessagePackFormatter<T>? GetFormatter<T>() => Cache<T>.Formatter;

    private static class Cache<T>
    {
        public static readonly IMessagePackFormatter<T>? Formatter =
            typeof(T) == typeof(JsonObject) || typeof(T).Namespace?.StartsWith("Chat.", StringComparison.Ordinal) == true ? new Through<T>() : null;
    }

    private sealed class Through<T> : IMessagePackFormatter<T>
    {
        public void Serialize(ref MessagePackWriter writer, T value, MessagePackSerializerOptions options) =>
            Write(ref writer, JsonSerializer.SerializeToElement(value, HubProtocols.Json));

        public T Deserialize(ref MessagePackReader reader, MessagePackSerializerOptions options)
        {
            var buffer = new ArrayBufferWriter<byte>();
            using (var json = new Utf8JsonWriter(buffer)) Read(ref reader, json, options.Security);
            return JsonSerializer.Deserialize<T>(buffer.WrittenSpan, HubProtocols.Json)!;
        }
    }

    private static void Write(ref MessagePackWriter writer, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                writer.WriteMapHeader(value.GetPropertyCount());
                foreach (var property in value.EnumerateObject())
                {
                    writer.Write(property.Name);
                    Write(ref writer, property.Value);
                }
                break;
            case JsonValueKind.Array:
                writer.WriteArrayHeader(value.GetArrayLength());
                foreach (var item in value.EnumerateArray()) Write(ref writer, item);
                break;
            case JsonValueKind.Number when value.TryGetInt64(out var whole): writer.Write(whole); break;
            case JsonValueKind.Number: writer.Write(value.GetDouble()); break;
            case JsonValueKind.String: writer.Write(value.GetString()); break;
            case JsonValueKind.True or JsonValueKind.False: writer.Write(value.GetBoolean()); break;
            default: writer.WriteNil(); break;
        }
    }

    private static void Read(ref MessagePackReader reader, Utf8JsonWriter json, MessagePackSecurity security)
    {
        switch (reader.NextMessagePackType)
        {
            case MessagePackType.Map:
                security.DepthStep(ref reader);
                json.WriteStartObject();
                for (var left = reader.ReadMapHeader(); left > 0; left--)
                {
                    json.WritePropertyName(reader.ReadString() ?? throw new MessagePackSerializationException("A key is null."));
                    Read(ref reader, json, security);
                }
                json.WriteEndObject();
                reader.Depth--;
                break;
            case MessagePackType.Array:
                security.DepthStep(ref reader);
                json.WriteStartArray();
                for (var left = reader.ReadArrayHeader(); left > 0; left--) Read(ref reader, json, security);
                json.WriteEndArray();
                reader.Depth--;
                break;
            case MessagePackType.Integer when reader.NextCode == MessagePackCode.UInt64: json.WriteNumberValue(reader.ReadUInt64()); break;
            case MessagePackType.Integer: json.WriteNumberValue(reader.ReadInt64()); break;
            // NOTE JSON has no NaN and no infinity: the writer throws, and the caller hears «invalid».
            case MessagePackType.Float when reader.NextCode == MessagePackCode.Float32: json.WriteNumberValue(reader.ReadSingle()); break;
            case MessagePackType.Float: json.WriteNumberValue(reader.ReadDouble()); break;
            case MessagePackType.String: json.WriteStringValue(reader.ReadString()); break;
            case MessagePackType.Boolean: json.WriteBooleanValue(reader.ReadBoolean()); break;
            case MessagePackType.Nil:
                reader.ReadNil();
                json.WriteNullValue();
                break;
            default: throw new MessagePackSerializationException($"A value of type {reader.NextMessagePackType} is not expected here.");
        }
    }
}
