using System.Text.RegularExpressions;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Domain.Training;
using StackExchange.Redis;

namespace Chat.Api.Registry;

/// <summary>A model that another one comes from: <c>parent</c> (trained on from it) or <c>teacher</c>.</summary>
/// <param name="Of">The model whose card says so.</param>
/// <param name="Name">As the card has it.</param>
/// <param name="Hash">Of the newest registered model of that name; <c>null</c> when none is.</param>
public sealed record Ancestor(string Of, string Relation, string Name, string? Hash);

/// <summary>
/// Which models there were, and names for those that answer: <c>chat:models:records</c>, what training workers have registered beside it, and <c>chat:models:aliases</c>. An alias is looked up
/// when a request names one, so that all gateways change together. Thread-safe.
/// </summary>
internal sealed partial class ModelRegistry(StoreConnection store, IChatModels models, TimeProvider time)
{
    /// <summary>What a name that somebody gives may be.</summary>
    public const string NameForm = "1 to 64 lower-case letters, digits, dots and dashes, a letter or digit first";

    private const int MostAncestors = 32;

    /// <summary>Whether it has <see cref="NameForm"/>.</summary>
    public static bool IsName(string text) => Form().IsMatch(text);

    /// <summary>The served model's id that a name stands for; a name that stands for nothing is given back.</summary>
    public async Task<string> ResolveAsync(string name) => models.Models.Any(m => m.Id == name) || !IsName(name) ? name
        : (string?)await store.CallAsync(db => db.HashGetAsync(Keys.ModelAliases, name)) ?? name;

    public async Task<IReadOnlyDictionary<string, string>> AliasesAsync() =>
        (await store.CallAsync(db => db.HashGetAllAsync(Keys.ModelAliases))).OrderBy(a => (string)a.Name!, StringComparer.Ordinal).ToDictionary(a => (string)a.Name!, a => (string)a.Value!);

    /// <exception cref="ChatException">A name that cannot be one, or a model that nobody serves.</exception>
    public async Task SetAliasAsync(string alias, string? model)
    {
        if (!IsName(alias)) throw ChatException.Invalid($"An alias is {NameForm}.");
        if (models.Models.Any(m => m.Id == alias)) throw new ChatException(ChatError.Conflict, $"'{alias}' is a model's own id.");
        if (models.Models.All(m => m.Id != model)) throw ChatException.Invalid($"No model '{model}'. Known: {string.Join(", ", models.Models.Select(m => m.Id))}.");
        await RegisterServedAsync();
        await store.CallAsync(db => db.HashSetAsync(Keys.ModelAliases, alias, model));
    }

    /// <returns>Whether there was one.</returns>
    public Task<bool> RemoveAliasAsync(string alias) => store.CallAsync(db => db.HashDeleteAsync(Keys.ModelAliases, alias));

    /// <summary>Keeps what is served now in mind.</summary>
    public async Task RegisterServedAsync()
    {
        foreach (var model in models.Models)
            await store.CallAsync(db => db.HashSetAsync(Keys.ModelRecords, model.Hash, ConversationStore.Write(new ModelRecord(model, time.GetUtcNow()), StoreJson.Default.ModelRecord), When.NotExists));
    }

    /// <param name="name">An id (then the served or newest model of it), an alias or a content hash.</param>
    public async Task<ModelRecord?> FindAsync(string name)
    {
        var id = await ResolveAsync(name);
        var records = await RecordsAsync();
        var served = models.Models.FirstOrDefault(m => m.Id == id)?.Hash;
        return records.FirstOrDefault(r => r.Model.Hash == (served ?? name)) ?? Newest(records, id);
    }

    /// <summary>Parents and teachers, nearest first, as far as they are known.</summary>
    public async Task<IReadOnlyList<Ancestor>> LineageAsync(ModelDescription model)
    {
        var records = await RecordsAsync();
        var (lineage, seen, next) = (new List<Ancestor>(), new HashSet<string> { model.Id }, new Queue<ModelDescription>([model]));
        while (next.TryDequeue(out var of) && lineage.Count < MostAncestors)
            foreach (var (relation, name) in new[] { ("parent", of.Parent), ("teacher", of.Teacher) })
            {
                if (name is null) continue;
                var found = records.FirstOrDefault(r => r.Model.Hash == name) ?? Newest(records, name);
                lineage.Add(new(of.Id, relation, name, found?.Model.Hash));
                if (found is not null && seen.Add(name)) next.Enqueue(found.Model);
            }
        return lineage;
    }

    private async Task<IReadOnlyList<ModelRecord>> RecordsAsync()
    {
        await RegisterServedAsync();
        var (served, trained) = (await store.CallAsync(db => db.HashValuesAsync(Keys.ModelRecords)), await store.CallAsync(db => db.HashValuesAsync(TrainingStore.Registrations)));
        return [.. served.Concat(trained).Select(r => ConversationStore.Read(r, StoreJson.Default.ModelRecord)).DistinctBy(r => r.Model.Hash)];
    }

    private static ModelRecord? Newest(IEnumerable<ModelRecord> records, string id) => records.Where(r => r.Model.Id == id).MaxBy(r => r.Model.CreatedAt);

    [GeneratedRegex("^[a-z0-9][a-z0-9.-]{0,63}$")]
    private static partial Regex Form();
}
