namespace Chat.Models.Templates;

/// <summary>A chat template that cannot be read or rendered, or that ended its rendering itself. The message names the line.</summary>
public sealed class TemplateException(string message, Exception? inner = null) : Exception(message, inner)
{
    internal static TemplateException At(int line, string message) => new($"Chat template, line {line}: {message}");
}
