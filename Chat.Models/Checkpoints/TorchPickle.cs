using System.Buffers.Binary;
using System.Collections.Frozen;
using System.Numerics;
using System.Text;

namespace Chat.Models.Checkpoints;

/// <summary>A tensor as a pickle describes it: a view of a storage whose numbers lie elsewhere in the file. Offset and strides count elements.</summary>
internal sealed record TorchTensor(string Storage, string Dtype, long StorageLength, long Offset, IReadOnlyList<long> Shape, IReadOnlyList<long> Strides);

/// <summary>
/// Reads the pickle of a PyTorch checkpoint without running anything: it builds texts, numbers, lists (<c>List&lt;object?&gt;</c>), tuples (<c>object?[]</c>), dictionaries with text keys and
/// <see cref="TorchTensor"/>. Of Python's names only those of tensors and their containers mean something; those that optimizers and random states of training runs need are read as <see cref="Unread"/>; any other is refused
/// by its name, whether it would be called or not.
/// </summary>
internal sealed class TorchPickle(Stream stream, string file)
{
    /// <summary>Something that is there and not looked at.</summary>
    public sealed class Unread;

    private sealed record Name(string Text);

    private sealed record Storage(string Key, string Dtype, long Length);

    private const int MostDimensions = 8, LongestLine = 256, LongestText = 16 << 20;
    private const string OrderedDictionary = "collections.OrderedDict", Parameter = "torch._utils._rebuild_parameter", Rebuild = "torch._utils._rebuild_tensor", RebuildWithHooks = "torch._utils._rebuild_tensor_v2";
    private static readonly object Mark = new();

    private static readonly FrozenDictionary<string, string> Storages = new Dictionary<string, string>
    {
        ["torch.FloatStorage"] = "F32", ["torch.HalfStorage"] = "F16", ["torch.BFloat16Storage"] = "BF16", ["torch.DoubleStorage"] = "F64",
        ["torch.LongStorage"] = "I64", ["torch.IntStorage"] = "I32", ["torch.ShortStorage"] = "I16", ["torch.CharStorage"] = "I8", ["torch.ByteStorage"] = "U8", ["torch.BoolStorage"] = "BOOL",
    }.ToFrozenDictionary();

