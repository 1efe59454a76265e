namespace Chat.IntegrationTests.Training;

/// <summary>Trainings take the processors for themselves; tests with users who wait run before them.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;
