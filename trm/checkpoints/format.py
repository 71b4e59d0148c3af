"""Checkpoints: any pytree of arrays to and from a safetensors file that appears whole or not at all and says what it
is.

Every array is stored under its path in the tree (`model.recursion.network.blocks.0.mlp.down`), bit for bit. The
file's text metadata holds the configuration, the puzzle set's metadata, the step and the versions that wrote it, so
that a file alone is enough to rebuild what it was made of. There are two kinds: `checkpoint`, a whole `TrainState`,
from which a run resumes; and `weights`, the network and the puzzle table alone, for evaluation, inference and
publishing.
"""

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Array, Float

from trm.configuration.schema import Config, config_from_tables, config_to_tables
from trm.errors import InputError
from trm.model.reasoner import Reasoner
from trm.parallel.mesh import fetch
from trm.puzzles.metadata import Metadata, check_metadata
from trm.storage.bundled import weights_path
from trm.storage.files import replacing
from trm.training.step import TrainState, abstract_state

T = TypeVar("T")

Kind = Literal["checkpoint", "weights"]
FORMAT = "trm 1"
"""Name and version of the layout; a reader refuses others."""
_KEY = "trm"
"""Key of the text metadata; a single one, because the library writes several in any order, and equal states are to make
equal files."""

_BEST = ("score", "step", "evaluations_since")
"""What a run remembers of its best evaluation."""

_DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype(np.float32),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I32": np.dtype(np.int32),
    "BOOL": np.dtype(bool),
}


class Weights(eqx.Module):
    """A trained model, on the devices or the host: the network and the embeddings of the puzzles it was trained on."""

    model: Reasoner
    puzzle_table: Float[Array | np.ndarray, "identifiers row_size"]


class Description(NamedTuple):
    """What a checkpoint says of itself."""

    kind: Kind
    config: Config
    metadata: Metadata
    """Of the puzzle set that was trained on."""
    step: int
    versions: dict[str, str]
    best: dict[str, float]
    """Evaluations so far that decide about the best weights and the early stop; see `trm.training.run`."""


def trained_weights(state: TrainState) -> Weights:
    """Return what a training run has to show: the moving average where there is one, else the weights themselves."""
    model = state.model if state.ema is None else eqx.combine(state.ema, state.model)
    return Weights(model, state.puzzle_table)


def save(
    path: str | Path,
    tree: TrainState | Weights,
    config: Config,
    metadata: Metadata,
    step: int,
    best: Mapping[str, float] | None = None,
    half: bool = False,
) -> None:
    """Write a state or weights; with `half` these in bfloat16, rounded, in half the space.

    With several processes all must call it, and the first one writes.
    """
    description = {
        "format": FORMAT,
        "kind": "checkpoint" if isinstance(tree, TrainState) else "weights",
        "config": config_to_tables(config),
        "puzzle_set": dataclasses.asdict(metadata),
        "step": step,
        "versions": {name: version(name) for name in ("trm", "jax", "equinox", "numpy")},
        "best": dict(best or {}),
    }
    arrays = {name: np.asarray(array, order="C") for name, array in name_leaves(fetch(tree)).items()}
    if half:
        arrays = {name: a.astype(ml_dtypes.bfloat16) if a.dtype == np.float32 else a for name, a in arrays.items()}
    if jax.process_index() == 0:
        write_safetensors(path, arrays, {_KEY: json.dumps(description)})


def load_state(path: str | Path) -> tuple[TrainState, Description]:
    """Read a whole training state, as host arrays; raise InputError for anything but such a file."""
    arrays, description = _read_described(path)
    if description.kind != "checkpoint":
        raise InputError(f"{path}: found weights alone, expected a checkpoint that can be resumed")
    like = abstract_state(description.config, description.metadata)
    return _fill(path, like, arrays), description


