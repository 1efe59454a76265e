using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Engine.Speculation;

namespace Chat.Tests.Engine.Speculation;

public sealed class DraftTests
{
    private const int Vocabulary = 12, End = 1;
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private static readonly TokenTable Tokens = new([.. Enumerable.Range(0, Vocabulary).Select(i => $"{i}")], [.. Enumerable.Range(0, Vocabulary).Select(i => new[] { (byte)('a' + i) })], End);

    [Theory]
    [InlineData(new[] { 5, 6, 7, 8, 9 }, new[] { 4, 5, 6, 7 }, 2, new[] { 8, 9 })]             // the longest end that stands earlier
    [InlineData(new[] { 5, 6, 7, 4, 5, 6, 8 }, new[] { 9, 5, 6 }, 3, new[] { 8, 9, 5 })]       // the latest of several
    [InlineData(new[] { 4, 5, 6, 7, 2, 5, 6, 8 }, new[] { 4, 5, 6 }, 1, new[] { 7 })]          // a longer one before a later one
    [InlineData(new[] { 5, 6, 7, End, 9 }, new[] { 5, 6 }, 4, new[] { 7 })]                    // not beyond an end
    [InlineData(new[] { 5, 6, 7 }, new[] { 8, 6 }, 4, new int[0])]                             // one token alone says nothing
    [InlineData(new[] { 5 }, new[] { 3, 3, 3, 3 }, 4, new[] { 3 })]                            // what repeats itself goes on
    [InlineData(new[] { 5, 6, 7 }, new[] { 5, 6 }, 0, new int[0])]
    public void Ngrams_guess_what_followed_last_time(int[] context, int[] reply, int most, int[] guess)
    {
        var request = Request(0, context, reply, seed: 0);
        request.Most = most;
        using var draft = new NgramDraft(End);
        draft.Propose([request]);
        Assert.Equal(guess, request.Guess);
    }

    [Theory]
    [InlineData(new[] { 5, 6, 7, 4, 5, 6, 8, 2, 5, 6, 7, 9 }, new[] { 9, 5, 6 }, new[] { 7, 9 }, new[] { 8, 2 }, null)]                 // each token once, the latest place where it stood
    [InlineData(new[] { 5, 6, 7, 3, 4, 5, 6, 8, 2, 6, 9 }, new[] { 4, 5, 6 }, new[] { 8, 2 }, new[] { 7, 3 }, null)]                    // a longer end before a shorter one
    [InlineData(new[] { 5, 6, 7, 3, 5, 6, 8, 3, 5, 6, 9, 3 }, new[] { 3, 5, 6 }, new[] { 9, 3 }, new[] { 8, 3 }, new[] { 7, 3 })]
    public void Further_ngram_chains_begin_with_other_tokens(int[] context, int[] reply, int[] guess, int[] second, int[]? third)
    {
        var request = Request(0, context, reply, seed: 0);
        (request.Most, request.SpareRows) = (2, [1, 2, 3]);
        using var draft = new NgramDraft(End);
        draft.Propose([request]);
        Assert.Equal(guess, request.Guess);
        Assert.Equal(third is null ? [second] : [second, third], request.Others.Select(chain => chain.ToArray()));
    }

    /// <summary>Against the obvious form: what the search says with the first tokens of the chains before it struck out, and from there on what it says.</summary>
    [Fact]
    public void A_models_further_chains_are_the_next_in_the_race()
    {
        using var toy = new ToyRunner(Vocabulary, 7);
        using var draft = new ModelDraft(toy, End);
        var chains = 0;
        for (var seed = 0; seed < 40; seed++)
        {
            DraftRequest[] requests = [Request(0, [3 + seed % 7, 4], [5], seed), Request(4, [6, 3 + seed % 7], [7, 8], seed)];
            (requests[0].Most, requests[0].SpareRows) = (1 + seed % 4, [1, 2, 3]);
            (requests[1].Most, requests[1].SpareRows) = (3, [5]);
            draft.Propose(requests);
            foreach (var request in requests)
            {
                Assert.Equal(Obvious(request), request.Guess);
                List<int> struck = [.. request.Guess.Take(1)];
                foreach (var chain in request.Others)
                {
                    Assert.Equal(Obvious(request, without: struck), chain);
                    struck.Add(chain[0]);
                    chains++;
                }
                Assert.Equal(struck.Count, struck.Distinct().Count());
                draft.Free(request.Row);
            }
            Assert.Equal(0, toy.Held);
        }
        Assert.InRange(chains, 60, 160);
    }

