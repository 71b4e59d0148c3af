"""Tensor files of PyTorch programs: `torch.save`, safetensors, .npz. Nothing in a file is executed.

Entry: `open_tensors`; `read_state_dict`, `write_state_dict` for state dicts alone. The content of a file decides its
format, not its name. Files of `torch.save` are read by torch's `weights_only` loader, which needs torch (extra
`torch`); safetensors and .npz do not.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import ml_dtypes
import numpy as np

from trm.errors import InputError
from trm.original.numpy_values import STAND_INS
from trm.original.pickles import refuse_long_names
from trm.storage.files import atomic_write
from trm.storage.npy import DAMAGED_ARCHIVE, read_npz
from trm.storage.safetensors import read_safetensors, write_safetensors

Format = Literal["torch", "npz", "safetensors"]

_LFS = b"version https://git-lfs"
_MOST_COMPRESSED = 100
"""Largest ratio of unpacked to packed bytes of a .npz archive: weights hardly compress, a table of zeros does."""
_DEEPEST = 20
"""Levels of nested containers that are searched."""


@dataclass(frozen=True)
class TensorFile:
    """The tensors of a file, read one by one, and its other values."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    """Shapes by name. A tensor in containers is named by their keys, joined by dots:
    `ema.shadow.inner.lm_head.weight`."""
    tensors: Mapping[str, Any] = field(repr=False)
    others: Mapping[str, Any] = field(default_factory=dict)
    """Other values, such as numbers and text, by name."""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Mappings with text as keys, by name."""

    def read(self, name: str) -> np.ndarray:
        """Read a tensor; raise InputError, naming the file and the tensor, for one that NumPy cannot hold."""
        tensor = self.tensors[name]
        if isinstance(tensor, np.ndarray):
            return _named(tensor)
        torch = _import_torch(self.path)
        size = self.path.stat().st_size
        # A view of a few numbers can repeat them any number of times.
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > size:
            found = f"shape {tuple(tensor.shape)}, more than a file of {size:,} bytes"
            raise InputError(f"{self.path}: {name}: found {found}")
        try:
            return _to_numpy(torch, tensor)
        except TypeError as error:
            expected = "expected float32, bfloat16 or the like"
            raise InputError(f"{self.path}: {name}: found {tensor.dtype}, {expected}") from error


def format_of(path: str | Path) -> Format:
    """Return the format of a file by its first bytes; for unknown bytes safetensors, whose reader reports the fault.

    Raises InputError, naming the file, for one that cannot be read, for a git-lfs pointer and for a web page.
    """
    try:
        with Path(path).open("rb") as file:
            beginning = file.read(64)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    if beginning.startswith(_LFS):
        raise InputError(
            f"{path}: found a git-lfs pointer, expected the file that it stands for: `git lfs pull` fetches it"
        )
    if beginning.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise InputError(f"{path}: found a web page, expected the file itself: its page has a download link")
    # A safetensors file begins with the length of its header, which may look like a pickle, and then a brace.
    if beginning[7:9] == b"\0{":
        return "safetensors"
    if beginning.startswith(b"PK\x03\x04"):
        # The suffix decides for a damaged archive.
        return "npz" if Path(path).suffix == ".npz" or _is_npz(Path(path)) else "torch"
    # torch.save before version 1.6 wrote a plain pickle.
    return "torch" if beginning.startswith(b"\x80") else "safetensors"


def looks_binary(path: str | Path) -> bool:
    """Return whether a file begins like a tensor file or like a git-lfs pointer."""
    with Path(path).open("rb") as file:
        beginning = file.read(64)
    return beginning.startswith((b"PK\x03\x04", b"\x80", _LFS)) or beginning[7:9] == b"\0{"


def open_tensors(path: str | Path) -> TensorFile:
    """Open a tensor file of any program.

    Raises InputError, naming the file, when it is missing or damaged, holds objects of other kinds, or would unpack to
    more bytes than it can have.
    """
    path = Path(path)
    kind = format_of(path)
    if kind == "torch":
        return _open_torch(path)
    if kind == "npz":
        _refuse_bombs(path, _MOST_COMPRESSED)
    arrays = read_npz(path) if kind == "npz" else read_safetensors(path)[0]
    return TensorFile(path, {name: array.shape for name, array in arrays.items()}, arrays)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a file; raise InputError as `open_tensors`, and for a file without tensors."""
    file = open_tensors(path)
    return {name: file.read(name) for name in file.tensors}


def write_state_dict(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict: a safetensors file when the name ends in .safetensors, else one of `torch.save`."""
    path = Path(path)
    if path.suffix == ".safetensors":
        write_safetensors(path, tensors, {"format": "pt"})
        return
    torch = _import_torch(path)
    with atomic_write(path) as temporary:
        torch.save({name: _from_numpy(torch, array) for name, array in tensors.items()}, temporary)


# torch


def _open_torch(path: Path) -> TensorFile:
    torch = _import_torch(path)
    _refuse_bombs(path)
    try:
        refuse_long_names(path)
        with torch.serialization.safe_globals(STAND_INS):
            values = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # Damaged bytes raise anything.
        raise InputError(f"{path}: not a state dict of torch.save: {_reason(error)}") from error
    tensors: dict[str, Any] = {}
    others: dict[str, Any] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    seen: set[int] = set()

    def walk(value: Any, names: tuple[str, ...]) -> None:
        name = ".".join(names)
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif isinstance(value, Mapping | list | tuple) and len(names) < _DEEPEST:
            # A container that occurs several times, or in itself, is searched once.
            if id(value) in seen:
                return
            seen.add(id(value))
            if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
                tables[name] = value
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in items:
                walk(item, (*names, str(key)))
        else:
            others[name] = value

    walk(values, ())
    if not tensors:
        keys = ", ".join(map(repr, list(values)[:3])) if isinstance(values, Mapping) else ""
        raise InputError(
            f"{path}: found a {type(values).__name__} of {keys or 'nothing'}, expected a state dict: tensors by name"
        )
    return TensorFile(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors, others, tables)


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if found := re.search(r"GLOBAL (\S+)", text):
        return (
            f"found an object of {found[1]}, expected tensors, numbers and text: save only the weights, by "
            "torch.save(model.state_dict(), FILE), in the program that wrote the file"
        )
    return f"{text.split(chr(10))[0] or type(error).__name__:.200}"


def _import_torch(path: Path) -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"{path}: the package torch is missing, expected `pip install 'trm[torch]'`, or a .safetensors file"
        ) from error
    return torch


def _refuse_bombs(path: Path, most: int = 1) -> None:
    """Raise InputError for an archive that unpacks to over `most` times its bytes; `torch.save` does not compress."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except DAMAGED_ARCHIVE as error:
        raise InputError(f"{path}: not a whole archive: {error}") from error
    size = path.stat().st_size
    if unpacked > most * size:
        expected = "tensors without compression" if most == 1 else f"at most {most} times as many"
        raise InputError(f"{path}: found {unpacked:,} bytes compressed to {size:,}, expected {expected}")


def _to_numpy(torch: ModuleType, tensor: Any) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # NumPy has no bfloat16 of its own.
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _from_numpy(torch: ModuleType, array: np.ndarray) -> Any:
    array = np.array(array, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


# NumPy


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGED_ARCHIVE:  # torch's reader reports the damage.
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _named(array: np.ndarray) -> np.ndarray:
    """Return an array, as bfloat16 where NumPy stored that dtype: as two bytes without a type."""
    return array.view(ml_dtypes.bfloat16) if array.dtype.kind == "V" and array.dtype.itemsize == 2 else array
