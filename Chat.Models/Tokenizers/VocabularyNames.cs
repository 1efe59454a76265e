using System.Text;

namespace Chat.Models.Tokenizers;

/// <summary>What a model's ids mean, for comparing vocabularies: a host tells it of its models and a worker of its own, and both must say the same of the same tokenizer.</summary>
public static class VocabularyNames
{
    /// <summary>What each id writes, from 0 on; special tokens have their names, and a row of scores that no token stands for has none.</summary>
    /// <param name="size">Scores of a row; a model may have more than tokens.</param>
    public static IEnumerable<(byte[] Name, bool IsSpecial)> Of(ITextTokenizer tokenizer, int size)
    {
        for (var id = 0; id < size; id++)
            yield return id >= tokenizer.VocabularySize ? ([], false)
                : tokenizer is HuggingFaceTokenizer named ? (named.RawBytes(id, first: false).ToArray(), named.IsSpecial(id))
                : tokenizer is EvaTokenizer eva ? (Encoding.UTF8.GetBytes(eva.Text([id])), eva.Bytes(id).IsEmpty)
                : (tokenizer.Bytes(id).ToArray(), tokenizer.Bytes(id).IsEmpty);
    }
}
