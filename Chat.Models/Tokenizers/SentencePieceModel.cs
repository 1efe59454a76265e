using System.Buffers.Binary;
using System.Text;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>
/// SentencePiece's own file (a protobuf, <c>sentencepiece_model.proto</c>), read as Hugging Face's converter for T5 reads it: what it makes of one is what published
/// <c>tokenizer.json</c> files hold. Models of type Unigram only.
/// </summary>
internal static class SentencePieceModel
{
    private const long LargestFile = 64 << 20;

    // ModelProto and what it holds, by their numbers.
    private const int Pieces = 1, Trainer = 2, Normalizer = 3;
    private const int PieceText = 1, PieceScore = 2, PieceKind = 3;
    private const int TrainerModelType = 3, TrainerByteFallback = 35, TrainerUnknown = 40, TrainerEnd = 42;
    private const int NormalizerMap = 2, NormalizerPrefix = 3;
    private const int UnigramType = 1;

    private enum Kind { Normal = 1, Unknown, Control, UserDefined, Unused, Byte }

    /// <param name="extraIds">Sentinels <c>&lt;extra_id_0&gt;</c> and so on that stand behind the pieces, the last first.</param>
    /// <exception cref="CheckpointException"><c>bad_config</c>, or <c>unsupported</c> for another type of model.</exception>
    public static UnigramFile Load(string path, int extraIds)
    {
        if (new FileInfo(path).Length > LargestFile) throw Bad($"is larger than {LargestFile} bytes");
        try
        {
            return Read(File.ReadAllBytes(path), extraIds);
        }
        catch (Exception error) when (error is FormatException or ArgumentException or IndexOutOfRangeException)
        {
            throw new CheckpointException(CheckpointErrors.BadConfig, $"{TokenizerFiles.SentencePiece} is not what it should be: {error.Message}", error);
        }
    }

    private static UnigramFile Read(byte[] file, int extraIds)
    {
        var pieces = new List<(string Text, double Score)>();
        var added = new List<AddedToken>();
        var (type, unknown, end, bytes, prefix) = (UnigramType, 0, 2, false, true);
        byte[]? map = null;
        foreach (var field in Fields(file))
            switch (field.Number)
            {
                case Pieces:
                    var (text, score, kind) = ("", 0f, Kind.Normal);
                    foreach (var part in Fields(field.Bytes))
                        (text, score, kind) = part.Number switch { PieceText => (Encoding.UTF8.GetString(part.Bytes.Span), score, kind), PieceScore => (text, part.Float, kind), PieceKind => (text, score, (Kind)part.Value), _ => (text, score, kind) };
                    if (text.Length > 0 && kind is Kind.Unknown or Kind.Control or Kind.UserDefined) added.Add(new(pieces.Count, text, kind != Kind.UserDefined, false, false));
                    pieces.Add((text, score));
                    break;
                case Trainer:
                    foreach (var part in Fields(field.Bytes))
                        (type, unknown, end, bytes) = part.Number switch
                        {
                            TrainerModelType => ((int)part.Value, unknown, end, bytes),
                            TrainerUnknown => (type, (int)part.Value, end, bytes),
                            TrainerEnd => (type, unknown, (int)part.Value, bytes),
                            TrainerByteFallback => (type, unknown, end, part.Value != 0),
                            _ => (type, unknown, end, bytes),
                        };
                    break;
                case Normalizer:
                    foreach (var part in Fields(field.Bytes))
                        if (part.Number == NormalizerMap) map = part.Bytes.ToArray();
                        else if (part.Number == NormalizerPrefix) prefix = part.Value != 0;
                    break;
            }
        if (type != UnigramType) throw new CheckpointException(CheckpointErrors.Unsupported, $"{TokenizerFiles.SentencePiece}: model_type = {type} is not known. Known: {UnigramType}, Unigram.");
        if (unknown < 0 || unknown >= pieces.Count || end < 0 || end >= pieces.Count) throw Bad($"names the pieces {unknown} and {end} of {pieces.Count}");
        for (var left = extraIds - 1; left >= 0; left--)
        {
            added.Add(new(pieces.Count, $"<extra_id_{left}>", true, false, false));
            pieces.Add((added[^1].Content, 0));
        }
        var blanks = new Metaspace('▁', prefix ? MetaspacePrefix.Always : MetaspacePrefix.Never, IsSplit: true);
        return new()
        {
            Pieces = pieces,
            Unknown = unknown,
            Rules = new()
            {
                ByteFallback = bytes,
                ReadsBytes = bytes,
                Surroundings = new(added, [], [end]),
                Normalizers = [.. map is { Length: > 0 } ? new Func<string, string>[] { CharacterMap.Read(map.AsSpan()).Apply } : [], TextNormalizers.Strip(left: false, right: true), new TextSplitter(" {2,}").Replacing("▁")],
                Splitters = [blanks.Split],
                Written = [("▁", " ")],
                FirstBlank = prefix ? FirstBlank.All : FirstBlank.Kept,
            },
        };
    }

    /// <summary>A field of a message: a number, or bytes.</summary>
    private readonly record struct Field(int Number, ulong Value, ReadOnlyMemory<byte> Bytes)
    {
        public float Float => BitConverter.UInt32BitsToSingle((uint)Value);
    }

    private static IEnumerable<Field> Fields(ReadOnlyMemory<byte> message)
    {
        for (var at = 0; at < message.Length;)
        {
            var tag = Varint(message.Span, ref at);
            var (number, wire) = ((int)(tag >> 3), (int)(tag & 7));
            switch (wire)
            {
                case 0:
                    yield return new(number, Varint(message.Span, ref at), default);
                    break;
                case 1:
                    yield return new(number, BinaryPrimitives.ReadUInt64LittleEndian(message.Span[at..]), default);
                    at += 8;
                    break;
                case 2:
                    var length = Varint(message.Span, ref at);
                    if (length > (ulong)(message.Length - at)) throw new FormatException("it is cut off.");
                    yield return new(number, 0, message.Slice(at, (int)length));
                    at += (int)length;
                    break;
                case 5:
                    yield return new(number, BinaryPrimitives.ReadUInt32LittleEndian(message.Span[at..]), default);
                    at += 4;
                    break;
                default: throw new FormatException($"wire type {wire} is not known.");
            }
        }
    }

    private static ulong Varint(ReadOnlySpan<byte> message, ref int at)
    {
        ulong value = 0;
        for (var shift = 0; shift < 64; shift += 7)
        {
            var next = message[at++];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80) return value;
        }
        throw new FormatException("a number has no end.");
    }

    private static CheckpointException Bad(string what) => new(CheckpointErrors.BadConfig, $"{TokenizerFiles.SentencePiece} {what}.");
}
