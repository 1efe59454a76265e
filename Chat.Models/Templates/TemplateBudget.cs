using System.Runtime.CompilerServices;

namespace Chat.Models.Templates;

/// <summary>What one rendering may cost. Templates come with models, from strangers: they get no clock to run against, but a fixed amount of work and of text.</summary>
internal sealed class TemplateBudget(long steps, int characters)
{
    private long used;

    /// <summary>One node is evaluated.</summary>
    /// <exception cref="TemplateException">The steps are used up, or the nesting is too deep for the stack.</exception>
    public void Step()
    {
        Use(1);
        CheckDepth();
    }

    /// <summary>A text or list of so many elements is about to be made.</summary>
    /// <exception cref="TemplateException">It is longer than anything may be, or the steps are used up.</exception>
    public void Make(long length)
    {
        Check(length);
        Use(length / 16);
    }

    /// <summary>Something that grows has so many elements by now, all paid for.</summary>
    /// <exception cref="TemplateException">It is longer than anything may be.</exception>
    public void Check(long length)
    {
        if (length > characters) throw new TemplateException($"The chat template makes something of {length} characters or elements; at most {characters} are allowed.");
    }

    public string Made(string text)
    {
        Make(text.Length);
        return text;
    }

    private void Use(long cost)
    {
        if ((used += cost) > steps) throw new TemplateException($"The chat template takes more than the allowed {steps} steps.");
    }

    /// <exception cref="TemplateException">Values or expressions are nested too deeply.</exception>
    public static void CheckDepth()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw new TemplateException("The chat template nests too deeply.");
    }
}
