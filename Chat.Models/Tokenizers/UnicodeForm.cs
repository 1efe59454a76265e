using System.Text;

namespace Chat.Models.Tokenizers;

/// <summary>Unicode normalization of any text. .NET refuses U+FFFE, which people may send and which every form leaves as it is.</summary>
internal static class UnicodeForm
{
    /// <param name="text">Without halves of surrogate pairs, which .NET refuses too.</param>
    public static string Of(string text, NormalizationForm form) =>
        text.Contains('\ufffe') ? string.Join('\ufffe', text.Split('\ufffe').Select(part => part.Normalize(form))) : text.Normalize(form);
}
