using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace Chat.Training.Methods;

/// <summary>
/// Writes a run's figures as TensorBoard reads them: records of (length, masked CRC-32C, an Event message, masked CRC-32C). Each start writes a file of its own and says from which step on
/// it holds, so that steps made again after a kill are shown once.
/// </summary>
public sealed class TensorBoardLog : IDisposable
{
    private const uint Mask = 0xA282EAD8;
    private readonly FileStream file;
    private readonly TimeProvider time;

    /// <param name="firstStep">Figures of this step and later ones that other files of the folder have are void.</param>
    public TensorBoardLog(string folder, long firstStep, TimeProvider time)
    {
        this.time = time;
        Directory.CreateDirectory(folder);
        file = new(Path.Combine(folder, $"events.out.tfevents.{time.GetUtcNow().ToUnixTimeSeconds()}.{Environment.ProcessId}.{firstStep}"), FileMode.Create, FileAccess.Write, FileShare.Read);
        Write(0, text => text.Bytes(3, "brain.Event:2"u8));
        Write(firstStep, log => log.Message(7, start => start.Integer(1, 1)));                          // SessionLog, START
    }

    /// <summary>A line of the journal: each figure under a name of its own.</summary>
    public void Write(JournalEntry entry)
    {
        var figures = new List<(string Name, double Value)>();
        void Add(string name, double? value)
        {
            if (value is { } number) figures.Add((name, number));
        }
        Add("loss", entry.Loss);
        Add("gradient norm", entry.GradientNorm);
        Add("learning rate", entry.LearningRate);
        Add("tokens per second", entry.TokensPerSecond);
        Add("replies/rouge-l", entry.Replies?.RougeL);
        Add("replies/dist-4", entry.Replies?.Distinct4);
        Add("replies/length", entry.Replies?.Length);
        Add("seconds/sampling", entry.Seconds?.Sampling);
        Add("seconds/teacher", entry.Seconds?.Teacher);
        foreach (var (group, values) in new[] { ("part", entry.Parts), ("held out", entry.Validation), ("context gain", entry.ContextGain) })
            foreach (var (name, value) in values ?? new Dictionary<string, double>()) Add($"{group}/{name}", value);
        Write(entry.Step, message => message.Message(5, summary =>
        {
            foreach (var (name, value) in figures)
                summary.Message(1, scalar =>
                {
                    scalar.Bytes(1, Encoding.UTF8.GetBytes($"{entry.Stage}/{name}"));
                    scalar.Single(2, (float)value);
                });
        }));
        file.Flush();
    }

    public void Dispose() => file.Dispose();

    private void Write(long step, Action<WireMessage> content)
    {
        var message = new WireMessage();
        message.Double(1, time.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0);
        message.Integer(2, step);
        content(message);
        var data = message.ToArray();
        Span<byte> head = stackalloc byte[12], sum = stackalloc byte[4];
        BinaryPrimitives.WriteInt64LittleEndian(head, data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(head[8..], MaskedSum(head[..8]));
        BinaryPrimitives.WriteUInt32LittleEndian(sum, MaskedSum(data));
        file.Write(head);
        file.Write(data);
        file.Write(sum);
    }

    /// <summary>TFRecord's checksum.</summary>
    internal static uint MaskedSum(ReadOnlySpan<byte> data)
    {
        var sum = uint.MaxValue;
        foreach (var value in data) sum = BitOperations.Crc32C(sum, value);
        sum = ~sum;
        return ((sum >> 15) | (sum << 17)) + Mask;
    }

    /// <summary>A protobuf message under way: the five kinds of field that an Event needs.</summary>
    private sealed class WireMessage
    {
        private readonly List<byte> bytes = [];

        public void Integer(int field, long value)
        {
            Variable((ulong)field << 3);
            Variable((ulong)value);
        }

        public void Double(int field, double value)
        {
            Variable(((ulong)field << 3) | 1);
            bytes.AddRange(BitConverter.GetBytes(value));
        }

        public void Single(int field, float value)
        {
            Variable(((ulong)field << 3) | 5);
            bytes.AddRange(BitConverter.GetBytes(value));
        }

        public void Bytes(int field, ReadOnlySpan<byte> value)
        {
            Variable(((ulong)field << 3) | 2);
            Variable((ulong)value.Length);
            bytes.AddRange(value);
        }

        public void Message(int field, Action<WireMessage> content)
        {
            var inner = new WireMessage();
            content(inner);
            Bytes(field, inner.ToArray());
        }

        public byte[] ToArray() => [.. bytes];

        private void Variable(ulong value)
        {
            for (; value >= 0x80; value >>= 7) bytes.Add((byte)(value | 0x80));
            bytes.Add((byte)value);
        }
    }
}
