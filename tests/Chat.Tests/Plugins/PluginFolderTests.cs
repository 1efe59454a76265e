using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.Loader;
using System.Security.Cryptography;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Chat.Tests.Decoding;

namespace Chat.Tests.Plugins;

public sealed class PluginFolderTests : IDisposable
{
    private static readonly Assembly[] Contracts = [typeof(PluginCatalog).Assembly, typeof(IDecodingStrategy).Assembly];

    private readonly TemporaryFolder folder = new();

    /// <summary>tests/SamplePlugin as it was built, in its place beside the tests.</summary>
    public static PluginFolderOptions Sample { get; } = new()
    {
        Folder = Path.Combine(AppContext.BaseDirectory, "Plugins"), Allowed = new Dictionary<string, string> { ["SamplePlugin"] = "any" },
    };

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_plugin_on_the_list_is_loaded_into_a_context_of_its_own_and_shares_the_contracts()
    {
        var assembly = Assert.Single(PluginFolder.Load(Sample, Contracts));
        var catalog = new PluginCatalog([.. Contracts, assembly]);
        var plugin = catalog.Get("decoding", "sample-epsilon");

        Assert.Equal("plugin SamplePlugin", AssemblyLoadContext.GetLoadContext(assembly)!.Name);
        Assert.Contains(typeof(IDecodingStrategy), plugin.Type.GetInterfaces());
        Assert.Contains("epsilon", Assert.Throws<Chat.Domain.Generation.GenerationException>(() => new DecodingCatalog(catalog)
            .Resolve(new() { ["strategy"] = "sample-epsilon", ["epsilo"] = 1 }, null, null, new(9, 9, 9, false), () => 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_sample_is_greedy_at_one_end_and_sampling_at_the_other()
    {
        var catalog = new DecodingCatalog(new PluginCatalog([.. Contracts, .. PluginFolder.Load(Sample, Contracts)]));
        for (var seed = 0; seed < 20; seed++)
        {
            var model = new ToyModel(seed, 9);
            int[] Run(string strategy, params (string, double)[] options)
            {
                var json = new System.Text.Json.Nodes.JsonObject { ["strategy"] = strategy, ["seed"] = seed, ["repetitionPenalty"] = 1, ["noRepeatNgram"] = 0, ["topP"] = 1, ["temperature"] = 1 };
                foreach (var (name, value) in options) json[name] = value;
                var resolved = catalog.Resolve(json, null, null, new(12, 4, 9, false), () => 1);
                return model.Run(resolved.Strategy, resolved.Options, catalog).Ids;
            }

            Assert.Equal(Run("greedy"), Run("sample-epsilon", ("epsilon", 1)));
            Assert.Equal(Run("sample"), Run("sample-epsilon", ("epsilon", 0)));
        }
    }

    [Fact]
    public void The_right_hash_is_let_in_and_a_wrong_one_named()
    {
        var hash = Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(Path.Combine(Sample.Folder!, "SamplePlugin", "SamplePlugin.dll"))));
        PluginFolderOptions With(string expected) => Sample with { Allowed = new Dictionary<string, string> { ["SamplePlugin"] = expected } };

        Assert.Single(PluginFolder.Load(With(hash), Contracts));
        Assert.Contains($"has the SHA-256 {hash.ToLowerInvariant()}", Refusal(With(new string('0', 64))), StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_list_does_not_name_is_refused_and_so_is_what_is_not_there()
    {
        Make("Known", 1, hasPlugin: false);

        Assert.Equal("Plugins:Folder holds 'Known', which Plugins:Allowed does not name. Allowed: Other.", Refusal(Allowing("Other")));
        Assert.Contains("names 'Other'", Refusal(Allowing("Known", "Other")), StringComparison.Ordinal);
        Assert.Contains("is not a folder", Refusal(new() { Folder = folder.At("none") }), StringComparison.Ordinal);
        Assert.Empty(PluginFolder.Load(new(), Contracts));
    }

    [Fact]
    public void Another_contract_version_is_refused_with_both_versions()
    {
        Make("Old", PluginContract.Version + 1, hasPlugin: true);

        Assert.Equal($"Plugin 'Old' was built for version {PluginContract.Version + 1} of the plugin contracts, this program has version {PluginContract.Version}: build it again against this program.", Refusal(Allowing("Old")));
    }

    [Fact]
    public void What_is_no_plugin_is_refused_and_then_nothing_is_loaded()
    {
        Make("Silent", version: null, hasPlugin: true);
        Assert.Contains("does not say for which contracts", Refusal(Allowing("Silent")), StringComparison.Ordinal);
        Directory.Delete(folder.At("Silent"), recursive: true);

        Make("Empty", PluginContract.Version, hasPlugin: false);
        Assert.Contains("holds no class marked [Plugin]", Refusal(Allowing("Empty")), StringComparison.Ordinal);
        Directory.Delete(folder.At("Empty"), recursive: true);

        Directory.CreateDirectory(folder.At("Text"));
        Assert.Contains("has no Text.dll", Refusal(Allowing("Text")), StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder.At("Text"), "Text.dll"), "not an assembly");
        Assert.Contains("is no .NET assembly", Refusal(Allowing("Text")), StringComparison.Ordinal);
    }

    private static string Refusal(PluginFolderOptions options) => Assert.Throws<InvalidOperationException>(() => PluginFolder.Load(options, Contracts)).Message;

    private PluginFolderOptions Allowing(params string[] names) => new() { Folder = folder.Path, Allowed = names.ToDictionary(n => n, _ => "any") };

    private void Make(string name, int? version, bool hasPlugin)
    {
        var builder = new PersistedAssemblyBuilder(new AssemblyName(name), typeof(object).Assembly);
        if (version is not null) builder.SetCustomAttribute(new(typeof(PluginContractAttribute).GetConstructors()[0], [version]));
        var type = builder.DefineDynamicModule(name).DefineType("Thing", TypeAttributes.Public);
        if (hasPlugin) type.SetCustomAttribute(new(typeof(PluginAttribute).GetConstructors()[0], ["thing"]));
        type.CreateType();
        Directory.CreateDirectory(folder.At(name));
        builder.Save(Path.Combine(folder.At(name), name + ".dll"));
    }
}
