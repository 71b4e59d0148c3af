"""The configuration of a bare model, as far as names, shapes and dtypes of its tensors show it.

Entry: `recursion_of`, `tables_from_tensors`, `require_known`; `guess_puzzles` for a model without its puzzle set.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from trm.configuration.schema import ModelConfig
from trm.errors import InputError
from trm.model.layers import swiglu_width
from trm.model.recursions import unused_sizes
from trm.original.settings import FREE_PREFIX, Tables
from trm.original.state_dict import PUZZLE_TABLE
from trm.puzzles.kinds.registry import KINDS, kind_of
from trm.puzzles.metadata import Metadata

Tensors = Mapping[str, np.ndarray]
"""The tensors of a bare model, by the original's names."""

_TOKENS = "inner.embed_tokens.embedding_weight"
_POSITIONS = "inner.embed_pos.embedding_weight"


def recursion_of(tensors: Mapping[str, Any]) -> str:
    """Return the recursion that the names of a bare model's tensors show; raise InputError for other names."""
    levels = {match[1] for name in tensors if (match := re.match(r"inner\.([HL]_level)\.", name))}
    if levels and not any(re.fullmatch(r"inner\.(H|L\d?)_init", name) for name in tensors):
        raise InputError(
            "inner.H_init, inner.L_init: missing, expected the initial latents of a model that starts from fixed ones "
            "(no model.recursion starts every puzzle from random ones)"
        )
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


def tables_from_tensors(tensors: Tensors, metadata: Metadata) -> Tables:
    """Return the configuration that names, shapes and dtypes of a bare model show, for a puzzle set's metadata.

    Raises InputError, naming the tensor, for one that is missing or does not fit.
    """
    recursion = recursion_of(tensors)
    vocab_size, hidden_size = shape_of(tensors, _TOKENS, 2)
    if vocab_size != metadata.vocab_size:
        raise InputError(f"vocab_size: found {vocab_size} in the tensors, expected {metadata.vocab_size}")
    if hidden_size < 1:
        raise InputError(f"{_TOKENS}: found width {hidden_size}, expected 1 or more")
    row_size = shape_of(tensors, PUZZLE_TABLE, 2)[1] if PUZZLE_TABLE in tensors else 0
    initial = tensors.get("inner.H_init", tensors.get("inner.L_init"))
    model: dict[str, Any] = {"recursion": recursion, "hidden_size": hidden_size, "puzzle_emb_ndim": row_size}
    if initial is not None:
        model["forward_dtype"] = _compute_dtype(initial)
    model |= unused_sizes(recursion)
    for level in ("H", "L"):
        if f"{level}_layers" not in unused_sizes(recursion):
            model[f"{level}_layers"] = len(
                {name.split(".")[3] for name in tensors if name.startswith(f"inner.{level}_level.layers.")}
            )
    block = _first_block(recursion)
    mixing = f"{block}.mlp_t.gate_up_proj.weight"
    gates = [name for name in (f"{block}.mlp.gate_up_proj.weight", mixing) if name in tensors or name != mixing]
    model["expansion"] = _expansion([shape_of(tensors, name, 2) for name in gates])
    if mixing in tensors:
        model |= {"mixer": "mlp", "positions": "none", "num_heads": 1}
    else:
        model["mixer"] = "attention"
    if _POSITIONS in tensors:
        model["positions"] = "learned"
    positions = _count_positions(tensors)
    if recursion not in FREE_PREFIX:
        model["puzzle_emb_len"] = 0
    elif positions is not None and row_size:
        model["puzzle_emb_len"] = positions - metadata.seq_len
    return {"model": model}


def shape_of(tensors: Tensors, name: str, axes: int) -> tuple[int, ...]:
    """Return the shape of a tensor; raise InputError where it is missing or has another number of axes."""
    if name not in tensors:
        raise InputError(f"{name}: missing")
    if tensors[name].ndim != axes:
        raise InputError(f"{name}: found shape {tensors[name].shape}, expected {axes} axes")
    return tensors[name].shape


def _first_block(recursion: str) -> str:
    return f"inner.{'H' if recursion == 'transformers_baseline' else 'L'}_level.layers.0"


def _count_positions(tensors: Tensors) -> int | None:
    """Return the number of positions, prefix included, if a tensor has one row for each; else None."""
    mixing = f"{_first_block(recursion_of(tensors))}.mlp_t.gate_up_proj.weight"
    if mixing in tensors:
        return shape_of(tensors, mixing, 2)[1]
    return shape_of(tensors, _POSITIONS, 2)[0] if _POSITIONS in tensors else None


