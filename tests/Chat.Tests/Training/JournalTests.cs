using System.Buffers.Binary;
using System.Text;
using Chat.Training.Methods;
using Chat.Training.Objectives;

namespace Chat.Tests.Training;

public sealed class JournalTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("events-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Fact]
    public void TensorBoards_records_hold_what_the_journal_says()
    {
        using (var log = new TensorBoardLog(root, 7, new StandingClock()))
            log.Write(new(8, "answer", Loss: 2.5, Parts: new Dictionary<string, double> { ["reward"] = -0.75 }));

        var data = File.ReadAllBytes(Assert.Single(Directory.GetFiles(root, "events.out.tfevents.*")));
        var records = new List<byte[]>();
        for (var at = 0; at < data.Length;)
        {
            var length = (int)BinaryPrimitives.ReadInt64LittleEndian(data.AsSpan(at));
            Assert.Equal(TensorBoardLog.MaskedSum(data.AsSpan(at, 8)), BinaryPrimitives.ReadUInt32LittleEndian(data.AsSpan(at + 8)));
            records.Add(data[(at + 12)..(at + 12 + length)]);
            Assert.Equal(TensorBoardLog.MaskedSum(records[^1]), BinaryPrimitives.ReadUInt32LittleEndian(data.AsSpan(at + 12 + length)));
            at += 16 + length;
        }
        byte[] Opening(byte step) => [0x09, .. BitConverter.GetBytes(1_700_000_000.0), 0x10, step];
        byte[] Scalar(string name, float value)
        {
            byte[] scalar = [0x0A, (byte)name.Length, .. Encoding.UTF8.GetBytes(name), 0x15, .. BitConverter.GetBytes(value)];
            return [0x0A, (byte)scalar.Length, .. scalar];
        }
        byte[] summary = [.. Scalar("answer/loss", 2.5f), .. Scalar("answer/part/reward", -0.75f)];
        Assert.Equal([.. Opening(0), 0x1A, 13, .. "brain.Event:2"u8], records[0]);
        Assert.Equal([.. Opening(7), 0x3A, 2, 0x08, 1], records[1]);                         // what follows replaces step 7 and later
        Assert.Equal([.. Opening(8), 0x2A, (byte)summary.Length, .. summary], records[2]);
    }

    [Fact]
    public void The_checksum_is_TFRecords() => Assert.Equal(0xA282EAD8u + RotatedCheck(), TensorBoardLog.MaskedSum("123456789"u8));

    /// <summary>CRC-32C of «123456789» is E3069283 by its definition.</summary>
    private static uint RotatedCheck() => (0xE3069283u >> 15) | (0xE3069283u << 17);

    [Theory]
    [InlineData(4, 0.9, "tokens a reply went from 12"), InlineData(30, 0.9, "tokens a reply went from 12"), InlineData(12, 0.2, "different 4-grams went from 0.9")]
    public void Replies_that_collapse_ring_once(double length, double distinct, string reason)
    {
        var alarm = new DegenerationAlarm();
        for (var i = 0; i < 300; i++) Assert.Null(alarm.Hear(i % 5 == 0 ? 40 : 5, 0.9));       // 12 on average
        alarm = new(alarm.State);
        var rang = Enumerable.Range(0, 200).Select(_ => alarm.Hear(length, distinct)).OfType<string>().ToArray();

        Assert.Contains(reason, Assert.Single(rang), StringComparison.Ordinal);
    }

    [Fact]
    public void Different_four_grams_are_counted_over_all_replies()
    {
        Assert.Equal(1, DegenerationAlarm.Distinct([[1, 2, 3]]));
        Assert.Equal(0.5, DegenerationAlarm.Distinct([[1, 2, 3, 4], [1, 2, 3, 4]]));
        Assert.Equal(0.75, DegenerationAlarm.Distinct([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]]));
    }

    private sealed class StandingClock : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => DateTimeOffset.FromUnixTimeSeconds(1_700_000_000);
    }
}
