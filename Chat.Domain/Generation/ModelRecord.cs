namespace Chat.Domain.Generation;

/// <summary>A model that this installation has served or made, by the content of its folder. Never changed.</summary>
public sealed record ModelRecord(ModelDescription Model, DateTimeOffset RegisteredAt);
