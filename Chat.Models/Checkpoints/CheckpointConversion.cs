using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Chat.Models.Architectures;
using Chat.Models.Tokenizers;

namespace Chat.Models.Checkpoints;

/// <summary>
/// Published PyTorch checkpoints into model folders with safetensors: a Hugging Face folder (<c>pytorch_model.bin</c>, or the shards of its index), or EVA's Megatron files
/// (<c>mp_rank_NN_model_states.pt</c>), whose model-parallel parts are merged and whose weights get the Hugging Face names. Nothing in the files is run. Numbers and types stay as they are.
/// </summary>
public static partial class CheckpointConversion
{
    private const string HuggingFaceFile = "pytorch_model.bin", HuggingFaceIndex = HuggingFaceFile + ".index.json", Iteration = "latest_checkpointed_iteration.txt";
    private static readonly string[] Copied = [ModelFolder.ConfigFileName, ModelFolder.CardFileName, TokenizerFiles.HuggingFace, TokenizerFiles.Vocabulary, "generation_config.json", ChatFormat.ConfigFileName, ChatFormat.TemplateFileName, "merges.txt", "vocab.json", "special_tokens_map.json"];

    /// <summary>Writes the folder <paramref name="to"/>, which must not be there yet and appears only when its weights are complete, of the right shapes and finite.</summary>
    /// <param name="config">Of Megatron files, which have none: the published <c>eva2.0_…_model_config.json</c>. <c>null</c> = the folder's <c>config.json</c>.</param>
    /// <param name="vocabulary">Of Megatron files: the published <c>vocab.txt</c>. <c>null</c> = the folder's.</param>
    /// <returns>How many tensors were written.</returns>
    /// <exception cref="CheckpointException">What is wrong with the files; see <see cref="CheckpointErrors"/>.</exception>
    /// <exception cref="IOException">The folder is there already, or cannot be written.</exception>
    public static int Convert(string from, string to, string? config = null, string? vocabulary = null)
    {
        if (!Directory.Exists(from)) throw new CheckpointException(CheckpointErrors.MissingFile, $"There is no folder {from}.");
        if (Path.Exists(to)) throw new IOException($"{to} is there already: name a folder that is not.");
        var part = Path.TrimEndingDirectorySeparator(to) + ".part";
        if (Directory.Exists(part)) Directory.Delete(part, recursive: true);      // of a conversion that was killed: its files would become this one's
        var made = Directory.CreateDirectory(part);
        var files = new List<TorchFile>();
        try
        {
            foreach (var name in Copied.Where(name => File.Exists(Path.Combine(from, name)))) File.Copy(Path.Combine(from, name), Path.Combine(made.FullName, name), overwrite: true);
            var parts = MegatronParts(from);
            List<UnwrittenTensor> tensors;
            if (parts.Count > 0)
            {
                files.AddRange(parts.Select(TorchFile.Open));
                var merged = MegatronMerge.Merge(files);
                WriteConfig(made.FullName, merged, config ?? Path.Combine(from, ModelFolder.ConfigFileName), vocabulary ?? Path.Combine(from, TokenizerFiles.Vocabulary));
                tensors = MegatronMerge.ToHuggingFace(merged, EncoderDecoderConfig.Load(Path.Combine(made.FullName, ModelFolder.ConfigFileName)));
            }
            else
            {
                tensors = HuggingFaceTensors(from, files);
            }
            SafetensorsWriter.Write(Path.Combine(made.FullName, Checkpoint.SingleFile), tensors, new Dictionary<string, string> { ["format"] = "pt" });
            ModelFamilies.Check(made.FullName);
            Directory.Move(made.FullName, to);
            return tensors.Count;
        }
        finally
        {
            files.ForEach(file => file.Dispose());
            if (Directory.Exists(made.FullName)) made.Delete(recursive: true);
        }
    }

