using Chat.Domain.Plugins;

namespace Chat.Training.Evaluation.Judges;

public enum Verdict { First, Second, Tie }

/// <summary>Two replies to the same turns.</summary>
/// <param name="References">What could have been said; may be empty.</param>
public sealed record JudgedPair(IReadOnlyList<string> Context, string First, string Second, string Language, IReadOnlyList<string> References);

/// <summary>
/// Says which of two replies is better. A judge may prefer a place; whoever asks it asks in both orders (<see cref="PairwisePreference"/>). The same pair gets the same verdict.
/// </summary>
[PluginKind("judge")]
public interface IJudge
{
    /// <param name="teacher">A model that knows better than those who replied; a judge may do without.</param>
    ValueTask<Verdict> CompareAsync(JudgedPair pair, IReplyLikelihood teacher, CancellationToken cancel);
}
