"""State dicts in files: tensors by name, as PyTorch programs exchange them. Nothing in a file is executed.

Entry: `read_state_dict`, `write_state_dict`. Files of `torch.save` need torch (extra `torch`), safetensors do not.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from trm.errors import InputError
from trm.storage.files import atomic_write
from trm.storage.safetensors import read_safetensors, write_safetensors

_BEGINNINGS = (b"PK\x03\x04", b"\x80")
"""First bytes of a zip archive, which `torch.save` writes, and of the pickle that it wrote before 1.6."""


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dict from a safetensors file or one of `torch.save`.

    Raises InputError, naming the file, when it is missing or damaged, holds anything but tensors by name, or would
    unpack to more bytes than it has.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    # A safetensors file begins with the length of its header, which may look like a pickle, and then a brace.
    if not beginning.startswith(_BEGINNINGS) or beginning.endswith(b"\0{"):
        return read_safetensors(path)[0]
    torch = _import_torch(path)
    _refuse_bombs(path)
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Damaged bytes raise anything.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"{path}: not a state dict of torch.save: {reason:.200}") from error
    tensors = values if isinstance(values, Mapping) else {}
    if not tensors or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in tensors.items()):
        found = f"a {type(values).__name__} of {', '.join(map(repr, list(tensors)[:3])) or 'nothing'}"
        raise InputError(f"{path}: found {found}, expected a state dict: tensors by name")
    size = path.stat().st_size
    for name, tensor in tensors.items():
        # A view can repeat a few numbers without end.
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > size:
            raise InputError(f"{path}: {name}: found shape {tuple(tensor.shape)}, more than a file of {size:,} bytes")
    arrays = {}
    for name, tensor in tensors.items():
        try:
            arrays[name] = _to_numpy(torch, tensor)
        except TypeError as error:
            raise InputError(f"{path}: {name}: found {tensor.dtype}, expected float32, bfloat16 or the like") from error
    return arrays


def write_state_dict(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict: a safetensors file when the name ends in .safetensors, else one of `torch.save`."""
    path = Path(path)
    if path.suffix == ".safetensors":
        write_safetensors(path, tensors, {"format": "pt"})
        return
    torch = _import_torch(path)
    with atomic_write(path) as temporary:
        torch.save({name: _from_numpy(torch, array) for name, array in tensors.items()}, temporary)


def _import_torch(path: Path) -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"{path}: the package torch is missing, expected `pip install 'trm[torch]'`, or a .safetensors file"
        ) from error
    return torch


def _refuse_bombs(path: Path) -> None:
    """Refuse an archive that would unpack to more bytes than it has; `torch.save` does not compress."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a whole archive: {error}") from error
    size = path.stat().st_size
    if unpacked > size:
        raise InputError(
            f"{path}: found {unpacked:,} bytes compressed to {size:,}, expected tensors without compression"
        )


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
