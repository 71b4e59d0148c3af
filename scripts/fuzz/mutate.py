"""Mutations of good inputs. Entry: `mutate`."""

import json
import random
from collections.abc import Sequence
from typing import Any

TOKENS = [
    *(b"[", b"]", b"{", b"}", b'"', b":", b",", b"=", b"..", b"../../x", b"null", b"true", b"-1", b"1e400", b"NaN"),
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b", b"\r\n", b"\n\n", b"\t", b"\x1b[31m", b"\\ud800", b"%s"),
    *(b"0x10", b"<blank>", b"9" * 30, b"9" * 5000, b"[" * 4000, b"{" * 900, b'{"a":' * 2000),
]
"""Texts that readers stumble over."""
VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 10**7, 2**31, 2**63, 2**64, 10**400, 1e308, -0.5),
    *("", "x", "../x", "\0", "9" * 400, "bfloat16", [], {}, [[]], [None], {"a": {}}),
]
"""Values that stand where others are expected."""


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds after one to eight mutations, half of them of its structure where it is JSON."""
    data = rng.choice(seeds)
    if rng.random() < 0.5 and (changed := _of_structure(rng, data)) is not None:
        data = changed
        if rng.random() < 0.5:
            return data
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        _of_bytes(rng, data, seeds)
    return bytes(data)


def _of_bytes(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    until = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64)))
    way = rng.randrange(7)
    if way == 0 and data:
        data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
    elif way == 1 and data:
        data[min(at, len(data) - 1)] = rng.randrange(256)
    elif way == 2:
        del data[at:until]
    elif way == 3:
        data[at:at] = rng.choice(TOKENS)
    elif way == 4:
        data[at:at] = data[at:until] * rng.choice((1, 2, 50))
    elif way == 5:
        other = rng.choice(seeds)
        cut = rng.randrange(len(other) + 1)
        data[at:] = other[cut:]
    else:
        del data[at:]


def _of_structure(rng: random.Random, data: bytes) -> bytes | None:
    """Replace, drop or double one value of a JSON text; a safetensors file has one after its length."""
    length = int.from_bytes(data[:8], "little")
    if 0 < length <= len(data) - 8 and data[8:9] == b"{":
        header = _of_structure(rng, data[8 : 8 + length])
        if header is None:
            return None
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return json.dumps(_changed(rng, value)).encode("utf-8", "surrogatepass")


def _changed(rng: random.Random, value: Any) -> Any:
    places = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not len(places) or rng.random() < 0.15:
        if isinstance(value, str) and value.startswith("{") and rng.random() < 0.8:
            try:
                return json.dumps(_changed(rng, json.loads(value)))
            except (ValueError, RecursionError):
                pass  # Text that only begins like JSON.
        return rng.choice(VALUES)
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    place = rng.choice(list(places))
    way = rng.random()
    if way < 0.1:
        del changed[place]
    elif way < 0.2 and isinstance(changed, list):
        changed.insert(place, changed[place])
    elif way < 0.2:
        changed[rng.choice(["x", "", "../x", str(place) + " "])] = changed[place]
    else:
        changed[place] = _changed(rng, changed[place])
    return changed
