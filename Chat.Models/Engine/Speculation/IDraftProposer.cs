using Chat.Domain.Plugins;
using Chat.Models.Decoding;

namespace Chat.Models.Engine.Speculation;

/// <summary>
/// Guesses what a model will say next, more cheaply than asking it. Guesses cost time when they are wrong and never change a reply: the model's own search
/// is asked at each place, and a guess counts only where it says the same. Not thread-safe: the engine's thread makes all calls, dispose included.
/// </summary>
[PluginKind("draft")]
public interface IDraftProposer : IDisposable
{
    /// <summary>
    /// Fills each request's <see cref="DraftRequest.Guess"/> with at most <see cref="DraftRequest.Most"/> tokens, with none where it has no idea; and <see cref="DraftRequest.Others"/> with at most as
    /// many further chains, the likelier first, as there are <see cref="DraftRequest.SpareRows"/>. Chains begin with different tokens. The guess does not depend on whether others are asked for.
    /// </summary>
    void Propose(ReadOnlySpan<DraftRequest> requests);

    /// <summary>Forgets what it keeps of a row, if anything.</summary>
    void Free(int row);
}

/// <summary>One reply under way, as a proposer sees it. The engine's thread owns it.</summary>
public sealed class DraftRequest
{
    /// <summary>The reply's row in the model's runner; no other request has it at the same time.</summary>
    public required int Row { get; set; }

    /// <summary>What the model reads.</summary>
    public required ReadOnlyMemory<int> Context { get; init; }

    /// <summary>The reply so far: emitted and chosen tokens, the newest one not yet fed to the model.</summary>
    public required List<int> Reply { get; init; }

    /// <summary>The reply's search; a proposer looks ahead with a <see cref="ISearch.Fork"/> of it.</summary>
    public required ISearch Search { get; init; }

    /// <summary>Tokens worth guessing now.</summary>
    public int Most { get; set; }

    public List<int> Guess { get; } = [];

    /// <summary>Rows of the model's runner that nobody holds, one for each further chain worth guessing; a proposer that has rows of its own may use those of the same numbers, and frees them.</summary>
    public IReadOnlyList<int> SpareRows { get; set; } = [];

    /// <summary>Further chains, for when the guess is wrong from its first token on.</summary>
    public List<List<int>> Others { get; } = [];

    /// <summary>Forgets what was guessed.</summary>
    internal void Clear()
    {
        Guess.Clear();
        Others.Clear();
    }
}
