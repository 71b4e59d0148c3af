"""Tensor names in checkpoints of PyTorch programs: which tensors of a file are the model. Entry: `choose`.

Prefixes that wrappers add to a name, in any order and number, are dropped. A file may hold a model several times, raw
and as moving average (EMA), under different prefixes or in containers.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from trm.errors import InputError

T = TypeVar("T")

_WRAPPERS = frozenset(
    "module _orig_mod model inner net network _fsdp_wrapped_module _checkpoint_wrapped_module _forward_module "
    "state_dict model_state_dict model_state weights params loss_head".split()
)
"""Parts of names, and keys of containers, that wrappers add: they have no meaning."""

_INSIDE = frozenset("module _orig_mod _fsdp_wrapped_module _checkpoint_wrapped_module".split())
"""Wrappers of parts of a model, which occur anywhere in a name."""

_NANO = {"lenet": "L_level", "input_embedding": "embed_tokens", "z_H_init": "H_init", "z_L_init": "L_init"}
"""nano-trm's names of parts of the original's model."""

_ROOT = re.compile(r"embed_tokens|embed_pos|lm_head|q_head|puzzle_emb|rotary_emb|[HL]_level|H_init|L\d?_init")
"""First parts of the names of a bare model."""

_AVERAGE = re.compile(r"(^|_)(ema|shadow|averaged?|swa)(_|$)")
"""Parts of a prefix that mark a moving average."""

_OTHERS = re.compile(r"optim|exp_avg|grad|momentum|scheduler")
"""Parts of a prefix that mark something else than a model."""

_HARMLESS = re.compile(r"inner\.(puzzle_emb\.local_(weights|ids)|rotary_emb\.\w+)$")
"""Tensors that the original computes again: the rows of the last batch, and tables of rotary positions."""


class Chosen(NamedTuple):
    """One model of a file."""

    places: dict[str, str]
    """Name in the file of each tensor of the bare model, by its name in the original (`inner.lm_head.weight`)."""
    averaged: bool | None
    """Whether the model is the moving average, in a file that has raw weights too; None: the file has one model."""
    extras: tuple[str, ...]
    """Names in the file that are not part of the model."""


def bare_name(name: str) -> tuple[str, str] | None:
    """Return the prefix of a tensor's name without wrappers, and its name in a bare model; None outside a model."""
    parts = [_NANO.get(part, part) for part in name.split(".") if part not in _INSIDE]
    roots = (i for i, part in enumerate(parts) if part == "inner" or _ROOT.fullmatch(part))
    start = next(roots, None)
    if start is None or (start == len(parts) - 1 and parts[start] == "inner"):
        return None
    rest = parts[start:]
    while rest[0] in _WRAPPERS and len(rest) > 1:
        rest = rest[1:]
    prefix = ".".join(part for part in parts[:start] if part not in _WRAPPERS and not part.isdigit())
    return prefix, "inner." + ".".join(rest)


def choose(names: Iterable[str], averaged: bool = True, same: Callable[[str, str], bool] | None = None) -> Chosen:
    """Choose the moving average where there is one, unless `averaged` is false; else the raw model.

    Tensors without a moving average, which are not trained, are taken from the raw model. `same` compares two tensors
    of the file by name: names of equal tensors may denote one tensor. Raises InputError where the choice is ambiguous.
    """
    models: dict[str, dict[str, str]] = {}
    extras = []
    for name in sorted(names):
        found = bare_name(name)
        if found is None or _OTHERS.search(found[0]):
            extras.append(name)
            continue
        prefix, key = found
        model = models.setdefault(prefix, {})
        if key in model and not (same and same(model[key], name)):
            raise InputError(f"{key}: found it as {model[key]} and as {name}, expected one tensor of that name")
        model.setdefault(key, name)
    averages = [prefix for prefix in models if any(map(_AVERAGE.search, prefix.split(".")))]
    raw = [prefix for prefix in models if prefix not in averages]
    if "" in raw:
        raw = [""]
    if len(raw) > 1:
        # One holds a model, the others some tensors of the same names.
        largest = max(len(models[prefix]) for prefix in raw)
        raw = [prefix for prefix in raw if len(models[prefix]) == largest]
    if len(raw) > 1:
        raise InputError(f"found the models {', '.join(sorted(raw))}, expected one (and its moving average)")
    average = max(averages, key=lambda prefix: len(models[prefix]), default=None)
    places = dict(models[raw[0]]) if raw else {}
    is_average = averaged and average is not None
    if is_average and average is not None:
        places |= models[average]
    if not places and averages:
        raise InputError("found only the moving average, expected a file with both (--raw)")
    taken = {raw[0]} if raw else set()
    taken |= {average} if is_average and average is not None else set()
    extras += [name for prefix, model in models.items() if prefix not in {*taken, *averages} for name in model.values()]
    return Chosen(places, is_average if averages else None, tuple(extras))


def bare(state_dict: Mapping[str, T]) -> dict[str, T]:
    """Return the tensors of a bare model by the original's names, out of a state dict with any prefixes."""
    return {key: state_dict[name] for key, name in choose(state_dict, same=_equal_in(state_dict)).places.items()}


def is_harmless(name: str) -> bool:
    """Return whether the original computes the tensor of this bare name again, so that it can be left out."""
    return bool(_HARMLESS.match(name))


def summarise(names: Iterable[str], most: int = 4) -> str:
    """Format names for a message: up to `most` in full, more as counts by first part."""
    listed = list(names)
    if len(listed) <= most:
        return ", ".join(listed)
    counts: dict[str, int] = {}
    for name in listed:
        first = name.split(".")[0]
        counts[first] = counts.get(first, 0) + 1
    parts = [f"{first} ({count})" if count > 1 else first for first, count in list(counts.items())[:most]]
    return ", ".join(parts) + (f" and {len(counts) - most} more" if len(counts) > most else "")


def _equal_in(tensors: Mapping[str, object]) -> Callable[[str, str], bool]:
    return lambda a, b: bool(np.array_equal(np.asarray(tensors[a]), np.asarray(tensors[b])))
