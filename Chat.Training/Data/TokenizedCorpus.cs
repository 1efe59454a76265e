using System.Runtime.InteropServices;
using Chat.Models.Checkpoints;
using Chat.Training.Tokenization;

namespace Chat.Training.Data;

/// <summary>
/// A corpus as token ids in three flat arrays: tokens, where each turn ends in them, where each document ends in the turns; with it,
/// which turns answer another speaker. Immutable, so any number of readers may share it.
/// </summary>
public sealed class TokenizedCorpus
{
    private const uint Format = 0x31435443;

    private readonly ushort[] tokens;
    private readonly int[] turnEnds;
    private readonly int[] documentEnds;
    private readonly byte[] replies;

    private TokenizedCorpus(ushort[] tokens, int[] turnEnds, int[] documentEnds, byte[] replies) =>
        (this.tokens, this.turnEnds, this.documentEnds, this.replies) = (tokens, turnEnds, documentEnds, replies);

    public int Documents => documentEnds.Length;
    public int Tokens => tokens.Length;

    /// <summary>Numbers of the document's turns, for <see cref="Turn"/>.</summary>
    public (int First, int End) Turns(int document) => (document == 0 ? 0 : documentEnds[document - 1], documentEnds[document]);

    public ReadOnlySpan<ushort> Turn(int turn)
    {
        var start = turn == 0 ? 0 : turnEnds[turn - 1];
        return tokens.AsSpan(start, turnEnds[turn] - start);
    }

    /// <summary>Whether the turn answers another speaker.</summary>
    public bool IsReply(int turn) => replies[turn] != 0;

    public static TokenizedCorpus Encode(IEnumerable<Document> documents, BytePairEncoder encoder)
    {
        if (encoder.VocabularySize > ushort.MaxValue + 1) throw new ArgumentException($"{encoder.VocabularySize} tokens do not fit 16 bits.", nameof(encoder));
        List<ushort> tokens = [];
        List<int> turnEnds = [], documentEnds = [], ids = [];
        List<byte> replies = [];
        foreach (var document in documents)
        {
            var answering = document.Replies().ToHashSet();
            for (var i = 0; i < document.Turns.Count; i++)
            {
                ids.Clear();
                encoder.Encode(document.Turns[i], ids);
                foreach (var id in ids) tokens.Add((ushort)id);
                turnEnds.Add(tokens.Count);
                replies.Add(answering.Contains(i) ? (byte)1 : (byte)0);
            }
            documentEnds.Add(turnEnds.Count);
        }
        return new TokenizedCorpus([.. tokens], [.. turnEnds], [.. documentEnds], [.. replies]);
    }

    public void Save(string path) => WholeFile.Write(path, part =>
    {
        using var writer = new BinaryWriter(File.Create(part));
        writer.Write(Format);
        writer.Write(tokens.Length);
        writer.Write(turnEnds.Length);
        writer.Write(documentEnds.Length);
        writer.Write(MemoryMarshal.AsBytes(tokens.AsSpan()));
        writer.Write(MemoryMarshal.AsBytes(turnEnds.AsSpan()));
        writer.Write(MemoryMarshal.AsBytes(documentEnds.AsSpan()));
        writer.Write(replies);
    });

    /// <exception cref="InvalidDataException">Not such a file, or cut short.</exception>
    public static TokenizedCorpus Load(string path)
    {
        using var reader = new BinaryReader(File.OpenRead(path));
        if (reader.BaseStream.Length < 16 || reader.ReadUInt32() != Format) throw new InvalidDataException($"{path} is not a tokenized corpus.");
        var (tokens, turns, documents) = (reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32());
        if (tokens < 0 || turns < 0 || documents < 0 || reader.BaseStream.Length != 16L + 2L * tokens + 5L * turns + 4L * documents)
            throw new InvalidDataException($"{path} is cut short or corrupt; delete it, it is made again.");
        var corpus = new TokenizedCorpus(new ushort[tokens], new int[turns], new int[documents], new byte[turns]);
        reader.BaseStream.ReadExactly(MemoryMarshal.AsBytes(corpus.tokens.AsSpan()));
        reader.BaseStream.ReadExactly(MemoryMarshal.AsBytes(corpus.turnEnds.AsSpan()));
        reader.BaseStream.ReadExactly(MemoryMarshal.AsBytes(corpus.documentEnds.AsSpan()));
        reader.BaseStream.ReadExactly(corpus.replies);
        return corpus;
    }
}
