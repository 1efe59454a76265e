namespace Chat.IntegrationTests;

/// <summary>Waits for a condition, with a deadline that only a broken product meets.</summary>
public static class Until
{
    public static async Task TrueAsync(Func<Task<bool>> condition, double seconds = 60)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
        while (!await condition())
        {
            Assert.False(deadline.IsCancellationRequested, $"The condition did not come true within {seconds} s.");
            await Task.Delay(10);
        }
    }

    public static Task TrueAsync(Func<bool> condition, double seconds = 60) => TrueAsync(() => Task.FromResult(condition()), seconds);
}
