"""Mutations of structure: a file is taken apart, one part changes, and lengths and checksums are made right again.

A changed byte of an archive ends in its first check, and never reaches the code behind. Entry: `change_structure`.
"""

import ast
import io
import json
import random
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from fuzz.opcodes import change_pickle
from fuzz.tensors import change_tensors
from fuzz.trees import change_tree
from trm.checkpoints.description import KEY

_NUMPY = b"\x93NUMPY"
_MOST_UNPACKED = 1 << 24

ChangeBytes = Callable[[random.Random, bytes], bytes]


def change_structure(rng: random.Random, data: bytes, change_bytes: ChangeBytes) -> bytes | None:
    """Return the data with one change of its structure; None for data of no known structure.

    `change_bytes` changes the parts that have none, such as the numbers of an array.
    """
    is_tensor_file = data.startswith((b"PK\x03\x04", b"\x80")) or data[7:9] == b"\0{"
    if is_tensor_file and rng.random() < 0.4 and (changed := change_tensors(rng, data)) is not None:
        return changed
    if data.startswith(b"PK\x03\x04"):
        return _change_zip(rng, data, change_bytes)
    if data.startswith(_NUMPY):
        return _change_npy(rng, data, change_bytes)
    if data.startswith(b"\x80"):
        return change_pickle(rng, data)
    length = int.from_bytes(data[:8], "little")
    if 0 < length <= len(data) - 8 and data[8:9] == b"{":
        return _change_safetensors(rng, data, length, change_bytes)
    if data[1:7] == _NUMPY or (data[1:2] == b"{" and data[:1].isdigit()):
        # A file of a puzzle set, after the byte that says which it is.
        inner = change_structure(rng, data[1:], change_bytes)
        return None if inner is None else data[:1] + inner
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return _encode(change_tree(rng, value))


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


# Tensor files


def _change_safetensors(rng: random.Random, data: bytes, length: int, change_bytes: ChangeBytes) -> bytes | None:
    header, arrays = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.2:
        return data[: 8 + length] + change_bytes(rng, arrays)
    try:
        values = json.loads(header)
    except (ValueError, RecursionError):
        return None
    part = "__metadata__" if isinstance(values, dict) and "__metadata__" in values and rng.random() < 0.7 else None
    values = change_tree(rng, values) if part is None else values | {part: change_tree(rng, values[part])}
    if rng.random() < 0.8:
        _sign(values)
    text = _encode(values)
    return len(text).to_bytes(8, "little") + text + arrays


def _sign(header: Any) -> None:
    """Make the checksum of our own description right again."""
    try:
        described = json.loads(header["__metadata__"][KEY])
        del described["checksum"]
        described["checksum"] = zlib.crc32(json.dumps(described).encode())
        header["__metadata__"][KEY] = json.dumps(described)
    except (KeyError, ValueError, TypeError, RecursionError):
        return  # A description that is none any more has no checksum.


def _change_npy(rng: random.Random, data: bytes, change_bytes: ChangeBytes) -> bytes | None:
    wide = 4 if data[6] > 1 else 2
    start = 8 + wide
    until = start + int.from_bytes(data[8:start], "little")
    if rng.random() < 0.4:
        return data[:until] + change_bytes(rng, data[until:])
    try:
        header = _as_literal(rng, dict(ast.literal_eval(data[start:until].decode("latin1"))))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    text = header.encode("latin1", "replace")[:60_000]
    return data[:8] + len(text).to_bytes(wide, "little") + text + data[until:]


def _as_literal(rng: random.Random, header: dict[str, Any]) -> str:
    """Return the changed header of an array as NumPy writes it: a literal of Python, with the shape as a tuple."""
    changed = change_tree(rng, {name: list(value) if type(value) is tuple else value for name, value in header.items()})
    if isinstance(changed, dict) and isinstance(changed.get("shape"), list) and rng.random() < 0.9:
        changed["shape"] = tuple(changed["shape"])
    if isinstance(changed, dict) and rng.random() < 0.2:
        changed["descr"] = rng.choice(
            ("<f8", "|O", "<U4", "|V2", "<M8[s]", ">i4", "|b1", "<c16", "<f2", [("a", "<i4")])
        )
    return repr(changed) + "\n"


# Archives


def _change_zip(rng: random.Random, data: bytes, change_bytes: ChangeBytes) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MOST_UNPACKED:
                return None
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # Damaged bytes raise anything.
        return None
    if not members:
        return None
    pickles = [i for i, (name, _) in enumerate(members) if name.endswith(".pkl")]
    at = rng.choice(pickles) if pickles and rng.random() < 0.6 else rng.randrange(len(members))
    name, content = members[at]
    way = rng.random()
    if way < 0.06:
        del members[at]
    elif way < 0.12:
        members.insert(rng.randrange(len(members) + 1), (name, content))
    elif way < 0.18:
        members[at] = rng.choice(_names(name, [other for other, _ in members])), content
    elif way < 0.22:
        members[at] = name, rng.choice(members)[1]
    else:
        changed = change_structure(rng, content, change_bytes) if rng.random() < 0.8 else None
        members[at] = name, change_bytes(rng, content) if changed is None else changed
    return _packed(members, zipfile.ZIP_DEFLATED if rng.random() < 0.03 else zipfile.ZIP_STORED)


def _names(name: str, others: list[str]) -> list[str]:
    folder = name.rpartition("/")[0]
    return [*others, "", name + "x", f"../{name}", f"/{name}", name.upper(), f"{folder}/data.pkl", "x/" + name, "é.npy"]


def _packed(members: list[tuple[str, bytes]], compression: int) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore", UserWarning)  # Of names that occur twice.
        for name, content in members:
            # Without the time of day: equal seeds make equal inputs.
            entry = zipfile.ZipInfo(name)
            entry.compress_type = compression
            archive.writestr(entry, content)
    return file.getvalue()
