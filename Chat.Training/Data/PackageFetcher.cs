using System.Diagnostics;
using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;

namespace Chat.Training.Data;

/// <summary>
/// Brings packages through the machine's own package clients (npm, dotnet, apt-get), checks their hash and unpacks them.
/// A package that already lies in the folder with the right hash is not fetched again.
/// </summary>
/// <param name="folder">Gets <c>packages/</c> (as fetched) and <c>unpacked/</c>.</param>
public sealed class PackageFetcher(string folder)
{
    private string Packages => Path.Combine(folder, "packages");

    /// <summary>Folder with one folder a package.</summary>
    public string Unpacked => Path.Combine(folder, "unpacked");

    /// <exception cref="InvalidDataException">Wrong hash; nothing is unpacked.</exception>
    /// <exception cref="InvalidOperationException">The client failed or is not installed; the message has its last words.</exception>
    public async Task<FetchedPackage> FetchAsync(PackageRecipe package, CancellationToken cancel)
    {
        if (package is { Manager: "npm" or "nuget" } and ({ Version: null } or { Sha256: null }))
            throw new InvalidDataException($"Package {package.Name}: {package.Manager} packages are pinned, give version and sha256.");
        var work = Directory.CreateDirectory(Path.Combine(Packages, package.Manager, package.Folder)).FullName;
        var file = Directory.EnumerateFiles(work).SingleOrDefault(f => !f.EndsWith(".part", StringComparison.Ordinal));
        file ??= package.Manager switch
        {
            "npm" => await RunAndFind(work, "npm", ["pack", "--silent", "--pack-destination", work, $"{package.Name}@{package.Version}"], cancel),
            "apt" => await RunAndFind(work, "apt-get", ["download", package.Version is null ? package.Name : $"{package.Name}={package.Version}"], cancel),
            "apt-records" => await AptRecords(work, cancel),
            "nuget" => await NuGet(work, package, cancel),
            _ => throw new InvalidDataException($"Package {package.Name}: unknown manager '{package.Manager}'. Known: apt, apt-records, npm, nuget."),
        };

        var hash = Convert.ToHexStringLower(await SHA256.HashDataAsync(File.OpenRead(file), cancel));
        if (package.Sha256 is { } expected && hash != expected)
        {
            File.Delete(file);
            throw new InvalidDataException($"Package {package.Name}: sha256 is {hash}, the recipe says {expected}.");
        }

        var version = package.Version ?? Uri.UnescapeDataString(Path.GetFileNameWithoutExtension(file).Split('_').ElementAtOrDefault(1) ?? "unknown");
        var fetched = new FetchedPackage(package.Manager, package.Name, version, hash, new FileInfo(file).Length);
        await UnpackAsync(package, file, hash, cancel);
        return fetched;
    }

    private async Task UnpackAsync(PackageRecipe package, string file, string hash, CancellationToken cancel)
    {
        var target = Path.Combine(Unpacked, package.Folder);
        var stamp = target + ".sha256";
        if (File.Exists(stamp) && await File.ReadAllTextAsync(stamp, cancel) == hash) return;
        if (Directory.Exists(target)) Directory.Delete(target, recursive: true);
        Directory.CreateDirectory(target);
        switch (package.Manager)
        {
            case "npm":
                await using (var stream = new GZipStream(File.OpenRead(file), CompressionMode.Decompress))
                    await TarFile.ExtractToDirectoryAsync(stream, target, overwriteFiles: true, cancel);
                break;
            case "nuget":
                await ZipFile.ExtractToDirectoryAsync(file, target, overwriteFiles: true, cancel);
                break;
            case "apt":
                await Run(target, "dpkg-deb", ["-x", file, target], cancel);
                break;
            case "apt-records":
                File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
                break;
        }
        await File.WriteAllTextAsync(stamp, hash, cancel);
    }

    /// <summary>What apt knows of all packages since its last update: sections and one line each.</summary>
    private static async Task<string> AptRecords(string work, CancellationToken cancel)
    {
        var file = Path.Combine(work, "records.txt");
        var records = await Run(work, "apt-cache", ["dumpavail"], cancel);
        if (records.Length == 0) throw new InvalidOperationException("'apt-cache dumpavail' knows of no package: run 'apt-get update' first.");
        await File.WriteAllTextAsync(file, records, cancel);
        return file;
    }

    /// <summary>NuGet has no download verb: a project that asks for exactly this version is restored into the folder.</summary>
    private static async Task<string> NuGet(string work, PackageRecipe package, CancellationToken cancel)
    {
        var project = Directory.CreateTempSubdirectory("package-");
        await File.WriteAllTextAsync(Path.Combine(project.FullName, "fetch.csproj"),
            $"""<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup><ItemGroup><PackageDownload Include="{package.Name}" Version="[{package.Version}]" /></ItemGroup></Project>""", cancel);
        var cache = Path.Combine(project.FullName, "cache");
        await Run(project.FullName, "dotnet", ["restore", "--packages", cache], cancel);
        var found = Directory.EnumerateFiles(cache, "*.nupkg", SearchOption.AllDirectories).Single();
        var file = Path.Combine(work, Path.GetFileName(found));
        File.Move(found, file);
        project.Delete(recursive: true);
        return file;
    }

    private static async Task<string> RunAndFind(string work, string client, string[] arguments, CancellationToken cancel)
    {
        await Run(work, client, arguments, cancel);
        return Directory.EnumerateFiles(work).Single();
    }

    private static async Task<string> Run(string work, string client, string[] arguments, CancellationToken cancel)
    {
        var start = new ProcessStartInfo(client, arguments) { WorkingDirectory = work, RedirectStandardError = true, RedirectStandardOutput = true };
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            throw new InvalidOperationException($"'{client}' is not installed, and the recipe needs it: {error.Message}", error);
        }
        using (process)
        {
            var output = process.StandardOutput.ReadToEndAsync(cancel);
            var errors = await process.StandardError.ReadToEndAsync(cancel);
            await process.WaitForExitAsync(cancel);
            if (process.ExitCode != 0)
                throw new InvalidOperationException($"'{client} {string.Join(' ', arguments)}' ended with {process.ExitCode}: {errors.Trim()} {(await output).Trim()}");
            return await output;
        }
    }
}
