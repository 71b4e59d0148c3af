"""Settings of the original PyTorch program, and of programs derived from it, to our configuration and back.

The settings are those of its `all_config.yaml`, flattened: the keys under `arch` join the others. Entry:
`read_settings`, `flatten_settings`, `tables_from_settings`, `settings_from_config`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trm.configuration.schema import Config, ModelConfig
from trm.errors import InputError
from trm.model.recursions import unused_sizes

Tables = dict[str, dict[str, Any]]
"""Values by section and key, for `trm.configuration.reading.config_from_tables`."""
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

FREE_PREFIX = ("trm", "trm_singlez", "trm_hier6")
"""Recursions of the original whose prefix may be longer than a puzzle-embedding row needs."""
_FIXED_PREFIX = ("hrm", "transformers_baseline")
"""Recursions of the original whose prefix is as short as possible."""


_LARGEST = 100_000
"""Bytes of a file with settings. PyYAML's time grows with the length times the depth of brackets: twice as many take
ten seconds."""


# Settings


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read `all_config.yaml`, or a file like it, or one in JSON; raise InputError for any other file."""
    try:
        import yaml
    except ImportError as error:
        raise InputError(f"{path}: the package pyyaml is missing, expected `pip install 'trm[original]'`") from error
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    if len(text) > _LARGEST:
        raise InputError(f"{path}: found more than {_LARGEST:,} bytes, expected the settings of a model")
    try:
        values = yaml.safe_load(text.decode("utf-8"))
    # PyYAML recurses into nested brackets, and converts numbers and dates by Python's functions.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not a YAML file: {' '.join(str(error).split()):.200}") from error
    settings = flatten_settings(values)
    if settings is None:
        raise InputError(f"{path}: arch: missing, expected the original's all_config.yaml")
    return settings


def flatten_settings(values: Any) -> dict[str, Any] | None:
    """Flatten settings and convert numbers in text; return None for values that are not settings of a model."""
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        return None
    arch = values.get("arch")
    if not isinstance(arch, Mapping):
        # The settings of the model alone, or those of nano-trm.
        if "hidden_size" not in values:
            return None
        arch = {}
    loss = arch.get("loss", values.get("loss"))
    loss_type = {"loss_type": loss["loss_type"]} if isinstance(loss, Mapping) and "loss_type" in loss else {}
    flat = dict(values) | dict(arch) | loss_type
    flat |= {ours: flat[theirs] for theirs, ours in _NANO.items() if theirs in flat}
    if "pos_emb_type" in flat:
        flat["pos_encodings"] = {"1d": "rope"}.get(str(flat["pos_emb_type"]), flat["pos_emb_type"])
    plain = {key: _plain(key, value, flat) for key, value in flat.items()}
    if "pos_encodings" in plain and plain["pos_encodings"] is None:
        plain["pos_encodings"] = "none"  # None means no positions here, not an unset key.
    return {key: value for key, value in plain.items() if value is not None}


_NANO = {
    "num_layers": "L_layers",
    "N_supervision": "halt_max_steps",
    "ffn_expansion": "expansion",
    "puzzle_emb_dim": "puzzle_emb_ndim",
    "use_mlp": "mlp_t",
    "learning_rate": "lr",
    "learning_rate_emb": "puzzle_emb_lr",
    "warmup_steps": "lr_warmup_steps",
}
"""Settings of nano-trm by the original's names."""

_WORDS = {"true": True, "false": False, "none": None, "null": None, "~": None, "": None}
_TEXT = ("loss_type", "name")


def _plain(key: str, value: Any, settings: Mapping[str, Any], depth: int = 0) -> Any:
    """Return the value that text denotes: YAML reads 1e-4 and references such as `${.hidden_size}` as text."""
    if not isinstance(value, str) or key in _TEXT:
        return value
    text = value.strip()
    if (named := re.fullmatch(r"\$\{[\w.]*?(\w+)\}", text)) and depth < 3:
        return _plain(key, settings.get(named[1]), settings, depth + 1)
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if re.fullmatch(r"[+-]?\d+", text) and len(text) < 20:
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE):
        return float(text)
    return text.removeprefix("torch.")


_NOT_OURS: Mapping[str, tuple[Any, ...]] = {
    "lambda_": (1,),
    "noise_scale": (0,),
    "use_conv_swiglu": (False,),
    "use_board_swiglu": (False,),
    "attn_gate_type": (),
}
"""Settings of derived programs that no key of ours corresponds to, with the values that have no effect."""


