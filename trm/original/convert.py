"""Conversion of checkpoints of the original PyTorch program, and of programs derived from it, to our weights.

Entry: `import_weights`.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trm.checkpoints.description import Description
from trm.configuration.conversion import check_tables
from trm.configuration.reading import config_from_tables
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.weights import Weights, abstract_weights, check_layers
from trm.original.files import TensorFile, open_tensors
from trm.original.names import Chosen, choose, is_harmless, summarise
from trm.original.settings import flatten_settings, read_settings, tables_from_settings
from trm.original.shapes import UNKNOWN, describe_guess, guess_puzzles, recursion_of, require_known, tables_from_tensors
from trm.original.state_dict import PUZZLE_TABLE, from_state_dict, names_in
from trm.puzzles.metadata import Metadata

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_Q_HEAD = ("inner.q_head.weight", "inner.q_head.bias")
_OF_TOKENS = ("inner.embed_tokens.embedding_weight", "inner.lm_head.weight")


class Imported(NamedTuple):
    """Weights converted from another program's file."""

    weights: Weights
    description: Description
    notes: tuple[str, ...]
    """Lines on what was guessed, rounded or left out."""


def import_weights(
    path: str | Path,
    settings_file: str | Path | None = None,
    metadata: Metadata | None = None,
    data: str = "",
    overrides: Sequence[str] = (),
    known: Mapping[str, Any] = _NOTHING,
    averaged: bool = True,
) -> Imported:
    """Read a checkpoint of any of the original's models, with or without the moving average beside it.

    The configuration comes from names and shapes of the tensors, then from the settings in the file or in
    `settings_file`, then from `overrides` (`section.key=value`), where later sources win; `known` gives keys of the
    model that no source gives. `metadata` is that of the puzzle set; None: guessed from vocabulary and positions. The
    returned metadata has one puzzle identifier for each puzzle-embedding row in the file.

    Raises InputError, naming the file and the tensor or key, when something is missing, unknown or contradictory.
    """
    file = open_tensors(path)
    settings = read_settings(settings_file) if settings_file else _settings_in(file)
    try:
        chosen = choose(file.tensors, averaged, lambda a, b: np.array_equal(file.read(a), file.read(b)))
        if not chosen.places:
            found = summarise(file.tensors) or "no tensors"
            raise InputError(f"found {found}, expected inner.L_level or inner.H_level: no model of the original")
        tensors = {key: file.read(name) for key, name in chosen.places.items()}
        _require_tensors(file, tensors)
        tensors, notes = _adapt(tensors, settings)
        if chosen.averaged:
            notes.append(f"{path}: the moving average of the weights is taken, not the raw weights")
        if metadata is None:
            metadata = guess_puzzles(tensors, settings)
            notes.append(f"{path}: does not name its puzzle set; its tensors fit puzzles of {describe_guess(metadata)}")
        config = _configure(path, tensors, settings, metadata, data, overrides, known)
        rows = len(tensors[PUZZLE_TABLE]) if PUZZLE_TABLE in tensors else metadata.num_puzzle_identifiers
        metadata = dataclasses.replace(metadata, num_puzzle_identifiers=rows)
        check_layers(config.model, len(tensors))
        like = abstract_weights(config.model, metadata.vocab_size, metadata.seq_len, rows)
        extras = _leave_out_extras(tensors, like)
        weights = from_state_dict(tensors, like)
    except InputError as error:
        raise InputError(error.args[0] if str(error).startswith(str(path)) else f"{path}: {error}") from error
    skipped = [*extras, *(name for name in (*chosen.extras, *file.others) if not _is_expected(name))]
    if skipped:
        notes.append(f"{path}: not part of the model, left out: {summarise(skipped)}")
    is_average = _is_average(path, chosen, config, averaged)
    description = Description("weights", config, metadata, _step_of(file), averaged=is_average)
    return Imported(weights, description, tuple(notes))


def check_answers(path: str | Path, imported: Imported) -> None:
    """Take a supervision step on an empty puzzle; raise InputError unless its outputs are finite."""
    metadata = imported.description.metadata
    inputs = jnp.full((1, metadata.seq_len), metadata.pad_id, jnp.int32)

    @jax.jit
    def step(weights: Weights) -> Any:
        rows = weights.puzzle_table[jnp.zeros(1, jnp.int32)]
        return weights.model(inputs, rows, weights.model.initial_latents(inputs.shape))[1]

    outputs = step(jax.tree.map(jnp.asarray, imported.weights))
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs)):
        raise InputError(f"{path}: found weights whose answer is not finite, expected a trained model")


