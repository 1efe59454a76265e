using System.CommandLine;
using Chat.Reproductions;
using Chat.Training.Data;
using Chat.Training.Recipes;

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
    StudyReport.Write(place, DistillationStudy.Arms.Select(a => a.Name), DistillationStudy.Claims, outcomes);
    Console.WriteLine(File.ReadAllText(Path.Combine(place, "report.md")));
    return Task.FromResult(0);
});

var pairFolder = new Option<DirectoryInfo>("--folder") { Description = "Where runs and results are kept; the same folder goes on", DefaultValueFactory = _ => new DirectoryInfo("artifacts/pair") };
var recipe = new Option<FileInfo>("--recipe") { Description = "Recipe of the start", DefaultValueFactory = _ => new FileInfo("Chat.Training/Recipes/student-sft.json") };
var start = new Option<DirectoryInfo>("--start") { Description = "Model folder of the start", DefaultValueFactory = _ => new DirectoryInfo("artifacts/chat-student-sft") };
var teacher = new Option<DirectoryInfo>("--teacher") { Description = "Model folder of the teacher", DefaultValueFactory = _ => new DirectoryInfo("Chat.Models/Shipped/chat-teacher") };
var data = new Option<DirectoryInfo>("--data") { Description = "Folder that 'data fetch' filled", DefaultValueFactory = _ => new DirectoryInfo("data") };
var pairSeeds = new Option<int>("--seeds") { Description = "Students of each arm", DefaultValueFactory = _ => 3 };
var pairSteps = new Option<int>("--steps") { Description = "Updates of each arm", DefaultValueFactory = _ => 150 };
var most = new Option<int>("--most") { Description = "Held-out replies of a corpus, at most", DefaultValueFactory = _ => 150 };
var pair = new Command("pair", "SFT, KD, SeqKD and MiniLLM from one start on the shipped pair's data, judged on held-out dialogue.") { pairFolder, recipe, start, teacher, data, pairSeeds, pairSteps, most };
pair.SetAction((parse, stop) =>
{
    var place = parse.GetValue(pairFolder)!.FullName;
    var study = new PairStudy(
        place, RecipeFile.Read<TrainingRecipe>(parse.GetValue(recipe)!.FullName), parse.GetValue(start)!.FullName, parse.GetValue(teacher)!.FullName, new CorpusFolder(parse.GetValue(data)!.FullName),
        parse.GetValue(pairSeeds), parse.GetValue(pairSteps), parse.GetValue(most), Console.WriteLine);
    StudyReport.Write(place, PairStudy.Order, PairStudy.Claims, study.Run(stop));
    Console.WriteLine(File.ReadAllText(Path.Combine(place, "report.md")));
    return Task.FromResult(0);
});
return await new RootCommand("Reproductions of papers' findings, in minutes to hours.") { distillation, pair }.Parse(args).InvokeAsync();