def refuse_unknown_networks(settings: Mapping[str, Any]) -> None:
    """Raise InputError, naming the setting, for a network that our configuration cannot express."""
    for name, usual in _NOT_OURS.items():
        if name in settings and settings[name] not in usual:
            expected = f"{usual[0]!r}" if usual else "it unset"
            raise InputError(f"{name}: found {settings[name]!r}, expected {expected}: no key of model.* stands for it")
    positions = settings.get("pos_encodings")
    # The original ignores position encodings that it does not know; derived programs know these.
    if positions != "rope" and re.search("rope|2d", str(positions)) and not settings.get("mlp_t"):
        raise InputError(
            f"pos_encodings: found {positions!r}, expected rope, learned or none: others are not translated"
        )


def tables_from_settings(settings: Mapping[str, Any], recursion: str) -> Tables:
    """Convert settings to tables, with the original's defaults for those that are missing and have one."""
    refuse_unknown_networks(settings)
    settings = {"puzzle_emb_ndim": 0, "ema": False} | dict(settings)
    tables: Tables = {
        section: {name: settings[name] for name in names if name in settings} for section, names in SAME_NAMES.items()
    }
    model = tables["model"]
    model["recursion"] = recursion
    # The original also sets sizes that the recursion does not use.
    model |= unused_sizes(recursion)
    if recursion not in FREE_PREFIX:
        model["puzzle_emb_len"] = 0
    model["mixer"] = "mlp" if settings.get("mlp_t") else "attention"
    if "pos_encodings" in settings:
        # Without attention the original never rotates.
        known = ("rope", "learned") if model["mixer"] == "attention" else ("learned",)
        model["positions"] = settings["pos_encodings"] if settings["pos_encodings"] in known else "none"
    tables["halting"]["q_continue"] = _q_continue(settings, recursion)
    if "loss_type" in settings:
        tables["loss"] = {"type": settings["loss_type"]}
    if not settings["ema"]:
        tables["optimizer"].pop("ema_rate", None)
    if not settings["puzzle_emb_ndim"]:
        tables["optimizer"].pop("freeze_weights", None)  # Without puzzle embeddings the original ignores it.
    return tables


def _q_continue(settings: Mapping[str, Any], recursion: str) -> str:
    if recursion == "hrm":
        return "learned"
    if recursion == "transformers_baseline":
        return "learned" if settings.get("compute_target_q") else "compared"
    return "unused" if settings.get("no_ACT_continue", True) else "learned"


def settings_from_config(config: Config) -> dict[str, Any]:
    """Return the settings under `arch` with which the original builds the same model.

    Raises InputError for a model that the original cannot build.
    """
    model, halting = config.model, config.halting
    recursion = model.recursion
    known = FREE_PREFIX + _FIXED_PREFIX
    if recursion not in known:
        raise InputError(f"model.recursion: found {recursion!r}, expected one of the original's: {', '.join(known)}")
    if model.differentiated_cycles != 1:
        found = model.differentiated_cycles
        raise InputError(f"model.differentiated_cycles: found {found}, expected 1: the original has nothing else")
    for name in ("state", "inner_multiple"):
        found, expected = getattr(model, name), getattr(ModelConfig, name)
        if found != expected:
            raise InputError(f"model.{name}: found {found!r}, expected {expected!r}: the original has nothing else")
    if model.positions == "rope_grid":
        raise InputError("model.positions: found 'rope_grid', expected 'rope', 'learned' or 'none', as in the original")
    if model.gate != "silu" or model.register:
        found = f"gate {model.gate!r}, register {str(model.register).lower()}"
        raise InputError(f"model: found {found}, expected 'silu' and false: the original has nothing else")
    shortest = -(-model.row_size // model.hidden_size)
    if recursion not in FREE_PREFIX and model.prefix_len != shortest:
        found = model.puzzle_emb_len
        raise InputError(f"model.puzzle_emb_len: found {found}, expected 0, as in the original's {recursion}")
    if recursion == "transformers_baseline" and (model.mixer != "attention" or model.positions == "none"):
        found = f"mixer {model.mixer!r}, positions {model.positions!r}"
        raise InputError(f"model: found {found}, expected attention and positions, as in the original's baseline")
    if halting.q_continue != "learned" and recursion == "hrm":
        raise InputError(f"halting.q_continue: found {halting.q_continue!r}, expected 'learned', as in the original")
    names = [name for name in SAME_NAMES["model"] if name not in (*unused_sizes(recursion), "puzzle_emb_len")]
    settings = {name: getattr(model, name) for name in names} | {"puzzle_emb_ndim": model.row_size}
    settings |= {"mlp_t": model.mixer == "mlp", "pos_encodings": model.positions}
    settings |= {name: getattr(halting, name) for name in ("halt_max_steps", "halt_exploration_prob")}
    if recursion in FREE_PREFIX:
        settings |= {"puzzle_emb_len": model.prefix_len, "no_ACT_continue": halting.q_continue == "unused"}
    if recursion == "transformers_baseline":
        settings |= {"H_cycles": 1, "act_enabled": halting.act_enabled, "act_inference": halting.act_inference}
    return settings
