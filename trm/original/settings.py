"""Configurations of the original PyTorch program: its settings and tensor shapes as tables of ours, and back.

The settings are those of its `all_config.yaml`, laid flat: the keys under `arch` beside the others. Entry:
`read_settings`, `tables_from_settings`, `tables_from_tensors`, `settings_from_config`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm.configuration.schema import Config, ModelConfig
from trm.errors import InputError
from trm.model.layers import swiglu_width
from trm.model.recursions import unused_sizes
from trm.original.state_dict import PUZZLE_TABLE
from trm.puzzles.metadata import Metadata

Tables = dict[str, dict[str, Any]]
"""Values by section and key, for `trm.configuration.reading.config_from_tables`."""
Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the tensors of a bare model, by name."""

SAME_NAMES: Mapping[str, Sequence[str]] = {
    "model": (
        "hidden_size num_heads expansion H_layers L_layers H_cycles L_cycles puzzle_emb_ndim puzzle_emb_len rope_theta "
        "rms_norm_eps forward_dtype"
    ).split(),
    "halting": "halt_max_steps halt_exploration_prob act_enabled act_inference".split(),
    "optimizer": (
        "lr lr_min_ratio lr_warmup_steps beta1 beta2 weight_decay puzzle_emb_lr puzzle_emb_weight_decay freeze_weights "
        "ema ema_rate"
    ).split(),
    "train": "global_batch_size epochs eval_interval min_eval_interval seed".split(),
}
"""Settings with the same name in both programs, by our section."""

_FREE_PREFIX = ("trm", "trm_singlez", "trm_hier6")
"""Recursions of the original whose prefix may be longer than a puzzle-embedding row needs."""
_FIXED_PREFIX = ("hrm", "transformers_baseline")
"""Those whose prefix is as short as possible."""


# Settings


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read `all_config.yaml`; raise InputError for a file that is none."""
    try:
        import yaml
    except ImportError as error:
        raise InputError(f"{path}: the package pyyaml is missing, expected `pip install 'trm[original]'`") from error
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    # Its reader recurses into nested brackets, and makes numbers and dates as Python does.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not a YAML file: {' '.join(str(error).split()):.200}") from error
    arch = values.get("arch") if isinstance(values, dict) else None
    if not isinstance(arch, dict):
        raise InputError(f"{path}: arch: missing, expected the original's all_config.yaml")
    loss = arch.get("loss")
    loss_type = {"loss_type": loss["loss_type"]} if isinstance(loss, dict) and "loss_type" in loss else {}
    return {key: value for key, value in (values | arch | loss_type).items() if value is not None}


def tables_from_settings(settings: Mapping[str, Any], recursion: str) -> Tables:
    """Translate settings, with the original's defaults for those that are missing and have one."""
    settings = {"puzzle_emb_ndim": 0} | dict(settings)
    tables: Tables = {
        section: {name: settings[name] for name in names if name in settings} for section, names in SAME_NAMES.items()
    }
    model = tables["model"]
    model["recursion"] = recursion
    # The original carries sizes along that it does not use.
    model |= unused_sizes(recursion)
    if recursion not in _FREE_PREFIX:
        model["puzzle_emb_len"] = 0
    model["mixer"] = "mlp" if settings.get("mlp_t") else "attention"
    if "pos_encodings" in settings:
        # The original takes any other name for no positions, and without attention it never rotates.
        known = ("rope", "learned") if model["mixer"] == "attention" else ("learned",)
        model["positions"] = settings["pos_encodings"] if settings["pos_encodings"] in known else "none"
    tables["halting"]["q_continue"] = _q_continue(settings, recursion)
    if "loss_type" in settings:
        tables["loss"] = {"type": settings["loss_type"]}
    if not settings.get("ema", True):
        tables["optimizer"].pop("ema_rate", None)
    if not settings["puzzle_emb_ndim"]:
        tables["optimizer"].pop("freeze_weights", None)  # The original ignores it then.
    return tables


def _q_continue(settings: Mapping[str, Any], recursion: str) -> str:
    if recursion == "hrm":
        return "learned"
    if recursion == "transformers_baseline":
        return "learned" if settings.get("compute_target_q") else "compared"
    return "unused" if settings.get("no_ACT_continue", True) else "learned"


