"""Start from trained weights: put a trained model into a fresh training state.

Entry: `start_from`; `fit_rows` and `map_rows` for the puzzle table.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from trm.checkpoints.description import array_checksum
from trm.checkpoints.tree import name_leaves
from trm.configuration.schema import Config, ModelConfig
from trm.errors import InputError
from trm.model.reasoner import Reasoner, trainable
from trm.model.weights import Weights
from trm.original.loading import open_weights
from trm.original.shapes import UNKNOWN
from trm.parallel.processes import agree
from trm.puzzles.identifiers import read_identifiers, read_shared_identifiers
from trm.puzzles.metadata import BLANK, Metadata
from trm.training.state import TrainState


class WarmStart(NamedTuple):
    """The weights to start from."""

    path: Path
    """A checkpoint or weights."""
    data: Path | None = None
    """The puzzle set that the weights were trained on, to match puzzle-embedding rows by name. None: all rows are taken
    over if their number fits, else their mean."""


def start_from(
    state: TrainState,
    start: WarmStart,
    config: Config,
    identity: Mapping[str, str] = MappingProxyType({}),
    metadata: Metadata | None = None,
    on_note: Callable[[str], object] = lambda line: None,
) -> TrainState:
    """Put trained weights into a fresh state, and keep its shardings.

    `identity`: fingerprints of the training set. `metadata`: of that set; with the configuration it replaces what a
    checkpoint of a PyTorch program does not give. `on_note` is called with lines on what was guessed or left out of
    such a file, and on another recursion or damping. Cycles may differ. Raises InputError, naming the array or the key,
    when the weights are of another model, and when puzzle embeddings would go to puzzles of other or unknown names.
    """
    known = {name: getattr(config.model, name) for name in UNKNOWN}
    opened = open_weights(start.path, metadata=metadata, known=known)
    weights, description = opened.weights, opened.description
    if jax.process_count() > 1:
        # Each process reads the file itself, and no array of the state is compared later.
        leaves = jax.tree.leaves(weights)
        agree(f"{start.path}: weights", [array_checksum("", np.asarray(leaf)) for leaf in leaves])
    for line in opened.notes:
        on_note(line)
    found, expected = (names.get("identifiers", "") for names in (description.identity, identity))
    by_number = start.data is None and 1 < len(weights.puzzle_table) == len(state.puzzle_table)
    if by_number and expected and found != expected and config.model.row_size:
        which = "others than" if found else "none to compare with"
        raise InputError(
            f"{start.path}: identifiers: found {which} those of {', '.join(config.data.train_paths)}, expected the "
            "same, or --init-data with the puzzle set of these weights, to take puzzle embeddings over by name"
        )
    _check_same(start.path, description.config.model, config.model)
    for name in ("recursion", "damping"):
        values = getattr(description.config.model, name), getattr(config.model, name)
        if values[0] != values[1]:
            on_note(f"{start.path}: model.{name}: found {values[0]!r}; this run trains the weights with {values[1]!r}")
    data = config.data.train_paths
    model = _put(_match(start.path, weights.model, state.model), state.model)
    table = _put(_rows(start, weights, state.puzzle_table.shape, data), state.puzzle_table)
    # A copy: the training step donates its arguments, and an array can be donated once only.
    ema = None if state.ema is None else jax.tree.map(jnp.copy, eqx.filter(model, trainable(model)))
    return dataclasses.replace(state, model=model, ema=ema, puzzle_table=table)


def _check_same(path: Path, found: ModelConfig, expected: ModelConfig) -> None:
    """Raise InputError for settings that make another network of arrays with the same shapes."""
    names = ["state", "gate", "positions", "rms_norm_eps", "prefix_len"]
    if expected.mixer == "attention":
        names += ["num_heads", "rope_theta"] if expected.positions.startswith("rope") else ["num_heads"]
    for name in names:
        values = getattr(found, name), getattr(expected, name)
        if values[0] != values[1]:
            raise InputError(f"{path}: model.{name}: found {values[0]!r}, expected {values[1]!r}, as configured")


def _put(arrays: Any, like: Any) -> Any:
    """Place host arrays like other arrays."""

    def put(array: np.ndarray, old: jax.Array) -> jax.Array:
        return jax.make_array_from_callback(array.shape, old.sharding, lambda index: array[index])

    return jax.tree.map(put, arrays, like)


def _match(path: Path, found: Reasoner, like: Reasoner) -> Any:
    """Return the found arrays on the host, as a model with the structure and dtypes of `like`."""
    arrays, expected = name_leaves(found), name_leaves(like)
    for name in sorted(arrays.keys() | expected.keys()):
        shapes = [str(tree[name].shape) if name in tree else "nothing" for tree in (arrays, expected)]
        if shapes[0] != shapes[1]:
            raise InputError(f"{path}: model.{name}: found {shapes[0]}, expected {shapes[1]}, as configured")
    leaves = [np.asarray(arrays[name]).astype(leaf.dtype) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _rows(
    start: WarmStart, weights: Weights, shape: tuple[int, ...], data: Sequence[str | Path]
) -> Float[np.ndarray, "identifiers row_size"]:
    """Return the puzzle table to start from, of the given shape."""
    old = np.asarray(weights.puzzle_table)
    if old.shape[1] != shape[1]:
        raise InputError(
            f"{start.path}: puzzle_table: found rows of {old.shape[1]} numbers, expected {shape[1]} "
            "(model.puzzle_emb_ndim)"
        )
    if start.data is None:
        return fit_rows(old, shape[0])
    old_names = read_identifiers(start.data)
    if len(old_names) != len(old):
        raise InputError(
            f"{start.data}/identifiers.json: found {len(old_names)} names, expected {len(old)}, "
            f"one for each puzzle row of {start.path}"
        )
    new_names = read_shared_identifiers(data)
    if len(new_names) > shape[0]:
        raise InputError(f"{data[0]}/identifiers.json: found {len(new_names)} names, expected {shape[0]}")
    return map_rows(old, old_names, new_names, shape[0])


def fit_rows(
    table: Float[np.ndarray, "identifiers row_size"], rows: int
) -> Float[np.ndarray, "new_identifiers row_size"]:
    """Return the table if it has `rows` rows, else `rows` times the mean of its rows, as the original does."""
    return table if len(table) == rows else _mean_rows(table, rows)


def map_rows(
    table: Float[np.ndarray, "identifiers row_size"], names: Sequence[str], new_names: Sequence[str], rows: int
) -> Float[np.ndarray, "new_identifiers row_size"]:
    """Return `rows` rows: for each known new name its own row, for the others the mean."""
    mapped = _mean_rows(table, rows)
    row_of = {name: row for row, name in enumerate(names)}
    for new, name in enumerate(new_names):
        # Blank names identifier 0; at other numbers it names no puzzle.
        if name in row_of and (name != BLANK or new == 0):
            mapped[new] = table[row_of[name]]
    return mapped


def _mean_rows(
    table: Float[np.ndarray, "identifiers row_size"], rows: int
) -> Float[np.ndarray, "new_identifiers row_size"]:
    mean = table.mean(axis=0, dtype=np.float64).astype(table.dtype)
    return np.tile(mean, (rows, 1))
