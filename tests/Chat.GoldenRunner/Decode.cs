using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Tokenizers;

namespace Chat.GoldenRunner;

/// <summary>Whole decodes on the real model through the runner: greedy over raw scores, and the reference's beam search with both starts.</summary>
internal static class Decode
{
    public static JsonNode Run(Arguments arguments, JsonNode input)
    {
        var folder = ModelFolder.Open(arguments.Model);
        using var model = folder.LoadModel();
        var tokenizer = (EvaTokenizer)folder.Tokenizer;
        var tokens = Chain.Vocabulary(arguments.Model, AntonymsOf(arguments.Model));
        return Cases.Run(input, one =>
        {
            var (contexts, parameters) = (one["enc_ids"].Rows(), one["params"]!.AsObject());
            var longest = (int)parameters["max_len"]!;
            using var runner = new TorchRunner(model, contexts.Length * ((int?)parameters["num_beams"] ?? 1), contexts.Max(row => row.Length), longest + 1);
            return (string)one["mode"]! switch
            {
                "greedy_raw" => Greedy(runner, contexts, longest, tokens.Separator, tokenizer),
                "beam_compat" => new Beams(runner, one, tokens, maskedStart: false).Run(contexts, tokenizer),
                "beam_masked_start" => new Beams(runner, one, tokens, maskedStart: true).Run(contexts, tokenizer),
                var other => throw new ArgumentException($"Unknown mode '{other}'. Known: greedy_raw, beam_compat, beam_masked_start."),
            };
        });
    }

    private static string AntonymsOf(string model)
    {
        var own = Path.Combine(model, ServedModel.AntonymsFileName);
        return File.Exists(own) ? own : Path.Combine(model, "..", "..", ServedModel.AntonymsFileName);
    }

    private static JsonObject Greedy(TorchRunner runner, int[][] contexts, int longest, int separator, EvaTokenizer tokenizer)
    {
        var replies = contexts.Select(_ => new List<int>()).ToArray();
        var finished = new bool[contexts.Length];
        int[] live = [.. Enumerable.Range(0, contexts.Length)];
        var scores = runner.Prefill([.. live.Select(row => new PrefillItem(row, contexts[row], default))]).ToArray();
        while (true)
        {
            for (var i = 0; i < live.Length; i++)
            {
                var best = Scores.ArgMax(scores.AsSpan(i * runner.VocabularySize, runner.VocabularySize));
                if (best == separator) finished[live[i]] = true;
                else replies[live[i]].Add(best);
            }
            live = [.. live.Where(row => !finished[row] && replies[row].Count < longest)];
            if (live.Length == 0) break;
            scores = runner.Decode(live, [.. live.Select(row => replies[row][^1])]).ToArray();
        }
        return new()
        {
            ["best_ids"] = new JsonArray([.. replies.Select(reply => (JsonNode)Cases.Numbers(reply))]),
            ["best_text"] = new JsonArray([.. replies.Select(reply => (JsonNode)tokenizer.Text(reply)!)]),
            ["finished"] = new JsonArray([.. finished.Select(done => (JsonNode)done)]),
        };
    }

    /// <summary>All rows of a case in step, because the reference shares antonym bans between the rows of a call.</summary>
    private sealed class Beams
    {
        private readonly TorchRunner runner;
        private readonly EvaSearch[] searches;
        private readonly int[] doneSince;                   // steps since a row was done; 0 while it is not
        private readonly int beams;
        private readonly HashSet<int> banned = [];
        private Hypothesis? firstRowBefore;

        public Beams(TorchRunner runner, JsonObject one, TokenTable tokens, bool maskedStart)
        {
            this.runner = runner;
            var parameters = one["params"]!;
            var options = new BeamOptions
            {
                NumBeams = beams = (int)parameters["num_beams"]!,
                Temperature = (double)parameters["temperature"]!,
                LengthPenalty = (double)parameters["length_penalty"]!,
                RepetitionPenalty = (double)parameters["repetition_penalty"]!,
                NoRepeatNgram = (int)parameters["no_repeat_ngram_size"]!,
                MinTokens = (int)parameters["min_len"]!,
                MaxTokens = (int)parameters["max_len"]!,
                EarlyStopping = (bool?)parameters["early_stopping"] ?? false,
                Antonyms = (bool?)parameters["antonym"] ?? false,
            };
            searches = [.. one["context_ids"].Rows().Select(context => new EvaSearch(options, new() { Tokens = tokens, Dialogue = context, Random = new(0, 0), Rules = RowRules.None }, maskedStart, banned))];
            doneSince = new int[searches.Length];
        }

        public JsonObject Run(int[][] contexts, EvaTokenizer tokenizer)
        {
            var scores = runner.Prefill([.. contexts.Select((context, row) => new PrefillItem(row * beams, context, default))]).ToArray();
            while (true)
            {
                var (rows, ids) = Step(scores);
                if (rows.Length == 0) break;
                scores = runner.Decode(rows, ids).ToArray();
            }
            return new()
            {
                ["best_ids"] = new JsonArray([.. searches.Select(search => (JsonNode)Ids(search.Pool[0].Hypothesis))]),
                ["best_text"] = new JsonArray([.. searches.Select(search => (JsonNode)tokenizer.Text(search.Pool[0].Hypothesis.Ids.ToArray())!)]),
                ["pool"] = new JsonArray([.. searches.Select(search => (JsonNode)new JsonArray([.. search.Pool.Select(entry => (JsonNode)new JsonObject
                {
                    ["score"] = Cases.Number((float)entry.Rank),
                    ["ids"] = Ids(entry.Hypothesis),
                })]))]),
            };
        }

        /// <param name="scores">One row for each live hypothesis of each row that is not done.</param>
        /// <returns>The rows that go on, with their tokens.</returns>
        private (int[] Rows, int[] Ids) Step(float[] scores)
        {
            Ban();
            var (rows, ids, forks, at) = (new List<int>(), new List<int>(), new List<(int, int)>(), 0);
            var step = new SearchStep();
            for (var row = 0; row < searches.Length; row++)
            {
                if (searches[row].IsDone) continue;
                var length = searches[row].Live.Count * runner.VocabularySize;
                searches[row].Step(scores.AsSpan(at, length), step);
                at += length;
                for (var i = 0; i < step.Next.Count; i++)
                {
                    forks.Add((row * beams + step.Next[i].Parent, row * beams + i));
                    rows.Add(row * beams + i);
                    ids.Add(step.Next[i].Token);
                }
            }
            runner.Fork([.. forks]);
            return ([.. rows], [.. ids]);
        }

        // A row that is done keeps its beams for one more call; then the reference fills it with its very first row's tokens and pads.
        private void Ban()
        {
            banned.Clear();
            for (var row = 0; row < searches.Length; row++)
            {
                if (searches[row].IsDone) doneSince[row]++;
                searches[row].AddAntonyms(doneSince[row] > 1 ? [firstRowBefore!] : searches[row].Live);
            }
            firstRowBefore = searches[0].Live[0];
        }

        private static JsonArray Ids(Hypothesis hypothesis) => Cases.Numbers(hypothesis.Ids.ToArray());
    }
}
