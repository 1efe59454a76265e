namespace Chat.Training.Data.Quality;

/// <summary>Which rules a corpus passes, and how much of it the score may drop.</summary>
/// <param name="Skip">Rules to leave out, by name; <c>han</c> belongs here for every corpus that is not Chinese.</param>
/// <param name="Blacklist">Substrings that empty an utterance; looked for in the text as it came, without its spaces.</param>
/// <param name="Entertainment">Names and slogans of fan culture; their share lowers the score.</param>
/// <param name="Shortest">Characters an utterance has at least, spaces not counted.</param>
/// <param name="Longest">And at most.</param>
/// <param name="AdvertLength">A longer reply that answers more than <paramref name="AdvertPosts"/> different posts is an advertisement.</param>
/// <param name="GenericCount">A reply is generic when more than <paramref name="GenericShare"/> of it is one trigram seen more often than this.</param>
/// <param name="Relevance">α, weight of word overlap.</param>
/// <param name="Fluency">β, weight of the language model.</param>
/// <param name="EntertainmentWeight">γ.</param>
/// <param name="DistancePower">κ: a word that returns after d turns counts d^κ.</param>
/// <param name="DropShare">Share of scored sessions below τ.</param>
public sealed record QualityRecipe(
    IReadOnlyList<string>? Skip = null,
    IReadOnlyList<string>? Blacklist = null,
    IReadOnlyList<string>? Entertainment = null,
    int Shortest = 2,
    int Longest = 1000,
    int AdvertLength = 20,
    int AdvertPosts = 2,
    int GenericCount = 1000,
    double GenericShare = 0.9,
    double Relevance = 1,
    double Fluency = 1,
    double EntertainmentWeight = 1,
    double DistancePower = 0.5,
    double DropShare = 0.02);
