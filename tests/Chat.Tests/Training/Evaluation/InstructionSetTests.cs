using Chat.Training.Evaluation;

namespace Chat.Tests.Training.Evaluation;

/// <summary>Tiny files in the published layouts; the texts are ours.</summary>
public class InstructionSetTests
{
    private static IReadOnlyList<Instruction> Read(string set, string text, string name = "file.jsonl", int most = 0)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.At(name), text);
        return InstructionSets.Read(InstructionSets.Of(set), folder.Path, most);
    }

    [Fact]
    public void Dolly() => Assert.Equivalent(new Instruction("Name a bird.", "Birds fly.", ["A gull."]),
        Read("dolly", """{"instruction": "Name a bird.", "context": "Birds fly.", "response": "A gull.", "category": "brainstorming"}""").Single());

    [Fact]
    public void Self_instruct() => Assert.Equivalent(new Instruction("Shorten.", "It is very cold.", ["It is cold."]),
        Read("self-inst", """{"id": "user_oriented_task_0", "motivation_app": "Grammarly", "instruction": "Shorten.", "instances": [{"input": "It is very cold.", "output": "It is cold."}]}""").Single());

    [Fact]
    public void Vicuna() => Assert.Equivalent(new Instruction("Why is the sky blue?", "", ["Light scatters."]),
        Read("vicuna", """{"question_id": 1, "text": "Why is the sky blue?", "category": "generic", "answer": "Light scatters."}""").Single());

    [Fact]
    public void Super_natural_instructions_have_several_instances_and_several_answers()
    {
        var items = Read("s-ni", """{"Contributors": ["x"], "Definition": ["Give the opposite."], "Positive Examples": [], "Instances": [{"id": "t-1", "input": "hot", "output": ["cold", "chilly"]}, {"id": "t-2", "input": "up", "output": ["down"]}]}""", "task001.json");

        Assert.Equal(["hot", "up"], items.Select(i => i.Input));
        Assert.Equal(["cold", "chilly"], items[0].References);
        Assert.Equal("Give the opposite.", items[1].Text);
    }

    [Fact]
    public void Unnatural_instructions_keep_their_constraints()
    {
        var items = Read("un-ni", """{"instruction": "Answer.", "instances": [{"instruction_with_input": "x", "input": "Q1", "constraints": "In one word.", "output": "Yes"}, {"input": "Q2", "constraints": "None.", "output": "No"}]}""");

        Assert.Equal(["Answer. In one word.", "Answer."], items.Select(i => i.Text));
    }

    [Theory]
    [InlineData("dolly"), InlineData("self-inst"), InlineData("vicuna"), InlineData("s-ni"), InlineData("un-ni")]
    public void Every_set_is_read_as_MiniLLM_processed_it_too(string set)
    {
        var items = Read(set, """{"prompt": "…", "instruction": "Say hi.", "input": "", "output": "Hi."}""" + "\n" + """{"prompt": "…", "instruction": "Say bye.", "input": "to Ann", "output": ["Bye.", "See you."]}""", "valid.jsonl");

        Assert.Equal([1, 2], items.Select(i => i.References.Count));
    }

    [Fact]
    public void Prompts_are_Alpacas_with_an_input_only_where_there_is_one()
    {
        Assert.EndsWith("request.\n\n### Instruction:\nGo.\n\n### Response:\n", new Instruction("Go.", "", ["x"]).Prompt);
        Assert.EndsWith("request.\n\n### Instruction:\nGo.\n\n### Input:\nNorth\n\n### Response:\n", new Instruction("Go.", "North", ["x"]).Prompt);
        Assert.Contains("paired with an input", new Instruction("Go.", "North", ["x"]).Prompt);
    }

    [Theory]
    [InlineData(1, "s-ni [0,5]"), InlineData(5, "s-ni [0,5]"), InlineData(6, "s-ni [6,10]"), InlineData(10, "s-ni [6,10]"), InlineData(11, "s-ni [11,∞)"), InlineData(400, "s-ni [11,∞)")]
    public void Buckets_go_by_words_of_the_reference(int words, string row)
    {
        Instruction[] one = [new("x", "", [string.Join(' ', Enumerable.Repeat("word", words))])];

        Assert.Equal(row, InstructionSets.Rows(InstructionSets.Of("s-ni"), one).Single().Row);
        Assert.Equal("dolly", InstructionSets.Rows(InstructionSets.Of("dolly"), one).Single().Row);
    }

    [Fact]
    public void A_part_is_spread_evenly() =>
        Assert.Equal(["0", "4", "8"], Read("dolly", string.Join('\n', Enumerable.Range(0, 12).Select(i => $$"""{"instruction": "{{i}}", "response": "x"}""")), most: 3).Select(i => i.Text));

    [Fact]
    public void Another_layout_is_refused_by_file_and_record()
    {
        Assert.Contains("record 2", Assert.Throws<InvalidDataException>(() => Read("dolly", """{"instruction": "a", "response": "b"}""" + "\n" + """{"instruction": "a"}""")).Message);
        Assert.Contains("instances", Assert.Throws<InvalidDataException>(() => Read("self-inst", """{"instruction": "a"}""")).Message);
        Assert.Contains("dolly", Assert.Throws<InvalidDataException>(() => InstructionSets.Of("alpaca")).Message);
        Assert.Contains("nothing to read", Assert.Throws<InvalidDataException>(() => InstructionSets.Read(InstructionSets.Of("dolly"), "no-such-file.jsonl")).Message);
    }
}