    // What DeepSpeed and Megatron keep beside the weights.
    private static readonly FrozenSet<string> NotLookedAt = new[]
    {
        "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.ndarray", "numpy.dtype", "_codecs.encode",
        "argparse.Namespace", "builtins.set", "__builtin__.set", "torch.Size", "torch.device",
        "deepspeed.runtime.fp16.loss_scaler.LossScaler", "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    }.ToFrozenSet();

    private readonly List<object?> stack = [];
    private readonly Dictionary<uint, object?> memo = [];

    /// <summary>The next pickle of the stream; the stream stands behind it afterwards.</summary>
    /// <exception cref="CheckpointException"><c>bad_header</c>, <c>truncated</c>, <c>duplicate_key</c>, <c>bad_offsets</c>, or <c>unsupported</c> with the name that is refused.</exception>
    public static object? Read(Stream stream, string file)
    {
        try
        {
            return new TorchPickle(stream, file).Run();
        }
        catch (EndOfStreamException error)
        {
            throw new CheckpointException(CheckpointErrors.Truncated, $"{file} ends inside its pickle.", error);
        }
        catch (Exception error) when (error is InvalidCastException or NullReferenceException or ArgumentException or OverflowException or KeyNotFoundException or IndexOutOfRangeException)
        {
            throw new CheckpointException(CheckpointErrors.BadHeader, $"{file}: the pickle is not of the form that torch.save writes.", error);
        }
    }

    private object? Run()
    {
        while (true)
        {
            var code = (char)Byte();
            switch (code)
            {
                case '.': return Pop();
                case '\x80': Byte(); break;                                                     // PROTO
                case '\x95': Bytes(8); break;                                                   // FRAME
                case '(': stack.Add(Mark); break;
                case 'N': stack.Add(null); break;
                case '\x88': stack.Add(true); break;
                case '\x89': stack.Add(false); break;
                case 'K': stack.Add((long)Byte()); break;
                case 'M': stack.Add((long)BinaryPrimitives.ReadUInt16LittleEndian(Bytes(2))); break;
                case 'J': stack.Add((long)BinaryPrimitives.ReadInt32LittleEndian(Bytes(4))); break;
                case '\x8a': AddWhole(Bytes(Byte())); break;                            // LONG1
                case '\x8b': AddWhole(Bytes(Size(4))); break;                           // LONG4
                case 'G': stack.Add(BinaryPrimitives.ReadDoubleBigEndian(Bytes(8))); break;
                case 'X': stack.Add(Encoding.UTF8.GetString(Bytes(Size(4)))); break;
                case '\x8c': stack.Add(Encoding.UTF8.GetString(Bytes(Byte()))); break;
                case '\x8d': stack.Add(Encoding.UTF8.GetString(Bytes(Size(8)))); break;
                case 'U': stack.Add(Encoding.Latin1.GetString(Bytes(Byte()))); break;           // texts of Python 2
                case 'T': stack.Add(Encoding.Latin1.GetString(Bytes(Size(4)))); break;
                case 'C': stack.Add(Bytes(Byte())); break;
                case 'B': stack.Add(Bytes(Size(4))); break;
                case '\x8e': stack.Add(Bytes(Size(8))); break;
                case ')': stack.Add(Array.Empty<object?>()); break;
                case 't': stack.Add(ToMark()); break;
                case '\x85': stack.Add(Top(1)); break;
                case '\x86': stack.Add(Top(2)); break;
                case '\x87': stack.Add(Top(3)); break;
                case ']': stack.Add(new List<object?>()); break;
                case '}': stack.Add(new Dictionary<string, object?>(StringComparer.Ordinal)); break;
                case '\x8f': stack.Add(new Unread()); break;                                    // a set
                case '\x90': ToMark(); break;                                                   // its members
                case 'a': Append(Top(1)); break;
                case 'e': Append(ToMark()); break;
                case 's': Fill(Top(2)); break;
                case 'u': Fill(ToMark()); break;
                case 'q': memo[(uint)Byte()] = stack[^1]; break;
                case 'r': memo[BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4))] = stack[^1]; break;
                case '\x94': memo[(uint)memo.Count] = stack[^1]; break;                         // MEMOIZE
                case 'h': stack.Add(memo[(uint)Byte()]); break;
                case 'j': stack.Add(memo[BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4))]); break;
                case '0': Pop(); break;
                case 'c': stack.Add(Known($"{Line()}.{Line()}")); break;                        // GLOBAL
                case '\x93': stack.Add(Top(2) is [string module, string name] ? Known($"{module}.{name}") : throw Form("a name is no text")); break;
                case 'R': stack.Add(Call(Top(2))); break;
                case '\x81': stack.Add(Top(2) is [Name made, _] && NotLookedAt.Contains(made.Text) ? new Unread() : throw Form("an object is made of what makes none")); break;
                case 'b': Pop(); break;                                                         // BUILD: attributes such as a state_dict's _metadata
                case 'Q': stack.Add(Persistent(Pop())); break;
                default: throw new CheckpointException(CheckpointErrors.Unsupported, $"{file}: the pickle has the instruction 0x{(int)code:x2}, which no checkpoint of weights needs.");
            }
        }
    }

    private Name Known(string name) => name is OrderedDictionary or Parameter or Rebuild or RebuildWithHooks || Storages.ContainsKey(name) || NotLookedAt.Contains(name) ? new Name(name)
        : throw new CheckpointException(CheckpointErrors.Unsupported, $"{file} names '{name}', which no checkpoint of weights needs: it is not read. Nothing of it was run.");

    private object Call(object?[] parts)
    {
        if (parts is not [Name called, object?[] arguments]) throw Form("something is called that is no name");
        return called.Text switch
        {
            OrderedDictionary => Pairs(arguments),
            Parameter => (TorchTensor)arguments[0]!,
            Rebuild or RebuildWithHooks => View((Storage)arguments[0]!, (long)arguments[1]!, Sizes(arguments[2]), Sizes(arguments[3])),
            var other when NotLookedAt.Contains(other) => new Unread(),
            var other => throw Form($"'{other}' is called with what it does not take"),
        };
    }

    // Python 3 calls it with nothing and sets items afterwards, Python 2 gives a list of pairs.
    private Dictionary<string, object?> Pairs(object?[] arguments)
    {
        var made = new Dictionary<string, object?>(StringComparer.Ordinal);
        stack.Add(made);
        if (arguments.Length > 0) Fill([.. ((List<object?>)arguments[0]!).SelectMany(pair => pair as IEnumerable<object?> ?? throw Form("an ordered dictionary is made of no pairs"))]);
        Pop();
        return made;
    }

    private Storage Persistent(object? id) => id is object?[] { Length: >= 5 } parts && parts[0] is "storage" && parts[1] is Name type && Storages.TryGetValue(type.Text, out var dtype)
        ? new Storage((string)parts[2]!, dtype, (long)parts[4]!) : throw Form("a persistent id is none of a storage");

    private TorchTensor View(Storage storage, long offset, long[] shape, long[] strides)
    {
        if (shape.Length != strides.Length || shape.Length > MostDimensions || offset < 0 || storage.Length < 0 || shape.Any(size => size < 0) || strides.Any(stride => stride < 0)) throw Form("a tensor has impossible sizes");
        var last = (BigInteger)offset;
        for (var i = 0; i < shape.Length; i++) last += (BigInteger)Math.Max(shape[i] - 1, 0) * strides[i];
        if (!shape.Contains(0) && last >= storage.Length)
            throw new CheckpointException(CheckpointErrors.BadOffsets, $"{file}: a tensor [{string.Join(", ", shape)}] reaches to element {last} of a storage of {storage.Length}.");
        // A stride of zero makes a large tensor of a small storage: no weight does.
        if (shape.Aggregate(BigInteger.One, (product, size) => product * size) > storage.Length)
            throw new CheckpointException(CheckpointErrors.SizeMismatch, $"{file}: a tensor [{string.Join(", ", shape)}] has more elements than its storage of {storage.Length}.");
        return new TorchTensor(storage.Key, storage.Dtype, storage.Length, offset, shape, strides);
    }

    private void Fill(object?[] pairs)
    {
        if (stack[^1] is Unread) return;
        var target = (Dictionary<string, object?>)stack[^1]!;
        for (var i = 0; i + 1 < pairs.Length; i += 2)
            if (pairs[i] is string key && !target.TryAdd(key, pairs[i + 1])) throw new CheckpointException(CheckpointErrors.DuplicateKey, $"{file}: '{key}' stands twice in one dictionary.");
    }

    private void Append(object?[] items)
    {
        if (stack[^1] is not Unread) ((List<object?>)stack[^1]!).AddRange(items);
    }

    private object?[] ToMark()
    {
        var mark = stack.LastIndexOf(Mark);
        if (mark < 0) throw Form("a mark is missing");
        object?[] items = [.. stack[(mark + 1)..]];
        stack.RemoveRange(mark, stack.Count - mark);
        return items;
    }

    private object?[] Top(int count)
    {
        object?[] items = [.. stack[^count..]];
        stack.RemoveRange(stack.Count - count, count);
        return items;
    }

    private object? Pop() => Top(1)[0];

    private static long[] Sizes(object? tuple) => [.. ((object?[])tuple!).Select(size => (long)size!)];

    private void AddWhole(byte[] little)
    {
        var whole = new BigInteger(little);
        if (whole >= long.MinValue && whole <= long.MaxValue) stack.Add((long)whole);
        else stack.Add(whole);
    }

    private byte Byte() => stream.ReadByte() is var read and >= 0 ? (byte)read : throw new EndOfStreamException();

    private int Size(int width)
    {
        var size = width == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4)) : BinaryPrimitives.ReadUInt64LittleEndian(Bytes(8));
        return size <= LongestText ? (int)size : throw Form($"a text of {size} bytes is claimed");
    }

    private byte[] Bytes(int count)
    {
        if (count > stream.Length - stream.Position) throw new EndOfStreamException();      // nothing is allocated on the file's word
        var bytes = new byte[count];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private string Line()
    {
        var line = new StringBuilder();
        for (var read = Byte(); read != '\n'; read = Byte())
            if (line.Append((char)read).Length > LongestLine) throw Form("a name has no end");
        return line.ToString();
    }

    private CheckpointException Form(string what) => new(CheckpointErrors.BadHeader, $"{file}: {what}.");
}
