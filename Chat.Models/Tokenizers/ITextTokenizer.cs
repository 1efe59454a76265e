namespace Chat.Models.Tokenizers;

/// <summary>Text to ids and back. Thread-safe and immutable.</summary>
public interface ITextTokenizer
{
    int VocabularySize { get; }

    /// <summary>The special ids of the dialogue format (EVA: <c>&lt;s_0&gt;</c>, <c>&lt;sep&gt;</c>, <c>&lt;pad&gt;</c>, <c>&lt;unk&gt;</c>). <c>Separator</c> ends an utterance and a reply.</summary>
    SpecialTokens Special { get; }

    /// <summary>Ids of a plain text; special tokens in it are text like any other, so nobody can forge a turn.</summary>
    IReadOnlyList<int> Encode(string text);

    /// <summary>The UTF-8 bytes a token stands for (empty for special tokens). A character may be spread over several tokens.</summary>
    ReadOnlySpan<byte> Bytes(int id);

    /// <summary>The same where nothing with bytes stands before it: SentencePiece writes a blank before each word, and of the first one it is taken off.</summary>
    ReadOnlySpan<byte> FirstBytes(int id) => Bytes(id);
}

/// <summary>Ids of the dialogue format. A tokenizer that knows every text has no unknown token: its <c>Unknown</c> is its <c>Pad</c>, which no text has.</summary>
public sealed record SpecialTokens(int Start, int Separator, int Pad, int Unknown);
