namespace Chat.Tests.Training;

/// <summary>Tests whose dropout masks come from torch's own random stream, of which a process has one: nothing runs beside them.</summary>
[CollectionDefinition(nameof(SerialTorch), DisableParallelization = true)]
public sealed class SerialTorch;
