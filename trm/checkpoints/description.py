"""The description of a checkpoint file, JSON in its text metadata: configuration, puzzle set, step, checksums.

Entry: `Description`, `encode`, `decode`. `migrate` converts the description of an earlier format.
"""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np

from trm.configuration.reading import config_from_tables, config_to_tables
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.puzzles.metadata import Metadata, check_metadata

Kind = Literal["checkpoint", "weights"]
ChosenOn = Literal["", "validation", "test"]

FORMAT = "trm 3"
"""Name and version of the layout. A reader takes this one and those that `migrate` knows."""
READABLE = ("trm 1", "trm 2", FORMAT)
KEY = "trm"
"""Key of the text metadata. There is only one: the library writes several in any order, and equal states must give
equal files."""

PACKAGES = ("trm", "jax", "equinox", "optax", "numpy")
"""Packages whose versions a file records: another version may change the numbers."""

_BEST = ("score", "step", "evaluations_since")
_CHECKSUM = "checksum"
"""Field of the description that holds its own checksum."""
_KEYS = frozenset(
    "format kind config puzzle_set step versions best identity chosen_on averaged evaluation_due skipped arrays".split()
)
"""The other fields."""


def _versions() -> dict[str, str]:
    return dict(_installed())


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    # Read once: packages may be changed or removed during a long run, which must still save.
    return tuple((name, version(name)) for name in PACKAGES)


@dataclasses.dataclass(frozen=True)
class Description:
    """The description of a checkpoint or of weights."""

    kind: Kind
    """checkpoint: a whole training state, from which a run resumes; weights: the network and the puzzle table alone."""
    config: Config
    metadata: Metadata
    """Metadata of the training set."""
    step: int
    """Training steps made."""
    versions: dict[str, str] = dataclasses.field(default_factory=_versions)
    """Versions of the packages that wrote the file."""
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    """State of the best weights and of early stopping: score and step of the best evaluation, evaluations since; empty
    before the first."""
    identity: dict[str, str] = dataclasses.field(default_factory=dict)
    """Fingerprints of the training set, and of the test set if it decides the best weights (`trm.training.sets`); empty
    where they are not known."""
    chosen_on: ChosenOn = ""
    """The split whose evaluation chose these weights; empty: they are the last of a run, or a whole state."""
    averaged: bool | None = None
    """Of weights: whether they are the moving average. None: a whole state, which holds both."""
    evaluation_due: bool = False
    """Of a checkpoint: whether the evaluation after its step is still to be made."""
    skipped: tuple[int, ...] = ()
    """Of a checkpoint: steps, before and after its own, that train nothing, since their numbers were not finite."""

    def of_weights(self, averaged: bool = True) -> "Description":
        """Return the description of the weights that `load_weights` takes out of the file, averaged or not."""
        if self.kind == "checkpoint":
            averaged = averaged and self.config.optimizer.ema
        else:
            averaged = bool(self.averaged)
        return dataclasses.replace(self, kind="weights", averaged=averaged, best={}, evaluation_due=False, skipped=())


