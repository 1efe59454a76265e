using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Chat.Tests.Structure;

/// <summary>Holds the picture of DESIGN: who may reference whom, how deep folders go, how long files grow, what the page of rules forbids.</summary>
public sealed partial class RepositoryTests
{
    private static readonly string Root = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Here())!, "..", "..", ".."));

    [Theory]
    [InlineData("Chat.Domain")]
    [InlineData("Chat.Models", "Chat.Domain")]
    [InlineData("Chat.Safety", "Chat.Domain")]
    [InlineData("Chat.Training", "Chat.Domain", "Chat.Models", "Chat.Safety")]
    [InlineData("Chat.Api", "Chat.Domain", "Chat.Models", "Chat.Safety")]
    public void Project_references_are_the_picture(string project, params string[] expected)
    {
        var references = Project(project).Descendants("ProjectReference")
            .Select(r => Path.GetFileNameWithoutExtension(r.Attribute("Include")!.Value.Replace('\\', '/'))).Order(StringComparer.Ordinal);

        Assert.Equal(expected, references);
    }

    [Theory]
    [InlineData("Chat.Domain", "TorchSharp", "StackExchange", "AspNetCore", "Grpc", "Polly", "OpenTelemetry")]
    [InlineData("Chat.Models", "StackExchange", "AspNetCore", "Grpc", "Polly", "OpenTelemetry")]
    [InlineData("Chat.Safety", "TorchSharp", "StackExchange", "AspNetCore", "Grpc", "Polly", "OpenTelemetry")]
    public void Libraries_stay_out_of_the_libraries_that_must_not_know_them(string project, params string[] forbidden)
    {
        var packages = Project(project).Descendants("PackageReference").Select(r => r.Attribute("Include")!.Value);

        Assert.DoesNotContain(packages, p => forbidden.Any(f => p.Contains(f, StringComparison.Ordinal)));
    }

    [Fact]
    public void Decoding_knows_no_tensor()
    {
        var offenders = Sources("Chat.Models/Decoding").Where(f => File.ReadAllText(f).Contains("TorchSharp", StringComparison.Ordinal));

        Assert.Empty(offenders);
    }

    [Fact]
    public void No_file_holds_both_a_dispose_scope_and_an_await()
    {
        // Dispose scopes are per thread; an await inside one may come back on another.
        var offenders = Sources("Chat.Models").Concat(Sources("Chat.Training"))
            .Where(f => File.ReadAllText(f) is var text && text.Contains("NewDisposeScope", StringComparison.Ordinal) && AwaitPattern().IsMatch(text));

        Assert.Empty(offenders);
    }

    [Fact]
    public void No_source_file_is_longer_than_500_lines()
    {
        var offenders = Sources("").Select(f => (File: f, Lines: File.ReadLines(f).Count())).Where(f => f.Lines > 500);

        Assert.Empty(offenders);
    }

    [Fact]
    public void No_folder_is_deeper_than_three_below_the_root()
    {
        var offenders = Sources("").Select(f => Path.GetRelativePath(Root, f)).Where(f => !f.StartsWith("tests", StringComparison.Ordinal) && f.Count(c => c == '/') > 3);

        Assert.Empty(offenders);
    }

    [Fact]
    public void No_folder_has_a_name_that_says_nothing()
    {
        string[] forbidden = ["Common", "Helpers", "Utils", "Services", "Interfaces"];

        var offenders = Sources("").Where(f => Path.GetRelativePath(Root, f).Split('/').SkipLast(1).Intersect(forbidden).Any());

        Assert.Empty(offenders);
    }

    private static XDocument Project(string name) => XDocument.Load(Path.Combine(Root, name, name + ".csproj"));

    private static IEnumerable<string> Sources(string folder) => !Directory.Exists(Path.Combine(Root, folder)) ? [] :
        Directory.EnumerateFiles(Path.Combine(Root, folder), "*.cs", SearchOption.AllDirectories)
            .Where(f => !f.Contains("/obj/", StringComparison.Ordinal) && !f.Contains("/bin/", StringComparison.Ordinal) && !f.Contains("/node_modules/", StringComparison.Ordinal));

    private static string Here([CallerFilePath] string path = "") => path;

    [GeneratedRegex(@"\bawait\b")]
    private static partial Regex AwaitPattern();
}