    /// <summary>The draft against the obvious form: a fresh row for each guess.</summary>
    [Fact]
    public void A_model_guesses_what_the_search_says_of_its_own_scores_whatever_happened_since()
    {
        var random = new Random(4);
        using var draft = new ModelDraft(new ToyRunner(Vocabulary, 3), End);
        var requests = new DraftRequest?[3];
        var guessed = 0;
        for (var pass = 0; pass < 300; pass++)
        {
            for (var row = 0; row < 3; row++)
                if (requests[row] is null || requests[row]!.Reply.Count > 25)
                {
                    if (random.Next(2) == 0) draft.Free(row);                       // a row may also be handed on without a word
                    requests[row] = Request(row, [.. Enumerable.Range(0, random.Next(1, 9)).Select(_ => random.Next(2, Vocabulary))], [], seed: pass);
                    Say(requests[row]!, random.Next(2, Vocabulary));
                }
            DraftRequest[] asked = [.. requests.Where(_ => random.Next(3) > 0).Select(request => request!)];
            foreach (var request in asked) request.Most = random.Next(5);
            draft.Propose(asked);
            foreach (var request in asked)
            {
                Assert.Equal(Obvious(request), request.Guess);
                guessed += request.Guess.Count;
            }
            foreach (var request in requests)
            {
                // Some guesses are right, then something else follows.
                foreach (var token in request!.Guess.Take(random.Next(request.Guess.Count + 1)).ToArray()) Say(request, token);
                Say(request, random.Next(2, Vocabulary));
                request.Guess.Clear();
            }
        }
        Assert.InRange(guessed, 100, 1000);

        static void Say(DraftRequest request, int token)
        {
            var step = new SearchStep();
            var scores = new float[Vocabulary];
            scores[token] = 1e4f;
            request.Search.Step(scores, step);
            Assert.Equal(token, step.Next[0].Token);
            request.Reply.Add(token);
        }
    }

    [Fact]
    public void Contexts_too_long_for_the_small_model_are_read_from_their_end_and_replies_too_long_are_not_guessed()
    {
        using var toy = new ToyRunner(Vocabulary, 1);
        using var draft = new ModelDraft(toy, End);
        int[] context = [.. Enumerable.Range(0, toy.MaxContext + 9).Select(i => 2 + i % 9)];
        var request = Request(0, context, [5], seed: 1);
        request.Most = 3;
        draft.Propose([request]);
        Assert.Equal(Obvious(Request(0, context[9..], [5], seed: 1), most: 3), request.Guess);

        var full = Request(0, [5], [.. Enumerable.Repeat(5, toy.MaxReply)], seed: 1);
        full.Most = 3;
        draft.Propose([full]);
        Assert.Empty(full.Guess);
    }

    [Fact]
    public void A_search_that_cannot_be_copied_is_guessed_by_the_best_score()
    {
        using var toy = new ToyRunner(Vocabulary, 1);
        using var draft = new ModelDraft(toy, End);
        var request = new DraftRequest { Row = 0, Context = new[] { 4, 5 }, Reply = [6], Search = new Beam().Start(new BeamOptions(), Context(0)), Most = 2 };
        draft.Propose([request]);

        using var other = new ToyRunner(Vocabulary, 1);
        var first = Scores.ArgMax(other.Prefill([new(0, new[] { 4, 5 }, new[] { 6 })]));
        Assert.Equal([first, Scores.ArgMax(other.Decode([0], [first]))], request.Guess);
    }

    private static int[] Obvious(DraftRequest request, int? most = null, IReadOnlyList<int>? without = null)
    {
        var search = request.Search.Fork()!;
        var step = new SearchStep();
        var text = request.Reply.ToList();
        while (text.Count - request.Reply.Count < (most ?? request.Most))
        {
            using var fresh = new ToyRunner(Vocabulary, 1);
            var scores = fresh.Prefill([new(0, request.Context, text.ToArray())]).ToArray();
            foreach (var token in text.Count == request.Reply.Count && without is not null ? [.. without, End] : Array.Empty<int>()) scores[token] = float.NegativeInfinity;
            search.Step(scores, step);
            if (step.Next.Count == 0) break;
            text.Add(step.Next[0].Token);
        }
        return [.. text.Skip(request.Reply.Count)];
    }

    private static DraftRequest Request(int row, int[] context, int[] reply, long seed) => new()
    {
        Row = row,
        Context = context,
        Reply = [.. reply],
        Search = new Sample().Start(new DecodingOptions { Temperature = 0.8, TopP = 0.9, RepetitionPenalty = 1.5, MinTokens = 0, MaxTokens = 60, Seed = seed }, Context(seed, reply)),
    };

    private static DecodingContext Context(long seed, int[]? emitted = null) => new()
    {
        Tokens = Tokens,
        Emitted = emitted ?? [],
        Random = new(seed, 0),
        Rules = Catalog.StartRules(new DecodingOptions { RepetitionPenalty = 1.5, MinTokens = 0 }, Tokens, default),
    };
}