def _compute_dtype(initial: np.ndarray) -> str:
    """Return the compute dtype: that of the original's initial latents, even if they were converted since."""
    if initial.dtype == ml_dtypes.bfloat16:
        return "bfloat16"
    exact = np.array_equal(initial.astype(ml_dtypes.bfloat16).astype(initial.dtype), initial)
    return "bfloat16" if exact else "float32"


def _expansion(gates: Sequence[tuple[int, ...]]) -> float:
    """Return an expansion that makes SwiGLUs whose gates have these shapes, (2 * inner width, width)."""
    fitting = [ModelConfig.expansion, *(0.75 * gate / width for gate, width in gates if width)]

    def misfits(expansion: float) -> int:
        return sum(2 * swiglu_width(width, expansion) != gate for gate, width in gates)

    return min(fitting, key=misfits)


UNKNOWN = {"num_heads": "N", "positions": "rope", "H_cycles": "N", "L_cycles": "N", "puzzle_emb_len": "N"}
"""Keys that tensors may not show, each with an example for the message."""


def require_known(path: object, tables: Tables, set_keys: Collection[str]) -> None:
    """Raise InputError, naming the settings of the model that neither tables nor `section.key` names cover."""
    model = tables["model"]
    missing = [
        name
        for name in UNKNOWN
        if name not in model
        and f"model.{name}" not in set_keys
        and not (name == "puzzle_emb_len" and not model.get("puzzle_emb_ndim"))
    ]
    if missing:
        options = " ".join(f"--set model.{name}={UNKNOWN[name]}" for name in missing)
        keys = ", ".join(f"model.{name}" for name in missing)
        command = f"trm import {path} --data DIR -o OUT.safetensors {options}"
        raise InputError(
            f"missing: {keys}; put the all_config.yaml of its training beside the file, or set them: {command}"
        )


# Puzzles


def guess_puzzles(tensors: Tensors, settings: Mapping[str, Any]) -> Metadata:
    """Guess the metadata of the puzzle set that a model was trained on, from vocabulary and positions.

    Raises InputError where nothing shows the length of a puzzle.
    """
    recursion, vocab_size = recursion_of(tensors), shape_of(tensors, _TOKENS, 2)[0]
    rows, row_size = shape_of(tensors, PUZZLE_TABLE, 2) if PUZZLE_TABLE in tensors else (1, 0)
    positions, hidden_size = _count_positions(tensors), shape_of(tensors, _TOKENS, 2)[1]
    shortest = -(-row_size // max(hidden_size, 1))
    said = settings.get("seq_len")
    if type(said) is int and said > 0:
        lengths = [said]
    elif positions is None:
        lengths = _lengths(vocab_size, settings)
    else:
        prefixes = [settings.get("puzzle_emb_len") or shortest] if "puzzle_emb_len" in settings else [16, shortest]
        prefixes = [0] if not row_size else prefixes if recursion in FREE_PREFIX else [shortest]
        lengths = [positions - prefix for prefix in prefixes if type(prefix) is int and positions > prefix]
        lengths.sort(key=lambda length: not _fits_a_kind(vocab_size, length))
    if not lengths:
        raise InputError(
            f"missing: the length of its puzzles, which have {vocab_size} tokens; pass --data DIR to trm import"
        )
    return Metadata(
        pad_id=0,
        ignore_label_id=0,
        blank_identifier_id=0,
        vocab_size=vocab_size,
        seq_len=lengths[0],
        num_puzzle_identifiers=rows,
        total_groups=1,
        mean_puzzle_examples=1.0,
        total_puzzles=1,
        sets=["all"],
    )


def describe_guess(metadata: Metadata) -> str:
    """Describe the puzzles that `guess_puzzles` found."""
    kind = kind_of(metadata).name
    return (
        f"{metadata.seq_len} cells of {metadata.vocab_size} tokens, {'of no known kind' if kind == 'other' else kind}"
    )


def _lengths(vocab_size: int, settings: Mapping[str, Any]) -> list[int]:
    """Return lengths of puzzles of the known kinds with a vocabulary, the one that the settings name first."""
    text = " ".join(str(settings.get(name, "")) for name in ("data_paths", "data_path", "project_name", "run_name"))
    side = vocab_size - 2
    known = [("arc", 900), ("maze", 900), ("sudoku", side * side)]
    fitting = [(name, length) for name, length in known if KINDS[name].fits(vocab_size, length)]
    return [length for name, length in sorted(fitting, key=lambda found: found[0] not in text.lower())]


def _fits_a_kind(vocab_size: int, length: int) -> bool:
    return math.isqrt(length) ** 2 == length and any(
        KINDS[name].fits(vocab_size, length) for name in ("sudoku", "maze", "arc")
    )