def settings_from_config(config: Config) -> dict[str, Any]:
    """Return the settings under `arch` with which the original builds the same model.

    Raises InputError for a model that it cannot build.
    """
    model, halting = config.model, config.halting
    recursion = model.recursion
    known = _FREE_PREFIX + _FIXED_PREFIX
    if recursion not in known:
        raise InputError(f"model.recursion: found {recursion!r}, expected one of the original's: {', '.join(known)}")
    if model.differentiated_cycles != 1:
        found = model.differentiated_cycles
        raise InputError(f"model.differentiated_cycles: found {found}, expected 1: the original has nothing else")
    if model.gate != "silu" or model.register:
        found = f"gate {model.gate!r}, register {str(model.register).lower()}"
        raise InputError(f"model: found {found}, expected 'silu' and false: the original has nothing else")
    shortest = -(-model.row_size // model.hidden_size)
    if recursion not in _FREE_PREFIX and model.prefix_len != shortest:
        found = f"puzzle_emb_len {model.puzzle_emb_len}"
        raise InputError(f"model.puzzle_emb_len: found {found}, expected 0: so it is in the original's {recursion}")
    if recursion == "transformers_baseline" and (model.mixer != "attention" or model.positions == "none"):
        found = f"mixer {model.mixer!r}, positions {model.positions!r}"
        raise InputError(f"model: found {found}, expected attention and positions: so it is in the original's baseline")
    if halting.q_continue != "learned" and recursion == "hrm":
        raise InputError(f"halting.q_continue: found {halting.q_continue!r}, expected 'learned', as in the original")
    names = [name for name in SAME_NAMES["model"] if name not in (*unused_sizes(recursion), "puzzle_emb_len")]
    settings = {name: getattr(model, name) for name in names} | {"puzzle_emb_ndim": model.row_size}
    settings |= {"mlp_t": model.mixer == "mlp", "pos_encodings": model.positions}
    settings |= {name: getattr(halting, name) for name in ("halt_max_steps", "halt_exploration_prob")}
    if recursion in _FREE_PREFIX:
        settings |= {"puzzle_emb_len": model.prefix_len, "no_ACT_continue": halting.q_continue == "unused"}
    if recursion == "transformers_baseline":
        settings |= {"H_cycles": 1, "act_enabled": halting.act_enabled, "act_inference": halting.act_inference}
    return settings


# Shapes


def recursion_of(tensors: Mapping[str, Any]) -> str:
    """Return the recursion that the names of a bare model's tensors show; raise InputError for other names."""
    levels = {match[1] for name in tensors if (match := re.match(r"inner\.([HL]_level)\.", name))}
    if levels == {"H_level", "L_level"}:
        return "hrm"
    if levels == {"H_level"}:
        return "transformers_baseline"
    if levels == {"L_level"}:
        if "inner.L1_init" in tensors:
            return "trm_hier6"
        return "trm" if "inner.H_init" in tensors else "trm_singlez"
    found = ", ".join(sorted(tensors)[:3]) or "no tensors"
    raise InputError(f"found {found}, expected inner.L_level or inner.H_level: no model of the original")


def tables_from_tensors(tensors: Mapping[str, np.ndarray], metadata: Metadata) -> Tables:
    """Return what names, shapes and dtypes show about a bare model that reads a puzzle set."""
    recursion = recursion_of(tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    vocab_size, hidden_size = _shape(shapes, "inner.embed_tokens.embedding_weight", 2)
    if vocab_size != metadata.vocab_size:
        raise InputError(f"vocab_size: found {vocab_size} in the tensors, expected {metadata.vocab_size}")
    if hidden_size < 1:
        raise InputError(f"inner.embed_tokens.embedding_weight: found width {hidden_size}, expected 1 or more")
    rows = _shape(shapes, PUZZLE_TABLE, 2) if PUZZLE_TABLE in shapes else (0, 0)
    initial = tensors.get("inner.H_init", tensors.get("inner.L_init"))
    model: dict[str, Any] = {"recursion": recursion, "hidden_size": hidden_size, "puzzle_emb_ndim": rows[-1]}
    if initial is not None:
        model["forward_dtype"] = initial.dtype.name
    model |= unused_sizes(recursion)
    for level in ("H", "L"):
        if f"{level}_layers" not in unused_sizes(recursion):
            model[f"{level}_layers"] = len(
                {name.split(".")[3] for name in shapes if name.startswith(f"inner.{level}_level.layers.")}
            )
    level = "H" if recursion == "transformers_baseline" else "L"
    block = f"inner.{level}_level.layers.0"
    model["expansion"] = _expansion(hidden_size, _shape(shapes, f"{block}.mlp.gate_up_proj.weight", 2)[0] // 2)
    positions = None
    if f"{block}.mlp_t.gate_up_proj.weight" in shapes:
        positions = _shape(shapes, f"{block}.mlp_t.gate_up_proj.weight", 2)[1]
        model |= {"mixer": "mlp", "positions": "none", "num_heads": 1}
    else:
        model["mixer"] = "attention"
    if "inner.embed_pos.embedding_weight" in shapes:
        model["positions"] = "learned"
        positions = _shape(shapes, "inner.embed_pos.embedding_weight", 2)[0]
    if recursion not in _FREE_PREFIX:
        model["puzzle_emb_len"] = 0
    elif positions is not None and rows[-1]:
        model["puzzle_emb_len"] = positions - metadata.seq_len
    return {"model": model}


def _shape(shapes: Shapes, name: str, axes: int) -> tuple[int, ...]:
    if name not in shapes:
        raise InputError(f"{name}: missing")
    if len(shapes[name]) != axes:
        raise InputError(f"{name}: found shape {shapes[name]}, expected {axes} axes")
    return shapes[name]


def _expansion(width: int, inner: int) -> float:
    """Return an expansion that makes a SwiGLU of this inner width."""
    exact = 1.5 * inner / width
    return ModelConfig.expansion if swiglu_width(width, ModelConfig.expansion) == inner else exact


UNKNOWN = {"num_heads": "N", "positions": "rope", "H_cycles": "N", "L_cycles": "N", "puzzle_emb_len": "N"}
"""Keys that tensors may not show, each with an example for the message."""


def require_known(tables: Tables, set_keys: Collection[str], where: str) -> None:
    """Raise InputError naming the first setting of the model that neither tables nor `section.key` names cover."""
    model = tables["model"]
    for name, example in UNKNOWN.items():
        needless = name == "puzzle_emb_len" and not model.get("puzzle_emb_ndim")
        if name not in model and f"model.{name}" not in set_keys and not needless:
            raise InputError(
                f"model.{name}: unknown: neither the tensors nor {where} say it, expected --set model.{name}={example}"
            )
