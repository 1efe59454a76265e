using System.CommandLine;
using Chat.Models.Checkpoints;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>convert FOLDER</c>: published PyTorch checkpoints into model folders.</summary>
public sealed class ConvertCommand(IAnsiConsole console)
{
    public Command Create()
    {
        var folder = new Argument<DirectoryInfo>("folder") { Description = "Folder with pytorch_model.bin (or its index and shards), with mp_rank_00_model_states.pt, or with latest_checkpointed_iteration.txt beside the iterations' folders" };
        var to = new Option<DirectoryInfo>("--to") { Description = "Model folder to make; it must not be there yet", Required = true };
        var config = new Option<FileInfo>("--config") { Description = "Megatron files: the published configuration; config.json of the folder when left out" };
        var vocabulary = new Option<FileInfo>("--vocab") { Description = "Megatron files: the published vocabulary; vocab.txt of the folder when left out" };
        var command = new Command("convert", """
            Makes a model folder with safetensors of a published PyTorch checkpoint. Nothing in the files is run: a pickle that names anything but tensors is refused.

            A folder as Hugging Face has it (EVA2.0's Hugging Face branch, T5, BERT, GPT-2, Llama, Mistral, Qwen2, Qwen3):
              convert EVA2.0-base --to models/eva2-base
            EVA2.0's original files; model-parallel parts (mp_rank_00, mp_rank_01, …) are merged, names become those of the Hugging Face branch:
              convert eva2.0 --config EVA/src/configs/model/eva2.0_model_config.json --vocab EVA/bpe_dialog_new/vocab.txt --to models/eva2
            EVA1.0 needs its own configuration: it has the same weights by name, but no attention scale, and would answer nonsense with EVA2.0's.

            Then serve it: Models__Folder=models make run
            Memory: the largest tensor a few times; types and numbers stay as they are.
            """) { folder, to, config, vocabulary };
        command.SetAction(parse =>
        {
            var path = parse.GetValue(to)!.FullName;
            var count = CheckpointConversion.Convert(parse.GetValue(folder)!.FullName, path, parse.GetValue(config)?.FullName, parse.GetValue(vocabulary)?.FullName);
            console.MarkupLineInterpolated($"{path}: {count} tensors, hash {ModelFolder.Hash(path)}");
            return 0;
        });
        return command;
    }
}
