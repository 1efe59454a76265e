using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;

namespace Chat.Tests.Decoding;

public sealed class OptionTests
{
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private static readonly DecodingLimits Limits = new(MaxTokens: 100, Rows: 8, VocabularySize: 50, HasAntonyms: false);

    [Theory]
    [InlineData("""{"strategy":"beem"}""", "strategy", "Known: beam, beam-ctl")]
    [InlineData("""{"strategy":7}""", "strategy", "must be a string")]
    [InlineData("""{"temprature":1}""", "temprature", "temperature, topA, topK, topP")]
    [InlineData("""{"numBeams":2}""", "numBeams", "Strategy 'sample' has no option")]
    [InlineData("""{"temperature":2.01}""", "temperature", "from 0 to 2, not 2.01")]
    [InlineData("""{"temperature":-0.1}""", "temperature", "from 0 to 2")]
    [InlineData("""{"temperature":"hot"}""", "temperature", "must be a number")]
    [InlineData("""{"temperature":1e999}""", "temperature", "finite")]
    [InlineData("""{"temperature":true}""", "temperature", "must be a number")]
    [InlineData("""{"topP":0}""", "topP", "above 0")]
    [InlineData("""{"topP":1.5}""", "topP", "at most 1")]
    [InlineData("""{"topK":1.5}""", "topK", "whole")]
    [InlineData("""{"topK":-1}""", "topK", "from 0")]
    [InlineData("""{"minP":2}""", "minP", "from 0 to 1")]
    [InlineData("""{"seed":0.5}""", "seed", "whole")]
    [InlineData("""{"seed":1e30}""", "seed", "whole")]
    [InlineData("""{"maxTokens":0}""", "maxTokens", "from 1")]
    [InlineData("""{"minTokens":9,"maxTokens":8}""", "minTokens", "above maxTokens")]
    [InlineData("""{"stop":[""]}""", "stop", "1 to 256")]
    [InlineData("""{"stop":[1]}""", "stop", "string")]
    [InlineData("""{"stop":{}}""", "stop", "string")]
    [InlineData("""{"repetitionPenalty":0}""", "repetitionPenalty", "above 0")]
    [InlineData("""{"noRepeatNgram":17}""", "noRepeatNgram", "from 0 to 16")]
    [InlineData("""{"frequencyPenalty":3}""", "frequencyPenalty", "from -2 to 2")]
    [InlineData("""{"logitBias":{"x":1}}""", "logitBias", "not a token id")]
    [InlineData("""{"logitBias":{"-1":1}}""", "logitBias", "not a token id")]
    [InlineData("""{"logitBias":{"50":1}}""", "logitBias", "only 0 to 49")]
    [InlineData("""{"logitBias":{"5":101}}""", "logitBias", "from -100 to 100")]
    [InlineData("""{"logitBias":[]}""", "logitBias", "object")]
    [InlineData("""{"antonyms":true}""", "antonyms", "no antonym list")]
    [InlineData("""{"antonyms":"yes"}""", "antonyms", "true or false")]
    [InlineData("""{"strategy":"beam","numBeams":9}""", "numBeams", "at most 8")]
    [InlineData("""{"strategy":"beam","numBeams":17}""", "numBeams", "from 1 to 16")]
    [InlineData("""{"strategy":"beam","lengthPenalty":null,"earlyStopping":0}""", "earlyStopping", "true or false")]
    [InlineData("""{"strategy":"contrastive","candidates":9}""", "candidates", "at most 8")]
    [InlineData("""{"strategy":"typical","typicalP":0}""", "typicalP", "above 0")]
    [InlineData("""{"typicalP":0.5}""", "typicalP", "Strategy 'sample' has no option")]
    [InlineData("""{"strategy":"diverse-beam","numGroups":0}""", "numGroups", "from 1 to 16")]
    [InlineData("""{"guidedRegex":7}""", "guidedRegex", "must be a string")]
    [InlineData("""{"guidedRegex":""}""", "guidedRegex", "1 to 4096 characters")]
    [InlineData("""{"guidedRegex":"(a"}""", "guidedRegex", "a group has no end (at character 3")]
    [InlineData("""{"guidedRegex":"a","guidedJson":{}}""", "guidedJson", "exclude each other")]
    [InlineData("""{"guidedJson":"object"}""", "guidedJson", "must be an object")]
    [InlineData("""{"guidedJson":{"multipleOf":3}}""", "guidedJson", "'multipleOf' is not supported")]
    [InlineData("""{"topK":1,"topK":2}""", "decoding", "twice")]
    public void Bad_option_is_refused_with_what_is_allowed(string request, string parameter, string message)
    {
        var error = Assert.Throws<GenerationException>(() => Resolve(request));

        Assert.Equal((GenerationError.InvalidOption, parameter), (error.Error, error.Parameter));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void Numbers_that_json_cannot_write_are_refused_too(double value)
    {
        var error = Assert.Throws<GenerationException>(() => Catalog.Resolve(new() { ["temperature"] = value }, null, null, Limits, () => 1));

        Assert.Equal("temperature", error.Parameter);
    }

    [Fact]
    public void Who_guesses_is_named_whether_or_not_there_is_a_draft()
    {
        Assert.Equal(Speculation.None, Resolve("{}").Options.Speculation);
        Assert.Equal(Speculation.Ngram, Resolve("""{"speculation":"ngram"}""").Options.Speculation);
        Assert.Equal("ngram", (string)Resolve("""{"speculation":"ngram"}""").Spelled()["speculation"]!);
        foreach (var wrong in new[] { """{"speculation":"Ngram"}""", """{"speculation":"1"}""", """{"speculation":1}""", """{"speculation":true}""" })
            Assert.Equal((GenerationError.InvalidOption, "speculation"), Assert.Throws<GenerationException>(() => Resolve(wrong)) is var error ? (error.Error, error.Parameter) : default);

        Assert.Equal((1, 4), (Resolve("{}").Options.SpeculationWidth, Resolve("""{"speculationWidth":4}""").Options.SpeculationWidth));
        Assert.Equal("speculationWidth", Assert.Throws<GenerationException>(() => Resolve("""{"speculationWidth":5}""")).Parameter);

        // Drafts come and go with what hosts load: where there is none nobody guesses.
        JsonObject draft = new() { ["speculation"] = "draft" };
        Assert.Equal(Speculation.Draft, Catalog.Resolve(draft, null, null, Limits, () => 1).Options.Speculation);
        Assert.Equal(Speculation.Draft, Catalog.Resolve(null, draft, null, Limits, () => 1).Options.Speculation);
    }

    [Fact]
    public void More_tokens_than_the_model_can_write_are_too_long()
    {
        Assert.Equal(GenerationError.TooLong, Assert.Throws<GenerationException>(() => Resolve("""{"maxTokens":101}""")).Error);
    }

    [Fact]
    public void Request_goes_before_configuration_before_model_before_strategy()
    {
        var options = Catalog.Resolve(
            JsonNode.Parse("""{"temperature":0.1,"seed":null}""")!.AsObject(),
            JsonNode.Parse("""{"temperature":0.2,"topK":20}""")!.AsObject(),
            JsonNode.Parse("""{"temperature":0.3,"topK":30,"minP":0.03}""")!.AsObject(), Limits, () => 77).Options;

        Assert.Equal((0.1, 20, 0.03, 0.9, 77L), (options.Temperature, options.TopK, options.MinP, options.TopP, options.Seed));
    }

    [Fact]
    public void A_default_speaks_for_the_strategy_it_names()
    {
        var model = JsonNode.Parse("""{"strategy":"sample","temperature":0.5,"maxTokens":40}""")!.AsObject();

        var own = Catalog.Resolve(null, null, model, Limits, () => 1);
        var other = Catalog.Resolve(new() { ["strategy"] = "eva2" }, null, model, Limits, () => 1);

        Assert.Equal(("sample", 0.5, 40), (own.Name, own.Options.Temperature, own.Options.MaxTokens));
        Assert.Equal(("eva2", 0.9, 40), (other.Name, other.Options.Temperature, other.Options.MaxTokens));
    }

    [Fact]
    public void Short_limits_shrink_defaults_but_not_wishes()
    {
        var options = Catalog.Resolve(new() { ["maxTokens"] = 1 }, null, null, Limits, () => 1).Options;

        Assert.Equal((1, 1), (options.MinTokens, options.MaxTokens));
        Assert.Equal(100, Catalog.Resolve(null, null, null, Limits, () => 1).Options.MaxTokens);
    }

    [Fact]
    public void Resolved_options_are_spelled_out_and_resolve_to_themselves()
    {
        foreach (var name in Catalog.Strategies.Keys)
        {
            var spelled = Catalog.Resolve(new() { ["strategy"] = name, ["stop"] = "x", ["logitBias"] = new JsonObject { ["3"] = 1.5 } }, null, null, Limits, () => 12345678901L).Spelled();

            Assert.Equal(spelled.ToJsonString(), Catalog.Resolve(JsonNode.Parse(spelled.ToJsonString())!.AsObject(), null, null, Limits, () => 0).Spelled().ToJsonString());
        }
    }

    [Fact]
    public void A_given_form_turns_off_what_a_strategy_does_against_repetition()
    {
        var guided = Catalog.Resolve(new() { ["guidedRegex"] = "(ab)+" }, null, null, Limits, () => 1).Options;
        var insisting = Catalog.Resolve(new() { ["guidedRegex"] = "(ab)+", ["repetitionPenalty"] = 1.5, ["minTokens"] = 4 }, null, null, Limits, () => 1).Options;

        Assert.Equal((1.0, 0, 0), (guided.RepetitionPenalty, guided.NoRepeatNgram, guided.MinTokens));
        Assert.Equal((1.5, 0, 4), (insisting.RepetitionPenalty, insisting.NoRepeatNgram, insisting.MinTokens));
    }

    [Fact]
    public void A_vocabulary_without_some_bytes_cannot_be_held_to_a_form()
    {
        var error = Assert.Throws<GenerationException>(() => Catalog.Resolve(new() { ["guidedRegex"] = "a" }, null, null, Limits with { WritesEveryByte = false }, () => 1));

        Assert.Equal((GenerationError.InvalidOption, "guidedRegex"), (error.Error, error.Parameter));
    }

    [Fact]
    public void Presets_are_the_sheets()
    {
        (string, double, double, int?, double?, double, int)[] sheet =
        [
            ("greedy", 1, 1, null, null, 1, 0), ("sample", 0.9, 0.9, null, null, 1.2, 3), ("sample-steady", 0.7, 0.9, null, null, 1.6, 3), ("beam", 1, 1, 4, 1.6, 1, 0),
            ("beam-ctl", 1, 1, 4, 1.6, 1.6, 3), ("eva2", 0.9, 0.9, 4, 1.6, 1.6, 3), ("eva2-compat", 0.9, 0.9, 4, 1.6, 1.6, 3),
        ];

        Assert.Equal(sheet, sheet.Select(row => (row.Item1, Catalog.Strategies[row.Item1].Defaults) is var (name, o) && o is BeamOptions b
            ? (name, o.Temperature, o.TopP, (int?)b.NumBeams, (double?)b.LengthPenalty, o.RepetitionPenalty, o.NoRepeatNgram)
            : (row.Item1, Catalog.Strategies[row.Item1].Defaults.Temperature, Catalog.Strategies[row.Item1].Defaults.TopP, null, null, Catalog.Strategies[row.Item1].Defaults.RepetitionPenalty, Catalog.Strategies[row.Item1].Defaults.NoRepeatNgram)));
    }

    [Fact]
    public void A_configured_default_is_checked_at_start()
    {
        Catalog.CheckDefault(JsonNode.Parse("""{"temperature":0.4,"numBeams":2}""")!.AsObject(), Limits);

        Assert.Throws<GenerationException>(() => Catalog.CheckDefault(new() { ["temprature"] = 1 }, Limits));
        Assert.Throws<GenerationException>(() => Catalog.CheckDefault(new() { ["strategy"] = "greedy", ["numBeams"] = 1 }, Limits));
    }

    private static ResolvedDecoding Resolve(string request) => Catalog.Resolve(JsonNode.Parse(request)!.AsObject(), null, null, Limits, () => 1);
}