def encode(description: Description, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the text metadata of a file that holds the arrays."""
    values = {
        "format": FORMAT,
        "kind": description.kind,
        "config": config_to_tables(description.config),
        "puzzle_set": dataclasses.asdict(description.metadata),
        "step": description.step,
        "versions": description.versions,
        "best": description.best,
        "identity": description.identity,
        "chosen_on": description.chosen_on,
        "averaged": description.averaged,
        "evaluation_due": description.evaluation_due,
        "skipped": list(description.skipped),
        "arrays": {name: array_checksum(name, array) for name, array in sorted(arrays.items())},
    }
    # The checksum is of the values as a reader gets them, in case JSON changes a number.
    values = json.loads(json.dumps(values))
    return {KEY: json.dumps(values | {_CHECKSUM: _text_checksum(values)})}


def decode(text: Mapping[str, str]) -> tuple[Description, dict[str, int]]:
    """Return the description in a file's text metadata, and the checksum of each array; none in an earlier format.

    Raises InputError, naming the field, for what `encode` did not write, and for a damaged description.
    """
    try:
        values = json.loads(text.get(KEY, "{}"))
        if not isinstance(values, dict) or values.get("format") not in READABLE:
            found = values.get("format") if isinstance(values, dict) else values
            raise InputError(
                f"format: found {found!r}, expected {FORMAT!r}, a file that trm wrote (`trm import` converts others)"
            )
        # The checksum is of the written values, which `migrate` changes.
        checksum = values.pop(_CHECKSUM, None)
        if checksum is not None and checksum != _text_checksum(values):
            raise InputError("metadata: found a damaged description: its checksum does not match")
        values = migrate(values)
        return _parse(values), dict(values["arrays"])
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"metadata: found {error}, expected what `trm train` writes") from error


def migrate(values: dict[str, Any]) -> dict[str, Any]:
    """Convert the description of an earlier format to the present one.

    "trm 1" (revisions up to d54c609): no fingerprints, no checksums, and weights that were called averaged whenever the
    configuration had a moving average. "trm 2" (up to 2026-11-28): no skipped steps.
    """
    if values["format"] == "trm 1":
        averaged = bool(values["config"].get("optimizer", {}).get("ema", True)) if values["kind"] == "weights" else None
        new = {"identity": {}, "chosen_on": "", "averaged": averaged, "evaluation_due": False, "arrays": {}}
        values = values | new | {"format": "trm 2"}
    if values["format"] == "trm 2":
        values = values | {"skipped": [], "format": FORMAT}
    return values


def array_checksum(name: str, array: np.ndarray) -> int:
    """Return the CRC-32 of an array with its name, dtype and shape."""
    header = f"{name} {array.dtype.name} {array.shape}".encode()
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, zlib.crc32(header))


def check_arrays(arrays: Mapping[str, np.ndarray], checksums: Mapping[str, int]) -> None:
    """Raise InputError naming the first array whose checksum does not match; without checksums nothing is checked."""
    for name, expected in checksums.items():
        # `fill` reports a missing array.
        if name in arrays and array_checksum(name, arrays[name]) != expected:
            raise InputError(f"{name}: found damaged numbers: their checksum does not match")


def _text_checksum(values: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(values).encode())


def _parse(values: dict[str, Any]) -> Description:
    # A key that is damaged may be that of the checksum.
    if unknown := values.keys() - _KEYS:
        raise InputError(f"metadata: found an unknown key {min(unknown)!r}, expected {', '.join(sorted(_KEYS))}")
    kind = values["kind"]
    if kind not in get_args(Kind):
        raise InputError(f"kind: found {kind!r}, expected one of {', '.join(get_args(Kind))}")
    expected = {"step": int, "versions": dict, "best": dict, "identity": dict, "evaluation_due": bool, "arrays": dict}
    for name, of_type in expected.items():
        if type(values[name]) is not of_type:
            raise InputError(f"{name}: found {values[name]!r}, expected {of_type.__name__}")
    if values["best"] and not all(type(values["best"][name]) in (int, float) for name in _BEST):
        raise InputError(f"best: found {values['best']!r}, expected numbers: {', '.join(_BEST)}")
    if values["chosen_on"] not in get_args(ChosenOn):
        raise InputError(f"chosen_on: found {values['chosen_on']!r}, expected one of {', '.join(get_args(ChosenOn))}")
    if type(values["skipped"]) is not list or not all(type(step) is int for step in values["skipped"]):
        raise InputError(f"skipped: found {values['skipped']!r}, expected a list of steps")
    if not isinstance(values["averaged"], bool | None):
        raise InputError(f"averaged: found {values['averaged']!r}, expected true, false or null")
    return Description(
        kind,
        config_from_tables(values["config"]),
        check_metadata(values["puzzle_set"], "puzzle_set"),
        values["step"],
        values["versions"],
        values["best"],
        values["identity"],
        values["chosen_on"],
        values["averaged"],
        values["evaluation_due"],
        tuple(values["skipped"]),
    )
