using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;

namespace Chat.Models.Gguf;

/// <summary>A byte-level tokenizer in GGUF's keys. llama.cpp knows ways of splitting by name only, so a pattern that has no name there is refused: ids would be quietly wrong.</summary>
internal static class GgufVocabulary
{
    private const int Normal = 1, Control = 3, UserDefined = 4, Unused = 5;

    private static readonly Dictionary<string, string> SplittingNames = new()
    {
        [TextSplitter.Gpt2] = "gpt-2",
        [@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"] = "llama-bpe",
        [@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"] = "qwen2",
    };

    /// <exception cref="CheckpointException"><c>unsupported</c>: the format has no words for this tokenizer.</exception>
    public static void Add(GgufWriter file, TokenizerJson tokenizer, DecoderConfig config, string? chatTemplate)
    {
        if (tokenizer.Splitters is not [var splitter] || !SplittingNames.TryGetValue(splitter.Pattern, out var name))
            throw new CheckpointException(CheckpointErrors.Unsupported, $"GGUF has no name for this tokenizer's way of splitting. Known: {string.Join(", ", SplittingNames.Values)}.");
        if (tokenizer.PrefixSpace) throw new CheckpointException(CheckpointErrors.Unsupported, "GGUF has no word for add_prefix_space.");

        var (tokens, types) = (new string[config.VocabularySize], new int[config.VocabularySize]);
        foreach (var (written, id) in tokenizer.Vocabulary) Set(id, written, Normal);
        foreach (var token in tokenizer.Surroundings.Added) Set(token.Id, token.Content, token.Special ? Control : UserDefined);
        for (var id = 0; id < tokens.Length; id++)
            if (tokens[id] is null) (tokens[id], types[id]) = ($"[PAD{id}]", Unused);

        file.Add("tokenizer.ggml.model", "gpt2");
        file.Add("tokenizer.ggml.pre", name);
        file.Add("tokenizer.ggml.tokens", tokens);
        file.Add("tokenizer.ggml.token_type", types);
        file.Add("tokenizer.ggml.merges", tokenizer.Merges);
        file.Add("tokenizer.ggml.add_bos_token", tokenizer.Surroundings.Before.Count > 0);
        if (config.Start is { } start) file.Add("tokenizer.ggml.bos_token_id", start);
        if (config.Ends is [var end, ..]) file.Add("tokenizer.ggml.eos_token_id", end);
        if (chatTemplate is not null) file.Add("tokenizer.chat_template", chatTemplate);

        void Set(int id, string text, int type) => (tokens[id], types[id]) = id < tokens.Length ? (text, type)
            : throw new CheckpointException(CheckpointErrors.BadConfig, $"tokenizer.json has the id {id}, the model only {tokens.Length} tokens.");
    }
}
