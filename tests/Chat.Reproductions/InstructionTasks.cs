using Chat.Training.Data;
using Chat.Training.Methods;

namespace Chat.Reproductions;

/// <summary>
/// A generated corpus of instructions: some have one right answer (copy, reverse, sort, facts), some have many (describe, greet), so that a teacher has modes of which a small student
/// cannot hold all. A document is one prompt with one answer; every tenth is held out.
/// </summary>
internal static class InstructionTasks
{
    private static readonly string[] Things = ["apple", "river", "stone", "tower", "lamp", "horse", "boat", "forest", "bell", "garden", "cloud", "sword", "bridge", "candle", "wolf", "mirror"];
    private static readonly string[] Colours = ["red", "blue", "green", "white", "black", "golden", "grey", "brown"];
    private static readonly string[] Qualities = ["old", "small", "heavy", "quiet", "bright", "cold", "strange", "lovely", "broken", "tall"];
    private static readonly string[] Places = ["near the sea", "in the north", "behind the hill", "under the bridge", "in my house", "at the market"];
    private static readonly string[] Acts = ["sleeps", "shines", "waits", "sings", "moves", "falls", "stands", "burns"];
    private static readonly string[] Times = ["every night", "in the morning", "when it rains", "all summer", "once a year"];

    public const string HeldOut = "^test/";

    /// <param name="wrong">Share of answers that belong to another prompt; the held-out ones are all right.</param>
    public static IEnumerable<Document> Documents(string corpus, int count, double wrong, ulong seed)
    {
        for (var i = 0; i < count; i++)
        {
            var random = RandomStream.Of(seed, "instruction", i);
            var (prompt, answer) = Draw(ref random);
            if (i % 10 != 9 && random.Unit() < wrong) answer = Draw(ref random).Answer;
            yield return new(corpus, "en", $"{(i % 10 == 9 ? "test" : "train")}/{i}", [prompt, answer]);
        }
    }

    private static (string Prompt, string Answer) Draw(ref RandomStream random)
    {
        string Of(string[] words, ref RandomStream r) => words[r.Below(words.Length)];
        var kind = random.Below(8);
        var words = new string[2 + random.Below(4)];
        for (var i = 0; i < words.Length; i++) words[i] = Of(Things, ref random);
        var thing = words[0];
        switch (kind)
        {
            case 0: return ($"copy: {string.Join(' ', words)}", string.Join(' ', words));
            case 1: return ($"reverse: {string.Join(' ', words)}", string.Join(' ', words.Reverse()));
            case 2: return ($"sort: {string.Join(' ', words)}", string.Join(' ', words.Order(StringComparer.Ordinal)));
            case 3: return ($"colour of the {thing}?", $"the {thing} is {Colours[Array.IndexOf(Things, thing) % Colours.Length]}.");
            case 4: return (random.Below(2) == 0 ? "hello" : "good morning", Of(["hello, how are you?", "good morning to you.", "hello, what can i do for you?", "welcome, sit down by the fire.", "greetings, friend."], ref random));
            default:
                var about = $"there is a {Of(Qualities, ref random)} {Of(Colours, ref random)} {thing} {Of(Places, ref random)}.";
                if (random.Below(2) == 0) about += $" it {Of(Acts, ref random)} {Of(Times, ref random)}.";
                if (random.Below(3) == 0) about += $" i saw it with a {Of(Qualities, ref random)} {Of(Things, ref random)}.";
                return (Of(["tell me about the {0}", "describe the {0}", "what do you know of the {0}?"], ref random).Replace("{0}", thing, StringComparison.Ordinal), about);
        }
    }
}