def _settings_in(file: TensorFile) -> dict[str, Any]:
    """Return the settings in a file beside its tensors; empty where it has none."""
    for name in ("config", "hyper_parameters", "cfg", "args", "hparams"):
        if settings := flatten_settings(file.tables.get(name)):
            return settings
    return {}


def _require_tensors(file: TensorFile, tensors: Mapping[str, np.ndarray]) -> None:
    """Raise InputError for a number in the place of a tensor of the model."""
    numbers = choose(file.others).places
    for key, name in numbers.items():
        if key not in tensors and not is_harmless(key):
            raise InputError(f"{name}: found {file.others[name]!r:.40}, expected a tensor")


def _adapt(tensors: dict[str, np.ndarray], settings: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Convert tensors of derived programs to the original's layout; return them with lines on the changes."""
    notes = []
    for name, tensor in tensors.items():
        if tensor.dtype == np.float64:
            with np.errstate(over="ignore"):
                tensors[name] = tensor.astype(np.float32)
            if not np.array_equal(np.isfinite(tensors[name]), np.isfinite(tensor)):
                raise InputError(f"{name}: found float64 numbers that float32 cannot hold")
        if tensor.dtype.kind not in "fV" or tensor.dtype.itemsize < 2:
            raise InputError(f"{name}: found {tensor.dtype.name}, expected floating-point numbers")
    weight, bias = (tensors.get(name) for name in _Q_HEAD)
    if weight is not None and bias is not None and weight.ndim == 2 and len(weight) == 1 and bias.shape == (1,):
        # nano-trm's head has q_halt alone; nothing reads q_continue.
        tensors[_Q_HEAD[0]] = np.concatenate([weight, np.zeros_like(weight)])
        tensors[_Q_HEAD[1]] = np.concatenate([bias, np.full_like(bias, -5)])
    side = settings.get("max_grid_size")
    tokens = [tensors[name] for name in _OF_TOKENS if name in tensors]
    fits = type(side) is int and side > 0 and all(tensor.shape[:1] == (side + 3,) for tensor in tokens)
    if "num_puzzles" in settings and len(tokens) == len(_OF_TOKENS) and fits:
        # Sudokus of nano-trm have a separator token between padding and blank, which no puzzle contains.
        tensors |= {name: np.delete(tensors[name], 1, axis=0) for name in _OF_TOKENS}
        notes.append("token 1, nano-trm's separator, is left out: its Sudokus then have our tokens")
    return tensors, notes


def _configure(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    metadata: Metadata,
    data: str,
    overrides: Sequence[str],
    known: Mapping[str, Any],
) -> Config:
    tables = tables_from_tensors(tensors, metadata)
    if settings:
        for section, table in tables_from_settings(settings, recursion_of(tensors)).items():
            tables[section] = tables.get(section, {}) | table
    for name in UNKNOWN:
        if name in known:
            tables["model"].setdefault(name, known[name])
    tables["data"] = {"path": data}
    check_tables(tables)
    require_known(path, tables, {override.partition("=")[0].strip() for override in overrides})
    return config_from_tables(tables, overrides)


def _leave_out_extras(tensors: dict[str, np.ndarray], like: Weights) -> list[str]:
    """Remove tensors that our weights do not have; return their names. Raise InputError for one inside a network."""
    extras = sorted(tensors.keys() - names_in(like))
    for name in extras:
        if re.match(r"inner\.[HL]_level\.", name):
            shape = tensors[name].shape
            raise InputError(
                f"{name}: found a tensor of shape {shape}, expected none: no key of model.* makes a network with it"
            )
        del tensors[name]
    return [name for name in extras if not is_harmless(name)]


def _is_expected(name: str) -> bool:
    """Return whether a name beside a model is a usual part of a training state."""
    return name.split(".")[0] in _TRAINING


_TRAINING = frozenset(
    "step epoch global_step total_steps iteration optimizers optimizer optimizer_states optimizer_state_dict "
    "optimizer_lrs lr_schedulers scheduler scaler carry rng numpy python train_dataset callbacks loops ema loss "
    "best_metric config hyper_parameters hparams_name hparams cfg args pytorch-lightning_version wandb_run_id wandb"
    "".split()
)


def _is_average(path: str | Path, chosen: Chosen, config: Config, averaged: bool) -> bool:
    if chosen.averaged is not None:
        return chosen.averaged
    if config.optimizer.ema and not averaged:
        raise InputError(f"{path}: found only the moving average, expected a checkpoint, which holds both (--raw)")
    return config.optimizer.ema


def _step_of(file: TensorFile) -> int:
    if match := re.search(r"step_(\d+)", file.path.stem):
        return int(match[1][:18])
    step = file.others.get("step", file.others.get("global_step"))
    return step if type(step) is int and step >= 0 else 0
