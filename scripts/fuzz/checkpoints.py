"""Fuzz targets: checkpoints of this program and of PyTorch programs, all of one tiny model.

Entry: `safetensors_files`, `torch_files`, `settings_files`: good inputs; `read_safetensors_file`, `read_torch_file`,
`read_settings_file`: their readers.
"""

import io
import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tiny import TINY

from trm.checkpoints.describe import describe
from trm.checkpoints.description import KEY, Description
from trm.checkpoints.format import save
from trm.configuration.reading import config_from_tables
from trm.model.weights import Weights, abstract_weights
from trm.original.convert import import_weights
from trm.original.loading import open_weights
from trm.original.settings import settings_from_config
from trm.original.state_dict import to_state_dict
from trm.puzzles.kinds.sudoku import build
from trm.storage.safetensors import read_safetensors, write_safetensors

_SMALL = {"hidden_size": 8, "expansion": 0.1, "puzzle_emb_ndim": 8}
_CONFIG = config_from_tables(TINY | {"model": TINY["model"] | _SMALL})
_METADATA = build.metadata_of(20, 4)
_KNOWN = {name: getattr(_CONFIG.model, name) for name in ("num_heads", "positions", "H_cycles", "L_cycles")} | {
    "puzzle_emb_len": _CONFIG.model.prefix_len
}
"""Keys of the model that names and shapes of tensors do not determine."""


@cache
def _weights() -> Weights:
    rng = np.random.default_rng(0)
    like = abstract_weights(_CONFIG.model, _METADATA.vocab_size, _METADATA.seq_len, _METADATA.num_puzzle_identifiers)
    return jax.tree.map(lambda leaf: (0.3 * rng.normal(size=leaf.shape)).astype(leaf.dtype), like)


def _settings() -> dict[str, Any]:
    return {"arch": settings_from_config(_CONFIG) | {"loss": {"loss_type": "softmax_cross_entropy"}}, "lr": 1e-4}


# Safetensors


def safetensors_files() -> list[bytes]:
    """Return a file of ours, one without checksums of the arrays, and one of another program."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save(path, _weights(), Description("weights", _CONFIG, _METADATA, step=3, averaged=False))
        ours = path.read_bytes()
        arrays, text = read_safetensors(path)
        described = json.loads(text[KEY]) | {"arrays": {}}
        del described["checksum"]
        write_safetensors(path, arrays, {KEY: json.dumps(described)})
        unsigned = path.read_bytes()
        write_safetensors(path, to_state_dict(_weights()), {"format": "pt"})
        return [ours, unsigned, path.read_bytes()]


def read_safetensors_file(path: Path) -> object:
    """Read the description, then the weights."""
    named = path.rename(path.with_suffix(".safetensors"))
    weights = open_weights(named, known=_KNOWN)
    return weights if KEY not in read_safetensors(named)[1] else (describe(named), weights)


# Files of PyTorch programs


def torch_files() -> list[bytes]:
    """Return checkpoints of several programs: archives, a plain pickle, and .npz."""
    tensors = to_state_dict(_weights())
    compiled = {f"_orig_mod.model.{name}": tensor for name, tensor in tensors.items()}
    whole = {"model": compiled, "config": _settings(), "step": 3, "optimizers": [{"lr": 1e-4, "state": {}}]}
    lightning = {
        "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()},
        "hyper_parameters": _settings()["arch"],
        "global_step": 40,
        "rng": np.arange(3),
    }
    averaged = {"model": compiled, "ema": {"shadow": tensors}, "config": _settings()}
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, **tensors)
    saved = [_saved(whole), _saved(whole, zipped=False), _saved(lightning), _saved(averaged), _saved(tensors)]
    return [*saved, arrays.getvalue()]


def _saved(value: Any, zipped: bool = True) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(_as_torch(value), file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _as_torch(value: Any) -> Any:
    import torch

    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return torch.from_numpy(np.array(value))
    return {key: _as_torch(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def read_torch_file(path: Path) -> object:
    """Read the weights. Keys of the model that the file lacks have the values in `_KNOWN`."""
    return open_weights(path.rename(path.with_suffix(".pt")), known=_KNOWN)


# Settings beside a file


def settings_files() -> list[bytes]:
    """Return settings in YAML and in JSON, of the original and of nano-trm."""
    import yaml

    original, nano = _settings(), _settings()["arch"] | {"num_layers": 1, "N_supervision": 4, "learning_rate": "1e-4"}
    return [write(values).encode() for values in (original, nano) for write in (yaml.dump, json.dumps)]


def read_settings_file(path: Path) -> object:
    """Read the settings, and by them the weights of the tiny model."""
    return import_weights(_tensors(path.parent), path, known=_KNOWN)


def _tensors(folder: Path) -> Path:
    path = folder / "tensors"
    if not path.exists():
        write_safetensors(path, to_state_dict(_weights()), {"format": "pt"})
    return path
