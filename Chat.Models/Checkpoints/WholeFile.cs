namespace Chat.Models.Checkpoints;

/// <summary>Files that appear under their name whole or not at all, also where the disk is full or the process dies.</summary>
public static class WholeFile
{
    /// <summary>Has a file written under another name beside it, and moves it to its own.</summary>
    /// <param name="write">Given the name to write to. What it throws leaves nothing behind.</param>
    public static void Write(string path, Action<string> write) => WriteAll((path, write));

    public static void WriteText(string path, string text) => Write(path, Text(text));

    /// <summary>Several files that tell of one thing: none is moved to its name before all are written, so that those of two writings are never mixed for want of room.</summary>
    public static void WriteAll(params (string Path, Action<string> Write)[] files)
    {
        try
        {
            foreach (var (path, write) in files) write(Part(path));
            foreach (var (path, _) in files) File.Move(Part(path), path, overwrite: true);
        }
        catch
        {
            foreach (var (path, _) in files) File.Delete(Part(path));
            throw;
        }
    }

    /// <summary>What writes a text, for <see cref="WriteAll"/>.</summary>
    public static Action<string> Text(string text) => part => File.WriteAllText(part, text);

    private static string Part(string path) => path + ".part";
}
