using System.Text.Json.Nodes;
using Chat.Models.Templates;

namespace Chat.GoldenRunner;

/// <summary>Conversations rendered by chat templates: of a file of the folder, or of the case itself.</summary>
internal static class ChatTemplates
{
    public static JsonNode Run(Arguments arguments, JsonNode input) => Cases.Run(input, one =>
    {
        var source = (string?)one["template_text"] ?? File.ReadAllText(Path.Combine(arguments.Model, (string)one["template"]! + ".jinja"));
        var variables = one.DeepClone().AsObject();
        foreach (var key in new[] { "id", "template", "template_text" }) variables.Remove(key);
        try
        {
            return new JsonObject { ["text"] = ChatTemplate.Parse(source).Render(variables, TimeProvider.System) };
        }
        catch (TemplateException error)
        {
            Console.Error.WriteLine($"{one["id"]}: {error.Message}");
            return new JsonObject { ["error"] = "template_error" };
        }
    });
}
