using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace Chat.Models.Libtorch;

/// <summary>
/// Finds libtorch, which lies outside every output folder (480 MB), when TorchSharp first asks for it. Folders tried, the first that
/// holds <c>libtorch_cpu.so</c> wins: the environment variable <c>CHAT_LIBTORCH</c>, <c>libtorch</c> beside the program, the program's own
/// native folders (a <c>-p:Cuda=true</c> build), the NuGet package of the build. With <c>libtorch_cuda.so</c> in it the same build computes on a GPU.
/// <para>
/// Registered when this assembly is first touched. A program that may call <c>torch</c> before anything of this assembly
/// calls <see cref="Register"/> first: TorchSharp never tries twice.
/// </para>
/// </summary>
public static class LibtorchLoader
{
    private const string FolderVariable = "CHAT_LIBTORCH";
    private const string SpinVariable = "GOMP_SPINCOUNT";
    private const string ShortSpin = "1000";
    private const string CudaPart = "libtorch_cuda.so";
    private static readonly Lock Gate = new();
    private static readonly Dictionary<string, nint> Loaded = [];
    private static bool registered;

    // Each needs the ones before it; those of CUDA must come before anything asks whether there is a GPU, the answer is kept for ever.
    private static readonly (string File, bool Required)[] LoadOrder =
        [("libc10.so", true), ("libtorch_cpu.so", true), ("libc10_cuda.so", false), (CudaPart, false), ("libtorch.so", true)];

    /// <summary>The folder libtorch is, or will be, loaded from.</summary>
    /// <exception cref="DllNotFoundException">No folder has it; the message lists those tried.</exception>
    public static string Folder => Find(Candidates(Environment.GetEnvironmentVariable(FolderVariable)));

    /// <summary>
    /// Fails when there is no libtorch to load, before TorchSharp is asked: its own answer would be to copy what it can find into the program's
    /// folder and to speak of packages. Cheap; call it before the first tensor of a program's work.
    /// </summary>
    /// <exception cref="DllNotFoundException">As <see cref="Folder"/>.</exception>
    public static void Require()
    {
        if (OperatingSystem.IsLinux()) _ = Folder;
    }

    internal static string Find(IEnumerable<string> candidates)
    {
        var tried = candidates.Distinct().ToArray();
        return tried.FirstOrDefault(folder => File.Exists(Path.Combine(folder, "libtorch_cpu.so")))
            ?? throw new DllNotFoundException($"libtorch_cpu.so (libtorch 2.10) is in none of these folders: {string.Join(", ", tried)}. Set {FolderVariable} to the folder that holds it.");
    }

    /// <summary>Makes TorchSharp find libtorch. Idempotent and cheap: nothing is loaded before the first tensor.</summary>
    [ModuleInitializer]
    public static void Register()
    {
        lock (Gate)
        {
            if (registered || !OperatingSystem.IsLinux()) return;
            AssemblyLoadContext.Default.ResolvingUnmanagedDll += Resolve;
            registered = true;
        }
    }

    /// <summary>Called by the runtime when its own search failed: for libtorch always, for TorchSharp's own part on systems with an older libstdc++.</summary>
    private static nint Resolve(Assembly assembly, string name)
    {
        lock (Gate)
        {
            return name switch
            {
                "torch_cpu" or "torch_cuda" => Libtorch().GetValueOrDefault($"lib{name}.so"),
                "LibTorchSharp" => TorchSharpNative(assembly),
                _ => 0,
            };
        }
    }

    private static Dictionary<string, nint> Libtorch()
    {
        if (Loaded.Count > 0) return Loaded;
        var folder = Folder;
        LetThreadsSleep();
        if (File.Exists(Path.Combine(folder, CudaPart))) KeepAttentionFromPlanning();
        foreach (var (file, required) in LoadOrder)
        {
            var path = Path.Combine(folder, file);
            if (required || File.Exists(path)) Loaded[file] = NativeLibrary.Load(path);
        }
        return Loaded;
    }

    /// <summary>
    /// OpenMP's threads wait for each other by spinning, for milliseconds: on a machine that has other work two threads are then ten times slower than one
    /// (BENCHMARKS.md). A short spin, then sleep. Read by the library when it is loaded, from the process's own environment, which .NET's variables are not.
    /// </summary>
    private static void LetThreadsSleep()
    {
        if (Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is null && Environment.GetEnvironmentVariable(SpinVariable) is null)
            _ = SetVariable(SpinVariable, ShortSpin, 1);        // fails for want of memory only; then it is merely slow
    }

    /// <summary>
    /// On Hopper libtorch prefers cuDNN's attention, which plans anew for each new number of rows and keys: 40 ms of a decode step, and of each batch of new lengths in training (BENCHMARKS.md). Its
    /// other kernels need no plan. The name of the switch changed between versions; both are read from the process's own environment.
    /// </summary>
    private static void KeepAttentionFromPlanning()
    {
        _ = SetVariable("TORCH_CUDNN_SDPA_DEPRIORITIZED", "1", 0);
        _ = SetVariable("TORCH_CUDNN_SDPA_PREFERRED", "0", 0);
    }

    private static nint TorchSharpNative(Assembly assembly)
    {
        const string file = "libLibTorchSharp.so";
        Libtorch();
        if (Loaded.TryGetValue(file, out var handle)) return handle;
        var path = NativeFolders().Append(Path.GetDirectoryName(assembly.Location) ?? "").Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists)
            ?? throw new DllNotFoundException($"{file} of the TorchSharp package is not beside the program ({AppContext.BaseDirectory}).");
        return Loaded[file] = NativeLibrary.TryLoad(path, out handle) ? handle : OlderSystem.Load(path);
    }

    internal static IEnumerable<string> Candidates(string? chosen)
    {
        if (!string.IsNullOrEmpty(chosen))
        {
            yield return Path.GetFullPath(chosen);      // a wrong choice is an error, not a reason to take another one
            yield break;
        }
        yield return Path.Combine(AppContext.BaseDirectory, "libtorch");
        foreach (var folder in NativeFolders()) yield return folder;
        foreach (var metadata in typeof(LibtorchLoader).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>())
            if (metadata is { Key: "LibtorchFolder", Value.Length: > 0 }) yield return metadata.Value;
    }

    [DllImport("libc", EntryPoint = "setenv", CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int SetVariable(string name, string value, int overwrite);

    private static IEnumerable<string> NativeFolders() =>
        (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(Path.TrimEndingDirectorySeparator)
            .Prepend(Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native"))
            .Prepend(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
}
