using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Kernels;

namespace Chat.Benchmarks.Serving;

/// <summary>A model folder's engine in this process: reading, scheduler, sampling, text, and no server around it. What a server takes more than this is the server's.</summary>
internal sealed class EngineTarget : ITarget
{
    private readonly Team team;
    private readonly InProcessChatModels models;

    public EngineTarget(string folder, int rows, int threads)
    {
        team = new(threads);
        models = new([ServedModel.OnKernels(ModelFolder.Open(folder), WeightFormat.Int8, team)], new(new PluginCatalog(typeof(IDecodingStrategy).Assembly)), null, new() { Rows = rows }, TimeProvider.System, () => 0);
    }

    public async Task<Exchange> AskAsync(Question question, Func<double> seconds, CancellationToken cancellation)
    {
        var words = new List<double>();
        var start = seconds();
        try
        {
            var request = new GenerationRequest
            {
                RequestId = "", Model = models.Models[0].Id, Messages = [new(ChatRole.User, question.Text)],
                Decoding = new JsonObject { ["seed"] = question.Seed, ["minTokens"] = question.MinTokens, ["maxTokens"] = question.MaxTokens },
            };
            await foreach (var chunk in models.GenerateAsync(request, cancellation))
            {
                if (chunk.Text.Length > 0) words.Add(seconds());
                if (chunk.End is { } end) return new(start, words, end.PromptTokens, end.CompletionTokens);
            }
            return new(start, words, 0, 0, "The stream ended without an end.");
        }
        catch (GenerationException error)
        {
            return new(start, words, 0, 0, error.Message);
        }
    }

    public ValueTask DisposeAsync()
    {
        models.Dispose();
        team.Dispose();
        return ValueTask.CompletedTask;
    }
}
