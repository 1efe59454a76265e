namespace Chat.Models.Checkpoints;

/// <summary>Files that appear under their name whole or not at all, also where the disk is full or the process dies.</summary>
public static class WholeFile
{
    /// <summary>Has a file written under another name beside it, and moves it to its own.</summary>
    /// <param name="write">Given the name to write to. What it throws leaves nothing behind.</param>
    public static void Write(string path, Action<string> write)
    {
        var part = path + ".part";
        try
        {
            write(part);
            File.Move(part, path, overwrite: true);
        }
        catch
        {
            File.Delete(part);
            throw;
        }
    }

    public static void WriteText(string path, string text) => Write(path, part => File.WriteAllText(part, text));
}
