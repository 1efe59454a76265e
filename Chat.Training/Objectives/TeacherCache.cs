using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using Chat.Training.Methods;

namespace Chat.Training.Objectives;

/// <summary>Whose words a cache holds. A cache of anything else is refused.</summary>
/// <param name="Teacher">Content hash of the teacher's weights.</param>
/// <param name="Tokenizer">Hash of the vocabulary.</param>
/// <param name="Width">k of the best tokens; the vocabulary's size in a full cache.</param>
public sealed record TeacherCacheHeader(string Teacher, string Tokenizer, int Vocabulary, SignalKind Kind, int Width);

/// <summary>
/// A teacher whose words are kept in a file: what it has said about a reply in a context is not asked again, in this run or another. The file is a header and records that are
/// only ever appended, each compressed and with its checksum; what a process that died left half-written is cut off, and the rest stays. A full signal is kept bit for
/// bit; of the best k the ids exactly and the log-probabilities in half precision: off by at most 2⁻¹¹ of themselves. One thread, one process.
/// </summary>
public sealed class TeacherCache : ITeacher, IDisposable
{
    private const int KeyBytes = 16, SumBytes = 8, LargestHeader = 1 << 16;
    private static ReadOnlySpan<byte> Magic => "CHATTCH1"u8;

    private readonly FileStream file;
    private readonly TeacherCacheHeader header;
    private readonly ITeacher? teacher;
    private readonly Dictionary<UInt128, (long At, int Length)> records = [];

    /// <param name="teacher">Asked for what is missing; <c>null</c>: what is missing is an error.</param>
    /// <exception cref="InvalidDataException">The file is none of ours, or another teacher's.</exception>
    public TeacherCache(string path, TeacherCacheHeader header, ITeacher? teacher)
    {
        (this.header, this.teacher) = (header, teacher);
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        try { file = new(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None); }
        catch (IOException error) when (File.Exists(path)) { throw new IOException($"The teacher cache {path} cannot be opened: {error.Message} If another run writes to it, let that end, or name another file.", error); }
        try
        {
            if (file.Length == 0) WriteHeader();
            else CheckHeader();
            ReadIndex();
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public SignalKind Kind => header.Kind;

    /// <summary>Replies it knows.</summary>
    public int Count => records.Count;

    /// <summary>Bytes on disk.</summary>
    public long Size => file.Length;

    /// <exception cref="InvalidDataException">A record is damaged, or a reply is not there and nobody can be asked.</exception>
    public ITeacherRows Score(Batch batch)
    {
        var missing = batch.Samples.Where(s => !records.ContainsKey(Key(s))).ToArray();
        if (missing.Length > 0)
        {
            if (teacher is null) throw new InvalidDataException($"{file.Name} lacks {missing.Length} of the batch's {batch.Size} replies: name the teacher again, who then adds them.");
            var unknown = new Batch(missing);
            using var rows = teacher.Score(unknown);
            var signals = StoredSignal.Of(rows, unknown, header.Vocabulary, header.Kind == SignalKind.Full ? 0 : header.Width);
            TeacherNumbers.Require(signals.SelectMany(signal => signal.Labels).Select(label => (double)label));
            foreach (var (sample, signal) in missing.Zip(signals)) Append(Key(sample), signal);
            file.Flush();
        }
        return new StoredRows([.. batch.Samples.Select(s => Read(Key(s), s.Labels.Length))]);
    }

    public void Dispose() => file.Dispose();

    private static UInt128 Key(Sample sample)
    {
        int[] ids = [.. sample.Context, -1, .. sample.Labels];
        return BinaryPrimitives.ReadUInt128LittleEndian(SHA256.HashData(MemoryMarshal.AsBytes<int>(ids)));
    }

    private void WriteHeader()
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(header, JournalEntry.Json);
        Span<byte> length = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, json.Length);
        file.Write([.. Magic, .. length, .. json]);
        file.Flush();
    }

    private void CheckHeader()
    {
        Span<byte> opening = stackalloc byte[Magic.Length + 4];
        file.Position = 0;
        var length = file.ReadAtLeast(opening, opening.Length, throwOnEndOfStream: false) == opening.Length && opening.StartsWith(Magic) ? BinaryPrimitives.ReadInt32LittleEndian(opening[Magic.Length..]) : -1;
        if (length is <= 0 or > LargestHeader || length > file.Length - opening.Length) throw new InvalidDataException($"{file.Name} is no teacher cache: name another file, or remove it.");
        var json = new byte[length];
        file.ReadExactly(json);
        TeacherCacheHeader? found;
        try { found = JsonSerializer.Deserialize<TeacherCacheHeader>(json, JournalEntry.Json); }
        catch (JsonException error) { throw new InvalidDataException($"{file.Name} has a damaged header: remove it, and the teacher is asked anew.", error); }
        if (found != header) throw new InvalidDataException($"{file.Name} holds the words of another teacher, vocabulary or signal ({found}; asked for is {header}): name another file.");
    }

