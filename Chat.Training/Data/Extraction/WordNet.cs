using System.Globalization;
using System.Text;

namespace Chat.Training.Data.Extraction;

/// <summary>A set of synonyms: its words, class (<c>noun.animal</c>), definition, example sentences, and the numbers of its hypernyms.</summary>
/// <param name="Id">Part of speech and offset, <c>n00001740</c>.</param>
public sealed record Synset(string Id, string Class, IReadOnlyList<string> Words, string Definition, IReadOnlyList<string> Examples, IReadOnlyList<string> Hypernyms);

/// <summary>The data files of WordNet 3.0 (wndb(5WN)): synsets by id, antonyms by word. Words are written with blanks. Immutable.</summary>
public sealed class WordNet
{
    private static readonly string[] Classes = ("adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant "
        + "noun.possession noun.process noun.quantity noun.relation noun.shape noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl").Split(' ');

    private readonly Dictionary<string, SortedSet<string>> antonyms = new(StringComparer.Ordinal);
    private readonly Dictionary<string, HashSet<string>> parts = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SortedSet<string>> nounClasses = new(StringComparer.Ordinal);

    /// <param name="files">Paths of <c>data.noun</c>, <c>data.verb</c>, <c>data.adj</c> and <c>data.adv</c>, any of them.</param>
    /// <exception cref="InvalidDataException">A line that is none of WordNet's; the message has file and line.</exception>
    public WordNet(IEnumerable<string> files)
    {
        var opposites = new List<(string Word, string Synset, int Target)>();
        foreach (var file in files)
        {
            var number = 0;
            foreach (var line in File.ReadLines(file, Encoding.Latin1))
            {
                number++;
                if (line.StartsWith("  ", StringComparison.Ordinal) || line.Length == 0) continue;
                try
                {
                    Add(line, opposites);
                }
                catch (Exception error) when (error is FormatException or IndexOutOfRangeException or ArgumentException)
                {
                    throw new InvalidDataException($"{file}, line {number} is none of WordNet's: {error.Message}", error);
                }
            }
        }
        foreach (var (word, synset, target) in opposites)
            if (Synsets.TryGetValue(synset, out var other) && target <= other.Words.Count)
            {
                if (!antonyms.TryGetValue(word, out var known)) antonyms[word] = known = new(StringComparer.Ordinal);
                known.Add(other.Words[target - 1]);
            }
    }

    public Dictionary<string, Synset> Synsets { get; } = new(StringComparer.Ordinal);

    /// <summary>Opposites of a word in any of its senses, in ordinal order.</summary>
    public IReadOnlyCollection<string> Antonyms(string word) => antonyms.TryGetValue(word, out var known) ? known : [];

    /// <summary>Whether the word is a noun and no other part of speech.</summary>
    public bool IsOnlyNoun(string word) => parts.TryGetValue(word, out var known) && known.Count == 1 && known.Contains("n");

    /// <summary>Whether two nouns share a class such as <c>noun.animal</c>.</summary>
    public bool AreAlike(string noun, string other) => nounClasses.TryGetValue(noun, out var classes) && nounClasses.TryGetValue(other, out var others) && classes.Overlaps(others);

    // offset lex_filenum ss_type w_cnt(hex) word lex_id … p_cnt [symbol offset pos source/target(hex)] … | gloss
    private void Add(string line, List<(string, string, int)> opposites)
    {
        var bar = line.IndexOf(" | ", StringComparison.Ordinal);
        var fields = line[..bar].Split(' ');
        var part = fields[2] == "s" ? "a" : fields[2];
        var id = part + fields[0];
        var count = int.Parse(fields[3], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        var words = Enumerable.Range(0, count).Select(i => Plain(fields[4 + 2 * i])).ToArray();
        var at = 4 + 2 * count;
        var pointers = int.Parse(fields[at++], CultureInfo.InvariantCulture);
        var hypernyms = new List<string>();
        for (var i = 0; i < pointers; i++, at += 4)
        {
            var target = (fields[at + 2] == "s" ? "a" : fields[at + 2]) + fields[at + 1];
            if (fields[at] == "@") hypernyms.Add(target);
            if (fields[at] == "!" && fields[at + 3] is var places && places != "0000")
                opposites.Add((words[int.Parse(places.AsSpan(0, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture) - 1], target, int.Parse(places.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture)));
        }
        var gloss = line[(bar + 3)..].Split("; \"");
        var kind = Classes[int.Parse(fields[1], CultureInfo.InvariantCulture)];
        Synsets.Add(id, new Synset(id, kind, words, gloss[0].Trim(), [.. gloss.Skip(1).Select(example => example.Trim().TrimEnd('"', ';', ' '))], hypernyms));
        foreach (var word in words.Select(word => word.ToLowerInvariant()))
        {
            if (!parts.TryGetValue(word, out var known)) parts[word] = known = [];
            known.Add(part);
            if (part != "n") continue;
            if (!nounClasses.TryGetValue(word, out var classes)) nounClasses[word] = classes = new(StringComparer.Ordinal);
            classes.Add(kind);
        }
    }

    // Adjectives may carry where they stand: «(p)», «(a)», «(ip)».
    private static string Plain(string word) => (word.IndexOf('(') is > 0 and var bracket ? word[..bracket] : word).Replace('_', ' ');
}
