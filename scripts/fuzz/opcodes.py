"""Mutations of pickles, opcode by opcode; no pickle is executed. Entry: `change_pickle`."""

import io
import pickletools
import random
import struct
from typing import Any

VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 7, 10**7, 2**31, 2**63, 2**64, 1e308, float("nan"), -0.5),
    *("", "x", "../x", "0", "cpu", "cuda", "storage", "9" * 400, [], {}, ()),
]
"""Values that stand where others are expected."""
GLOBALS = (
    *("torch FloatStorage", "torch HalfStorage", "torch BFloat16Storage", "torch LongStorage", "torch BoolStorage"),
    *("torch.storage UntypedStorage", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
    *("torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_qtensor", "torch._tensor _rebuild_from_type_v2"),
    *("torch Tensor", "torch Size", "torch device", "torch float16", "torch.nn.parameter Parameter"),
    *("collections OrderedDict", "collections Counter", "builtins set", "builtins bytearray", "builtins eval"),
    *("_codecs encode", "numpy ndarray", "numpy dtype", "numpy._core.multiarray _reconstruct", "os system"),
    *("numpy._core.multiarray scalar", "numpy.core.multiarray scalar", "numpy.dtypes Float64DType"),
)
"""Classes and functions that a pickle may name, allowed and refused ones."""
_PLAIN = [bytes([code]) for code in b"N02(1])}tlduaseRbQ.\x81\x85\x86\x87\x88\x89\x8f\x90\x93\x94"]
"""Opcodes without arguments."""


def change_pickle(rng: random.Random, data: bytes) -> bytes | None:
    """Return the data with one opcode changed, dropped, doubled or moved; what follows the pickles stays.

    None for data that does not begin with a whole pickle.
    """
    opcodes, end = _opcodes(data)
    if not opcodes:
        return None
    parts = [part for _, part in opcodes]
    at = rng.randrange(len(parts))
    way = rng.random()
    if way < 0.6:
        # Most opcodes have no argument, or one that only numbers the memo.
        places = [i for i, (argument, _) in enumerate(opcodes) if argument is not None] or [at]
        at = rng.choice(places)
        parts[at] = _other_argument(rng, opcodes, at)
    elif way < 0.7:
        del parts[at]
    elif way < 0.78:
        parts.insert(at, parts[at])
    elif way < 0.86:
        other = rng.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    elif way < 0.93:
        parts[at] = rng.choice(parts)
    else:
        parts.insert(at, rng.choice(_PLAIN))
    return b"".join(parts) + data[end:]


def _opcodes(data: bytes) -> tuple[list[tuple[Any, bytes]], int]:
    """Return the opcodes of all pickles at the start, each with its argument and bytes, and where they end."""
    stream, found, end = io.BytesIO(data), [], 0
    try:
        while True:
            here = list(pickletools.genops(stream))
            until = stream.tell()
            starts = [position for _, _, position in here] + [until]
            for (opcode, argument, position), after in zip(here, starts[1:], strict=True):
                assert position is not None
                assert after is not None
                shown = None if opcode.name in ("PROTO", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET") else argument
                found.append(((opcode.name, shown) if shown is not None else None, data[position:after]))
            end = until
    except Exception:  # Behind the last pickle, or in damaged bytes, which raise anything.
        return found, end


def _other_argument(rng: random.Random, opcodes: list[tuple[Any, bytes]], at: int) -> bytes:
    found = opcodes[at][0]
    if found is None:
        return rng.choice(_PLAIN)
    name, argument = found
    if name == "GLOBAL":
        module, _, attribute = rng.choice(GLOBALS).partition(" ")
        return f"c{module}\n{attribute}\n".encode()
    way = rng.random()
    if isinstance(argument, str) and way < 0.4:
        texts = [other[1] for other, _ in opcodes if other and isinstance(other[1], str) and other[0] != "GLOBAL"]
        return _encode(rng.choice(texts))
    if isinstance(argument, str) and way < 0.6:
        cut = rng.randrange(len(argument) + 1)
        return _encode(argument[:cut] + rng.choice(("", ".", "x", "\0", "inner.", "ema.")) + argument[cut:])
    if isinstance(argument, int) and way < 0.5:
        return _encode(rng.choice((argument + 1, argument - 1, argument * 2, -argument, argument // 2)))
    return _encode(rng.choice(VALUES))


def _encode(value: Any) -> bytes:
    """Encode a value as opcodes of protocol 2."""
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        length = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode("utf-8", "replace")
        return b"X" + struct.pack("<I", len(text)) + text
    return {list: b"]", dict: b"}", tuple: b")"}[type(value)]
