using Chat.Domain.Generation;

namespace Chat.Models.Engine;

/// <summary>What token ids of a request must be for a model, whatever is asked about them.</summary>
internal static class WishCheck
{
    /// <exception cref="GenerationException">Too many.</exception>
    public static void Fits(string name, IReadOnlyList<int> ids, int most, string does)
    {
        if (ids.Count > most) throw TooLong($"{name} has {ids.Count} tokens, this model {does} at most {most}.", name);
    }

    /// <exception cref="GenerationException">One is outside the vocabulary.</exception>
    public static void Known(string name, IReadOnlyList<int> ids, int vocabulary)
    {
        foreach (var id in ids)
            if ((uint)id >= (uint)vocabulary) throw Invalid($"{name}: this model has no token {id}, only 0 to {vocabulary - 1}.", name);
    }

    public static GenerationException Invalid(string message, string parameter) => new(GenerationError.InvalidOption, message, parameter);

    public static GenerationException TooLong(string message, string parameter) => new(GenerationError.TooLong, message, parameter);
}