def load_weights(path: str | Path, averaged: bool = True) -> tuple[Weights, Description]:
    """Read the weights out of a file of either kind, as host arrays; `path` may be any name that `weights_path` knows.

    Of a checkpoint it takes the moving average where there is one, unless `averaged` is false. Weights that were
    rounded to bfloat16 are float32 again. Raises InputError for a file of neither, and of averaged weights alone when
    the others are asked for.
    """
    path = weights_path(str(path))
    arrays, description = _read_described(path)
    like = abstract_state(description.config, description.metadata)
    if description.kind == "weights":
        if not averaged and description.config.optimizer.ema:
            raise InputError(f"{path}: found the moving average alone, expected a checkpoint, which holds both (--raw)")
        like = jax.eval_shape(lambda state: Weights(state.model, state.puzzle_table), like)
        return _fill(path, like, _widen(arrays, name_leaves(like))), description
    state = _fill(path, like, arrays)
    return trained_weights(state) if averaged else Weights(state.model, state.puzzle_table), description


def describe(path: str | Path) -> tuple[Description, dict[str, tuple[str, tuple[int, ...]]]]:
    """Read what a file says of itself, and the dtype and shape of each of its arrays; found as by `load_weights`."""
    arrays, description = _read_described(weights_path(str(path)))
    return description, {name: (array.dtype.name, array.shape) for name, array in arrays.items()}


def write_safetensors(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write named arrays and text metadata; the file appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(dict(arrays), metadata=dict(metadata)))


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read named arrays and text metadata; raise InputError, naming the file, for anything that is not whole."""
    path = Path(path)
    try:
        data = path.read_bytes()
        tensors = safetensors.deserialize(data)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from error
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _DTYPES:
            raise InputError(f"{path}: {name}: found dtype {tensor['dtype']}, expected one of {', '.join(_DTYPES)}")
        arrays[name] = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    # The reader of the format gives the text metadata only through an open file; it stands in the checked header.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, header.get("__metadata__", {})


def _read_described(path: str | Path) -> tuple[dict[str, np.ndarray], Description]:
    arrays, text = read_safetensors(path)
    try:
        values = json.loads(text.get(_KEY, "{}"))
        if values.get("format") != FORMAT:
            raise InputError(f"format: found {values.get('format')!r}, expected {FORMAT!r}")
        kind = values["kind"]
        if kind not in get_args(Kind):
            raise InputError(f"kind: found {kind!r}, expected one of {', '.join(get_args(Kind))}")
        for name, of_type in (("step", int), ("versions", dict), ("best", dict)):
            if not isinstance(values[name], of_type):
                raise InputError(f"{name}: found {values[name]!r}, expected {of_type.__name__}")
        if values["best"] and not all(type(values["best"][name]) in (int, float) for name in _BEST):
            raise InputError(f"best: found {values['best']!r}, expected numbers: {', '.join(_BEST)}")
        description = Description(
            kind,
            config_from_tables(values["config"]),
            check_metadata(values["puzzle_set"], "puzzle_set"),
            values["step"],
            values["versions"],
            values["best"],
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: metadata: found {error}, expected what `trm train` writes") from error
    return arrays, description


def name_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their paths, such as `model.q_head.bias`."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _widen(arrays: Mapping[str, np.ndarray], like: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return arrays with those in float32 that are to be so and were rounded to bfloat16."""

    def rounded(name: str, array: np.ndarray) -> bool:
        return array.dtype == ml_dtypes.bfloat16 and name in like and like[name].dtype == np.float32

    return {name: array.astype(np.float32) if rounded(name, array) else array for name, array in arrays.items()}


def _fill(path: str | Path, like: T, arrays: Mapping[str, np.ndarray]) -> T:
    """Return a tree like `like` with the arrays in it; raise InputError for one too few, too many or other."""
    expected = name_leaves(like)
    for name, shape in expected.items():
        if name not in arrays:
            raise InputError(f"{path}: {name}: missing")
        array = arrays[name]
        if array.shape != shape.shape or array.dtype != shape.dtype:
            raise InputError(
                f"{path}: {name}: found {array.dtype.name} {array.shape}, "
                f"expected {jnp.dtype(shape.dtype).name} {shape.shape}"
            )
    if extra := sorted(arrays.keys() - expected.keys()):
        raise InputError(f"{path}: {extra[0]}: found an array that the configuration in the file has no place for")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])
