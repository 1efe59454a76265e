using System.CommandLine;
using Chat.Reproductions;

var folder = new Option<DirectoryInfo>("--folder") { Description = "Where runs and results are kept; the same folder goes on", DefaultValueFactory = _ => new DirectoryInfo("artifacts/distillation") };
var seeds = new Option<int>("--seeds") { Description = "Students of each arm", DefaultValueFactory = _ => 5 };
var steps = new Option<int>("--steps") { Description = "Updates of each arm, after the common start", DefaultValueFactory = _ => 500 };
var prompts = new Option<int>("--prompts") { Description = "Held-out prompts", DefaultValueFactory = _ => 400 };
var atOnce = new Option<int>("--at-once") { Description = "Students trained beside each other, one core each", DefaultValueFactory = _ => Environment.ProcessorCount };
var arms = new Option<string[]>("--arm") { Description = "Only this arm (may be given several times): " + string.Join(", ", DistillationStudy.Arms.Select(a => a.Name)) };
var distillation = new Command("distillation", "MiniLLM's findings on a generated corpus: what each objective is good for, over several seeds.") { folder, seeds, steps, prompts, atOnce, arms };
distillation.SetAction((parse, stop) =>
{
    var place = parse.GetValue(folder)!.FullName;
    var only = parse.GetValue(arms);
    var study = new DistillationStudy(place, parse.GetValue(seeds), parse.GetValue(steps), parse.GetValue(prompts), Console.WriteLine);
    var outcomes = study.Run(only is { Length: > 0 } ? only : null, parse.GetValue(atOnce), stop);
    StudyReport.Write(place, outcomes);
    Console.WriteLine(File.ReadAllText(Path.Combine(place, "report.md")));
    return Task.FromResult(0);
});
return await new RootCommand("Reproductions of papers' findings, in minutes to hours.") { distillation }.Parse(args).InvokeAsync();
