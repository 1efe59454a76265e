using Chat.Api.Hosts.Wire;
using Chat.Domain.Generation;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Tokenizers;
using Google.Protobuf;
using Grpc.Core;

namespace Chat.Api.Hosts;

/// <summary>model_host.proto over the models of this process.</summary>
internal sealed class ModelHostService(InProcessChatModels models, HostWork work, HostFolders folders, ILogger<ModelHostService> logger) : ModelHost.ModelHostBase
{
    private const int LongestWait = 3600, LargestPart = 1 << 20;

    public override async Task Generate(GenerateRequest request, IServerStreamWriter<GenerateChunk> responseStream, ServerCallContext context)
    {
        var generation = WireForms.Read(request);
        RefuseOtherContent(request.Model, request.ModelHash);
        using var running = work.Begin(request.Model);
        await foreach (var chunk in models.GenerateAsync(generation, context.CancellationToken))
            await responseStream.WriteAsync(WireForms.Write(chunk), context.CancellationToken);
    }

    public override async Task Score(ScoreRequest request, IServerStreamWriter<Wire.ScoredToken> responseStream, ServerCallContext context)
    {
        RefuseOtherContent(request.Model, request.ModelHash);
        using var running = work.Begin(request.Model);
        foreach (var scored in await models.ScoreAsync(WireForms.Read(request), context.CancellationToken))
            await responseStream.WriteAsync(WireForms.Write(scored), context.CancellationToken);
    }

    public override async Task Draw(DrawRequest request, IServerStreamWriter<Wire.DrawnToken> responseStream, ServerCallContext context)
    {
        RefuseOtherContent(request.Model, request.ModelHash);
        using var running = work.Begin(request.Model);
        foreach (var drawn in await models.DrawAsync(WireForms.Read(request), context.CancellationToken))
            await responseStream.WriteAsync(new() { Id = drawn.Id, Logprob = drawn.Logprob }, context.CancellationToken);
    }

    public override async Task Vocabulary(VocabularyRequest request, IServerStreamWriter<VocabularyPart> responseStream, ServerCallContext context)
    {
        RefuseOtherContent(request.Model, request.ModelHash);
        var (part, size) = (new VocabularyPart(), 0);
        var model = models.ModelOf(request.Model);
        foreach (var (id, (name, isSpecial)) in VocabularyNames.Of(model.Tokenizer, model.Tokens.Count).Index())
        {
            part.Tokens.Add(ByteString.CopyFrom(name));
            if (isSpecial) part.Special.Add(id);
            size += name.Length + 16;                                                      // its place and its lengths, generously
            if (size < LargestPart) continue;
            await responseStream.WriteAsync(part, context.CancellationToken);
            (part, size) = (new(), 0);
        }
        if (size > 0) await responseStream.WriteAsync(part, context.CancellationToken);
    }

    public override async Task<Wire.ServedModel> Load(LoadRequest request, ServerCallContext context)
    {
        try
        {
            var description = await folders.LoadAsync(request.Hash, context.CancellationToken);
            logger.LogInformation("Loaded {Model}, content {Hash}", description.Id, description.Hash);
            return Describe(models.Offers.First(o => o.Model.Description.Hash == description.Hash));
        }
        catch (CheckpointException e) { throw new RpcException(new(StatusCode.DataLoss, e.Message)); }
        catch (ArgumentException e) { throw new RpcException(new(StatusCode.FailedPrecondition, e.Message)); }
    }

    public override async Task<UnloadReply> Unload(UnloadRequest request, ServerCallContext context)
    {
        models.Check(request.Model, null);     // an unknown one is an error
        work.Close(request.Model);
        try
        {
            var left = await work.IdleAsync(request.Model, Wait(request.WaitSeconds), context.CancellationToken);
            await models.UnloadAsync(request.Model);
            logger.LogInformation("Unloaded {Model}, {Count} requests broken off", request.Model, left);
            return new() { BrokenOff = left };
        }
        finally
        {
            work.Open(request.Model);
        }
    }

    public override async Task<DrainReply> Drain(DrainRequest request, ServerCallContext context)
    {
        work.Drain();
        var left = await work.IdleAsync(null, Wait(request.WaitSeconds), context.CancellationToken);
        logger.LogInformation("Drained, {Count} requests still run", left);
        return new() { Active = left };
    }

    public override Task<UndrainReply> Undrain(UndrainRequest request, ServerCallContext context)
    {
        work.Undrain();
        logger.LogInformation("Takes new requests again");
        return Task.FromResult(new UndrainReply());
    }

    public override async Task<PinState> Pin(PinRequest request, ServerCallContext context)
    {
        try
        {
            var pinned = await models.PinAsync(request.Model, request.Name, request.SystemPrompt, context.CancellationToken);
            logger.LogInformation("Pinned {Name} for {Model}, {Tokens} tokens", request.Name, request.Model, pinned.Kept.Tokens);
            return WireForms.Write(HeldPin.Of(pinned));
        }
        catch (PinException e) { throw new RpcException(new(StatusCode.FailedPrecondition, e.Message)); }
    }

    public override async Task<UnpinReply> Unpin(UnpinRequest request, ServerCallContext context)
    {
        try
        {
            var found = await models.UnpinAsync(request.Model, request.Name);
            if (found) logger.LogInformation("Unpinned {Name} of {Model}", request.Name, request.Model);
            return new() { Found = found };
        }
        catch (PinException e) { throw new RpcException(new(StatusCode.FailedPrecondition, e.Message)); }
    }

    public override Task<StatusReply> Status(StatusRequest request, ServerCallContext context)
    {
        var status = new StatusReply { Draining = work.IsDraining };
        status.Models.AddRange(models.Offers.Select(Describe));
        return Task.FromResult(status);
    }

    private Wire.ServedModel Describe((Models.Engine.ServedModel Model, DecodingLimits Limits, EngineLoad Load) offer)
    {
        var description = offer.Model.Description;
        var written = WireForms.Write(new HostOffer(description, offer.Limits, offer.Load, [.. models.Pins(description.Id).Select(HeldPin.Of)]), work.Active(description.Id));
        (written.Weights, written.Draws) = (offer.Model.Weights.ToString().ToLowerInvariant(), true);
        return written;
    }

    private void RefuseOtherContent(string model, string hash)
    {
        if (hash.Length > 0 && models.Models.FirstOrDefault(m => m.Id == model) is { } served && served.Hash != hash)
            throw new RpcException(new(StatusCode.FailedPrecondition, $"The model '{model}' is served here with the content {served.Hash}."));
    }

    private static TimeSpan Wait(int seconds) => seconds is >= 0 and <= LongestWait ? TimeSpan.FromSeconds(seconds)
        : throw new GenerationException(GenerationError.InvalidOption, $"wait_seconds must be from 0 to {LongestWait}, not {seconds}.", "wait_seconds");
}
