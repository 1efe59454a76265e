using Chat.Models.Modules;
using Chat.Tests.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Modules;

public class RelativePositionsTests
{
    [Fact]
    public void Far_distances_share_buckets_from_the_published_borders_on()
    {
        Assert.Equal([8, 12, 16, 23, 32, 46, 64, 91], Borders(bidirectional: true, least: 8));
        Assert.Equal([16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113], Borders(bidirectional: false, least: 16));

        static int[] Borders(bool bidirectional, int least)
        {
            int Bucket(int distance) => RelativePositions.Bucket(-distance, 32, bidirectional);
            return [.. Enumerable.Range(1, 300).Where(distance => Bucket(distance) >= least && Bucket(distance) != Bucket(distance - 1))];
        }
    }

    [Fact]
    public void Keys_after_the_query_have_the_other_half_or_none()
    {
        for (var distance = 1; distance < 300; distance++)
        {
            Assert.Equal(RelativePositions.Bucket(-distance, 32, true) + 16, RelativePositions.Bucket(distance, 32, true));
            Assert.Equal(0, RelativePositions.Bucket(distance, 32, false));
        }
        Assert.DoesNotContain(16, Enumerable.Range(-300, 601).Select(offset => RelativePositions.Bucket(offset, 32, true)));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_bias_is_the_tables_entry_of_each_pair(bool bidirectional)
    {
        using var scope = NewDisposeScope();
        var table = nn.Embedding(16, 2);
        var weight = table.weight!.Floats();
        var bias = RelativePositions.Bias(table, bidirectional, [0, 5], targets: 3, sources: 9).Floats();
        var at = 0;
        foreach (var start in new[] { 0, 5 })
            for (var head = 0; head < 2; head++)
                for (var query = start; query < start + 3; query++)
                    for (var key = 0; key < 9; key++, at++)
                    {
                        var expected = weight[RelativePositions.Bucket(key - query, 16, bidirectional) * 2 + head] + (!bidirectional && key > query ? RelativePositions.Hidden : 0);
                        Assert.Equal(expected, bias[at]);
                    }
        Assert.Equal(bias.Length, at);
    }
}
