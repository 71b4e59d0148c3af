"""Checkpoints: trees of arrays in safetensors files with a description, written whole or not at all.

Every array is stored under its path in the tree (`model.recursion.network.blocks.0.mlp.down`), bit for bit, with a
checksum. The text metadata holds a `Description`, so that the file alone is enough to rebuild the tree.

Entry: `save`, `load_weights`; `read_checkpoint` for the arrays of a training state (`trm.training.state`).
"""

from pathlib import Path
from typing import Any

import numpy as np

from trm.checkpoints.description import Description, check_arrays, decode, encode
from trm.checkpoints.tree import fill, name_leaves, to_bfloat16, widen
from trm.errors import InputError
from trm.model.weights import Weights, abstract_weights, check_layers
from trm.parallel.mesh import fetch_on_first
from trm.storage.bundled import weights_path
from trm.storage.safetensors import read_safetensors, write_safetensors


def save(path: str | Path, tree: Any, description: Description, *, bfloat16: bool = False) -> None:
    """Write a tree of arrays; `bfloat16` rounds float32 arrays to that dtype, which halves the file.

    With several processes all must call `save`; process 0 writes. Raises InputError when the file cannot be written.
    """
    on_host = fetch_on_first(tree)
    if on_host is None:
        return
    arrays = {name: np.asarray(array, order="C") for name, array in name_leaves(on_host).items()}
    if bfloat16:
        arrays = to_bfloat16(arrays)
    write_safetensors(path, arrays, encode(description, arrays))


def read_checkpoint(path: str | Path) -> tuple[dict[str, np.ndarray], Description]:
    """Read the arrays and the description of a file of either kind, as host arrays.

    Raises InputError, naming the file, for anything that `save` did not write, and for a damaged file.
    """
    arrays, text = read_safetensors(path)
    try:
        description, checksums = decode(text)
        check_arrays(arrays, checksums)
        check_layers(description.config.model, len(arrays))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return arrays, description


def load_weights(path: str | Path, averaged: bool = True) -> tuple[Weights, Description]:
    """Read the weights out of a file of either kind, as host arrays; `path` may be any name that `weights_path` knows.

    From a checkpoint it takes the moving average where there is one, unless `averaged` is false. Weights stored as
    bfloat16 become float32. Raises InputError for a file of neither kind, and for a file of averaged weights when
    `averaged` is false.
    """
    path = weights_path(str(path))
    arrays, description = read_checkpoint(path)
    if description.kind == "checkpoint":
        arrays = _weights_of_state(arrays, averaged)
    elif not averaged and description.averaged:
        raise InputError(f"{path}: found only the moving average, expected a checkpoint, which holds both (--raw)")
    metadata = description.metadata
    try:
        like = abstract_weights(
            description.config.model, metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return fill(str(path), like, widen(arrays, like)), description


def _weights_of_state(arrays: dict[str, np.ndarray], averaged: bool) -> dict[str, np.ndarray]:
    """Return the arrays of the weights in a training state, under their names in a weights file."""
    weights = {name: array for name, array in arrays.items() if name.startswith("model.") or name == "puzzle_table"}
    if averaged:
        # Arrays that are not trained have no average.
        average = {f"model.{name.removeprefix('ema.')}": a for name, a in arrays.items() if name.startswith("ema.")}
        weights |= average
    return weights
