using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.GoldenRunner;
using Chat.Models.Libtorch;

// Answers golden inputs with the product's own code: Chat.GoldenRunner <operation> --model <folder> --input <in.json>
// stdout is one JSON document, logs go to stderr; 1 when nothing could be run.
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
LibtorchLoader.Register();
Dictionary<string, Func<Arguments, JsonNode, JsonNode>> operations = new()
{
    ["forward"] = Forward.Run,
    ["buckets"] = Buckets.Run,
    ["chat-template"] = ChatTemplates.Run,
    ["chain"] = Chain.Run,
    ["decode"] = Decode.Run,
    ["load-check"] = LoadCheck.Run,
    ["tokenize"] = Tokenize.Run,
};

try
{
    var arguments = Arguments.Parse(args, operations.Keys);
    var input = JsonNode.Parse(File.ReadAllBytes(arguments.Input)) ?? throw new InvalidDataException($"{arguments.Input} holds null.");
    using var output = Console.OpenStandardOutput();
    using var writer = new Utf8JsonWriter(output);
    operations[arguments.Operation](arguments, input).WriteTo(writer);
    return 0;
}
catch (Exception error)
{
    Console.Error.WriteLine(error);
    return 1;
}