    /// <summary>The folder's files of all model-parallel ranks, in the ranks' order; those of the newest iteration where the folder has several.</summary>
    private static List<string> MegatronParts(string from)
    {
        var marker = Path.Combine(from, Iteration);
        var folder = File.Exists(marker) ? Path.Combine(from, File.ReadAllText(marker).Trim() is var name && IterationName().IsMatch(name) ? name
            : throw new CheckpointException(CheckpointErrors.PathTraversal, $"{Iteration} names '{name}', which is no folder of an iteration.")) : from;
        var ranks = Directory.Exists(folder) ? Directory.EnumerateFiles(folder).Select(path => (Path: path, Rank: RankName().Match(Path.GetFileName(path)))).Where(file => file.Rank.Success)
            .Select(file => (file.Path, Rank: int.Parse(file.Rank.Groups[1].ValueSpan, CultureInfo.InvariantCulture))).OrderBy(file => file.Rank).ToList() : [];
        for (var i = 0; i < ranks.Count; i++)
            if (ranks[i].Rank != i) throw new CheckpointException(CheckpointErrors.MissingFile, $"{folder} has ranks {string.Join(", ", ranks.Select(rank => rank.Rank))}: the file of rank {i} is missing.");
        return [.. ranks.Select(rank => rank.Path)];
    }

    private static List<UnwrittenTensor> HuggingFaceTensors(string from, List<TorchFile> files)
    {
        var index = Path.Combine(from, HuggingFaceIndex);
        var names = File.Exists(Path.Combine(from, HuggingFaceFile)) ? [HuggingFaceFile] : File.Exists(index) ? Checkpoint.WeightMap(index).Values.Distinct().Order(StringComparer.Ordinal).ToArray()
            : throw new CheckpointException(CheckpointErrors.MissingFile, $"{from} has neither {HuggingFaceFile}, nor {HuggingFaceIndex}, nor mp_rank_00_model_states.pt or {Iteration}: no PyTorch checkpoint that is known here.");
        foreach (var name in names) Checkpoint.CheckPlainName(name);
        var tensors = new Dictionary<string, UnwrittenTensor>(StringComparer.Ordinal);
        foreach (var name in names)
        {
            var file = TorchFile.Open(Path.Combine(from, name));
            files.Add(file);
            foreach (var (key, tensor) in file.Tensors)
                if (!tensors.TryAdd(key, new UnwrittenTensor(key, tensor.Dtype, tensor.Shape, target => target.Write(file.Read(tensor)))))
                    throw new CheckpointException(CheckpointErrors.DuplicateKey, $"'{key}' stands in {name} and in another file.");
        }
        return [.. tensors.Values];
    }

    /// <summary>EVA's published configuration has no vocabulary size and no special ids: they come from the weights and the vocabulary.</summary>
    private static void WriteConfig(string to, Dictionary<string, MergedTensor> merged, string config, string vocabulary)
    {
        if (!File.Exists(config)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{config} is missing. Megatron files have no configuration: name the published one with --config, for instance eva2.0_base_model_config.json.");
        if (!File.Exists(vocabulary)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{vocabulary} is missing. Megatron files have no vocabulary: name the published one with --vocab.");
        var tokenizer = EvaTokenizer.Load(vocabulary);
        File.Copy(vocabulary, Path.Combine(to, TokenizerFiles.Vocabulary), overwrite: true);
        JsonObject json;
        try
        {
            json = JsonNode.Parse(File.ReadAllBytes(config)) as JsonObject ?? throw new JsonException("it is not an object");
        }
        catch (JsonException error)
        {
            throw new CheckpointException(CheckpointErrors.BadConfig, $"{config} is not JSON: {error.Message}", error);
        }
        if (!merged.TryGetValue("word_embeds.weight", out var embedding)) throw new CheckpointException(CheckpointErrors.MissingTensor, "The weights have no tensor 'word_embeds.weight': these are no Megatron files of EVA.");
        if (embedding.Shape[0] < tokenizer.VocabularySize)
            throw new CheckpointException(CheckpointErrors.ShapeMismatch, $"The weights have {embedding.Shape[0]} embeddings, {vocabulary} has {tokenizer.VocabularySize} entries: it is another model's, or files of further ranks are missing.");
        json["model_type"] = ModelFamilies.Eva;
        json["architectures"] = new JsonArray("EVAModel");
        json["vocab_size"] = embedding.Shape[0];
        json["pad_token_id"] = tokenizer.Special.Pad;
        json["eos_token_id"] = tokenizer.Special.Separator;
        json["bos_token_id"] = tokenizer.Special.Start;
        json["decoder_start_token_id"] = tokenizer.Special.Start;
        File.WriteAllText(Path.Combine(to, ModelFolder.ConfigFileName), json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
    }

    [GeneratedRegex(@"^\w+$")]
    private static partial Regex IterationName();

    [GeneratedRegex(@"^mp_rank_(\d{1,4})_model_states\.pt$")]
    private static partial Regex RankName();
}
