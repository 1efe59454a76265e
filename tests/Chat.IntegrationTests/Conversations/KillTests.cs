namespace Chat.IntegrationTests.Conversations;

// Two classes, so that the stores are tested side by side.
public sealed class KillOverGarnetTests() : KillTests(Store.Garnet);

public sealed class KillOverRedisTests() : KillTests(Store.Redis);

/// <summary>kill -9 right after an acknowledgement: nothing acknowledged is lost.</summary>
public abstract class KillTests(Store store)
{
    private const int Kills = 20;

    // The tiny model speaks letters; greedy and short, so that a reply is soon whole.
    private static readonly object Options = new { decoding = new { strategy = "greedy", maxTokens = 12 } };

    [Fact]
    public async Task What_was_acknowledged_survives_twenty_kills()
    {
        var folder = Directory.CreateTempSubdirectory("chat-kill-").FullName;
        await using var redis = store == Store.Redis ? await RedisServer.StartAsync() : null;
        var acknowledged = new List<(string Conversation, string Text, string? Reply, string ReplyText)>();
        try
        {
            for (var kill = 0; kill < Kills; kill++)
            {
                await using var process = await ChatProcess.StartAsync(folder, redis?.Configuration);
                await using var client = await process.ConnectAsync();
                if (kill > 0) await FindAsync(client, acknowledged[^1]);

                var conversation = await client.StartAsync();
                var text = $"message {kill}";
                var heard = new List<WireEvent>();
                // Killed at `started` now and at `finished` then.
                await foreach (var item in client.Send(conversation, "m", text, options: Options))
                {
                    heard.Add(item);
                    if (kill % 2 == 0 || item.Type == "finished")
                    {
                        process.Kill();
                        break;
                    }
                }
                acknowledged.Add((conversation, text, heard[^1].Type == "finished" ? heard[0].ReplyId : null, heard.Text()));
            }

            await using var survivor = await ChatProcess.StartAsync(folder, redis?.Configuration);
            await using var reader = await survivor.ConnectAsync();
            foreach (var sent in acknowledged) await FindAsync(reader, sent);
            await AnswerAgainAsync(reader, acknowledged[^2]);
            // The last life has ended whatever the others left running.
            await using var database = await StackExchange.Redis.ConnectionMultiplexer.ConnectAsync(redis?.Configuration ?? $"!{Path.Combine(folder, "store", "garnet.sock")}");
            await Until.TrueAsync(async () => !await database.GetDatabase().KeyExistsAsync("chat:running"));
            Assert.Equal(0, await survivor.EndAsync());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task FindAsync(ChatClient client, (string Conversation, string Text, string? Reply, string ReplyText) sent)
    {
        var turns = await client.HistoryAsync(sent.Conversation);
        Assert.Equal(("m", sent.Text), ((string)turns[0]["id"]!, (string)turns[0]["text"]!));
        if (sent.Reply is null) return;
        Assert.Equal((sent.Reply, sent.ReplyText), ((string)turns[1]["id"]!, (string)turns[1]["text"]!));
        Assert.Contains((string)turns[1]["state"]!, new[] { "stop", "length" });
    }

    /// <summary>A reply that died is replayed up to an error, and its message can be sent again.</summary>
    private static async Task AnswerAgainAsync(ChatClient client, (string Conversation, string Text, string? Reply, string ReplyText) sent)
    {
        var dead = (await client.HistoryAsync(sent.Conversation))[1];
        var replay = await client.Attach(sent.Conversation, (string)dead["id"]!, 0).AllAsync();
        var turn = (await client.HistoryAsync(sent.Conversation))[1];
        Assert.Equal(replay.Text(), (string)turn["text"]!);
        if (replay[^1].Type == "finished") return;      // it had been quicker than the kill

        Assert.Equal(("error", "interrupted"), (replay[^1].Type, (string)turn["state"]!));
        var again = await client.Send(sent.Conversation, "m", sent.Text, options: Options).AllAsync();
        Assert.Equal("finished", again[^1].Type);
        Assert.NotEqual((string)dead["id"]!, again[0].ReplyId);
    }
}
