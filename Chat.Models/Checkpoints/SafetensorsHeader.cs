using System.Text;
using System.Text.Json;

namespace Chat.Models.Checkpoints;

/// <summary>
/// Reads the JSON header of a safetensors file and trusts nothing in it: one pass, names once, known dtypes, sizes computed without overflow,
/// and the tensors must cover the file's data exactly.
/// </summary>
internal static class SafetensorsHeader
{
    private const int MostDimensions = 8;

    /// <param name="dataLength">Bytes the file holds behind its header.</param>
    /// <param name="file">Named in errors.</param>
    /// <exception cref="CheckpointException">See <see cref="CheckpointErrors"/>.</exception>
    public static Dictionary<string, TensorEntry> Read(ReadOnlySpan<byte> json, long dataLength, string file)
    {
        if (json.IsEmpty || json[0] != (byte)'{') throw new CheckpointException(CheckpointErrors.BadHeader, $"{file}: the header does not start with '{{'.");
        try
        {
            var entries = Entries(json, file);
            CheckCover(entries.Values, dataLength, file);
            return entries;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or DecoderFallbackException)
        {
            throw new CheckpointException(CheckpointErrors.BadHeader, $"{file}: the header is no JSON of the expected form: {error.Message}", error);
        }
    }

    private static Dictionary<string, TensorEntry> Entries(ReadOnlySpan<byte> json, string file)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 8 });
        var entries = new Dictionary<string, TensorEntry>();
        var metadata = false;
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            reader.Read();
            if (name == "__metadata__")
            {
                if (metadata) throw Duplicate(name, file);
                metadata = true;
                SkipMetadata(ref reader, file);
            }
            else if (!entries.TryAdd(name, Entry(ref reader, name, file)))
            {
                throw Duplicate(name, file);
            }
        }
        reader.Read();                                  // anything but blanks behind the object is an error here
        return entries;
    }

    private static TensorEntry Entry(ref Utf8JsonReader reader, string name, string file)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Form($"'{name}' is not an object", file);
        string? dtype = null;
        List<Int128>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString()!;
            reader.Read();
            switch (key)
            {
                case "dtype":
                    if (dtype is not null) throw Duplicate($"{name}.{key}", file);
                    dtype = reader.GetString() ?? throw Form($"'{name}' has no text as dtype", file);
                    break;
                case "shape":
                    if (shape is not null) throw Duplicate($"{name}.{key}", file);
                    shape = WholeNumbers(ref reader, name, MostDimensions, file);
                    break;
                case "data_offsets":
                    if (offsets is not null) throw Duplicate($"{name}.{key}", file);
                    offsets = WholeNumbers(ref reader, name, 2, file);
                    break;
                default:
                    throw Form($"'{name}' has an unknown key '{key}'", file);
            }
        }
        if (dtype is null || shape is null || offsets is not { Count: 2 }) throw Form($"'{name}' lacks dtype, shape or two data_offsets", file);
        return Checked(name, dtype, shape, offsets[0], offsets[1], file);
    }

    private static TensorEntry Checked(string name, string dtype, List<Int128> shape, Int128 begin, Int128 end, string file)
    {
        if (TensorEntry.SizeOf(dtype) is not { } size) throw new CheckpointException(CheckpointErrors.BadDtype, $"{file}: '{name}' has the unknown dtype '{dtype}'.");
        if (begin < 0 || end < begin || end > long.MaxValue) throw new CheckpointException(CheckpointErrors.BadOffsets, $"{file}: '{name}' has the offsets [{begin}, {end}].");
        if (shape.Any(dim => dim < 0)) throw Form($"'{name}' has a negative dimension", file);

        Int128 bytes = shape.Any(dim => dim == 0) ? 0 : size;
        foreach (var dim in shape)
        {
            if (bytes > 0 && dim > long.MaxValue / bytes) throw new CheckpointException(CheckpointErrors.SizeMismatch, $"{file}: '{name}' claims a size beyond any file.");
            bytes *= dim == 0 ? 1 : dim;
        }
        if (bytes != end - begin)
            throw new CheckpointException(CheckpointErrors.SizeMismatch, $"{file}: '{name}' needs {bytes} bytes for {dtype} [{string.Join(", ", shape)}], its offsets hold {end - begin}.");
        return new TensorEntry(name, dtype, [.. shape.Select(dim => (long)dim)], (long)begin, (long)end);
    }

    private static void CheckCover(IEnumerable<TensorEntry> entries, long dataLength, string file)
    {
        long at = 0;
        foreach (var entry in entries.OrderBy(e => e.Begin).ThenBy(e => e.End))
        {
            if (entry.Begin != at)
                throw new CheckpointException(CheckpointErrors.BadOffsets, $"{file}: '{entry.Name}' starts at {entry.Begin}, where {at} is due: tensors {(entry.Begin < at ? "overlap" : "leave a gap")}.");
            at = entry.End;
        }
        if (at > dataLength) throw new CheckpointException(CheckpointErrors.Truncated, $"{file} holds {dataLength} bytes of data, its header speaks of {at}.");
        if (at < dataLength) throw new CheckpointException(CheckpointErrors.BadOffsets, $"{file} holds {dataLength} bytes of data, its tensors end at {at}.");
    }

    private static void SkipMetadata(ref Utf8JsonReader reader, string file)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Form("'__metadata__' is not an object", file);
        var names = new HashSet<string>();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            if (!names.Add(name)) throw Duplicate($"__metadata__.{name}", file);
            if (!reader.Read() || reader.TokenType != JsonTokenType.String) throw Form($"'__metadata__.{name}' is not a text", file);
        }
    }

    private static List<Int128> WholeNumbers(ref Utf8JsonReader reader, string name, int most, string file)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw Form($"'{name}' has no array where one is due", file);
        var numbers = new List<Int128>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            // Int128 holds what no file can: such a value is told apart from text that is no whole number.
            if (reader.TokenType != JsonTokenType.Number || reader.ValueSpan.Length > 38 || !Int128.TryParse(reader.ValueSpan, System.Globalization.NumberStyles.AllowLeadingSign, null, out var number))
                throw Form($"'{name}' has '{Encoding.UTF8.GetString(reader.ValueSpan)}' where a whole number is due", file);
            if (numbers.Count == most) throw Form($"'{name}' has more than {most} numbers where at most {most} are due", file);
            numbers.Add(number);
        }
        return numbers;
    }

    private static CheckpointException Duplicate(string name, string file) => new(CheckpointErrors.DuplicateKey, $"{file}: '{name}' stands twice in the header.");
    private static CheckpointException Form(string what, string file) => new(CheckpointErrors.BadHeader, $"{file}: {what}.");
}
