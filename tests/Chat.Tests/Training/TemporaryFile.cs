namespace Chat.Tests.Training;

/// <summary>A file that goes with the test.</summary>
internal sealed class TemporaryFile : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("test-");

    public TemporaryFile(string text)
    {
        Path = System.IO.Path.Combine(folder.FullName, "file.json");
        File.WriteAllText(Path, text);
    }

    public string Path { get; }

    public void Dispose() => folder.Delete(recursive: true);
}