    /// <summary>Walks over the records' heads. A last one that is not whole was being written when the process died.</summary>
    private void ReadIndex()
    {
        Span<byte> head = stackalloc byte[KeyBytes + 4];
        for (var at = file.Position; at < file.Length;)
        {
            var whole = file.Length - at >= head.Length;
            var length = 0;
            if (whole)
            {
                file.Position = at;
                file.ReadExactly(head);
                length = BinaryPrimitives.ReadInt32LittleEndian(head[KeyBytes..]);
                whole = length > 0 && length <= file.Length - at - head.Length - SumBytes;
            }
            var last = whole && at + head.Length + length + SumBytes == file.Length;
            if (!whole || (last && Payload(at, length) is null))
            {
                file.SetLength(at);
                break;
            }
            records[BinaryPrimitives.ReadUInt128LittleEndian(head)] = (at, length);
            at += head.Length + length + SumBytes;
        }
        file.Position = file.Length;
    }

    private void Append(UInt128 key, StoredSignal signal)
    {
        var payload = Pack(signal);
        var record = new byte[KeyBytes + 4 + payload.Length + SumBytes];
        BinaryPrimitives.WriteUInt128LittleEndian(record, key);
        BinaryPrimitives.WriteInt32LittleEndian(record.AsSpan(KeyBytes), payload.Length);
        payload.CopyTo(record, KeyBytes + 4);
        SHA256.HashData(record.AsSpan(0, record.Length - SumBytes)).AsSpan(0, SumBytes).CopyTo(record.AsSpan(record.Length - SumBytes));
        var at = file.Length;
        file.Position = at;
        file.Write(record);
        records[key] = (at, payload.Length);
    }

    private StoredSignal Read(UInt128 key, int length)
    {
        var (at, bytes) = records[key];
        try
        {
            return Unpack(Payload(at, bytes) ?? throw new InvalidDataException("checksum"), length);
        }
        catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
        {
            throw new InvalidDataException($"{file.Name} is damaged at byte {at}: remove it, and the teacher is asked anew.", error);
        }
    }

    /// <summary>A record's payload, or <c>null</c> where its checksum is wrong.</summary>
    private byte[]? Payload(long at, int length)
    {
        var record = new byte[KeyBytes + 4 + length + SumBytes];
        file.Flush();
        RandomAccess.Read(file.SafeFileHandle, record, at);
        return SHA256.HashData(record.AsSpan(0, record.Length - SumBytes)).AsSpan(0, SumBytes).SequenceEqual(record.AsSpan(record.Length - SumBytes)) ? record[(KeyBytes + 4)..^SumBytes] : null;
    }

    private static byte[] Pack(StoredSignal signal)
    {
        using var packed = new MemoryStream();
        using (var writer = new DeflateStream(packed, CompressionLevel.Optimal))
        {
            writer.Write(MemoryMarshal.AsBytes<float>(signal.Labels));
            if (signal.Kind == SignalKind.Full) writer.Write(MemoryMarshal.AsBytes<float>(signal.Logprobs));
            else
            {
                writer.Write(MemoryMarshal.AsBytes<float>(signal.Tails));
                writer.Write(MemoryMarshal.AsBytes<int>(signal.Ids));                       // small numbers: their upper bytes cost nothing when packed
                writer.Write(MemoryMarshal.AsBytes<Half>(Array.ConvertAll(signal.Logprobs, l => (Half)l)));
            }
        }
        return packed.ToArray();
    }

    private StoredSignal Unpack(byte[] payload, int length)
    {
        using var reader = new DeflateStream(new MemoryStream(payload), CompressionMode.Decompress);
        T[] Next<T>(int count) where T : unmanaged
        {
            var values = new T[count];
            reader.ReadExactly(MemoryMarshal.AsBytes(values.AsSpan()));
            return values;
        }
        var labels = Next<float>(length);
        if (header.Kind == SignalKind.Full) return new(SignalKind.Full, header.Width, [], Next<float>(length * header.Width), [], labels);
        var tails = Next<float>(length);
        var ids = Next<int>(length * header.Width);
        return new(SignalKind.TopK, header.Width, ids, Array.ConvertAll(Next<Half>(length * header.Width), h => (float)h), tails, labels);
    }
}
