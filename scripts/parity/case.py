"""A recorded case, and comparisons with it in units of the tolerance. Entry: `read_case`, `Comparison`."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from beartype.door import is_bearable

from trm.errors import InputError
from trm.puzzles.json_files import read_json
from trm.storage.safetensors import read_safetensors


class Tolerance(NamedTuple):
    """How far a result may lie from the recorded one: `atol + rtol * size of the recorded one`."""

    rtol: float
    atol: float = 0.0
    rule: Literal["tensor", "elementwise", "rms"] = "tensor"
    """What is compared: a tensor's largest error with its largest number, each number, or root mean squares."""

    def scaled_error(self, found: np.ndarray, expected: np.ndarray) -> float:
        """Return the error as a multiple of the tolerance; infinite for NaN."""
        error, size = np.abs(found - expected), np.abs(expected)
        if self.rule != "elementwise":
            norm = np.max if self.rule == "tensor" else lambda x: np.sqrt(np.mean(x * x))
            error, size = norm(error), norm(size)
        limit = self.atol + self.rtol * size
        if self.rule == "tensor" and size <= self.atol:
            limit = self.rtol * size  # Zeros would pass for such a small tensor.
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.where(error == 0, 0.0, error / limit)
        return float(np.max(np.nan_to_num(scaled, nan=np.inf, posinf=np.inf)))


FORWARD = {"float32": Tolerance(1e-5, 1e-5), "bfloat16": Tolerance(2e-2, rule="rms")}
GRADIENT = {"float32": Tolerance(1e-4, 1e-5), "bfloat16": Tolerance(5e-2, rule="rms")}
"""Where a case does not say better, by compute dtype."""


class Comparison:
    """All that one run compares, of which the worst is remembered."""

    def __init__(self, run: str, skipped: str = ""):
        self.run = run
        self.skipped = skipped
        """Why nothing is compared."""
        self.compared = 0
        self.worst = -math.inf
        self.what = "nothing is recorded"

    @property
    def passed(self) -> bool:
        return bool(self.skipped) or (self.compared > 0 and self.worst <= 1)

    def close(self, what: str, found: Any, expected: Any, tolerance: Tolerance) -> None:
        """Compare numbers; integers must be equal, whatever the tolerance."""
        found, expected = np.asarray(found, np.float64), np.asarray(expected)
        if expected.dtype.kind in "iub" or found.shape != expected.shape:
            self.equal(what, found, expected)
        elif expected.size:
            self._note(what, tolerance.scaled_error(found, expected.astype(np.float64)))

    def equal(self, what: str, found: Any, expected: Any) -> None:
        """Compare values, whatever their types; arrays must have the same shape."""
        self._note(what, 0.0 if np.array_equal(found, expected) else math.inf)

    def all_close(self, found: Mapping, expected: Mapping, tolerances: Mapping[str, Tolerance]) -> None:
        """Compare all that is expected; the tolerance is the first whose key begins the name (after `step<i>/`)."""
        for name, value in expected.items():
            if name in found:
                kind = re.sub(r"^step\d+/", "", name)
                self.close(name, found[name], value, next(t for key, t in tolerances.items() if kind.startswith(key)))
            else:
                self._note(f"{name}: recorded, but not computed here", math.inf)

    def _note(self, what: str, scaled_error: float) -> None:
        self.compared += 1
        if scaled_error > self.worst:
            self.worst, self.what = scaled_error, what


class Case(NamedTuple):
    """What a case folder holds."""

    folder: Path
    values: dict[str, Any]
    """Of `case.json`."""
    tensors: dict[str, np.ndarray]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the tensors below a prefix, by the rest of their names."""
        prefix += "/"
        return {name.removeprefix(prefix): t for name, t in sorted(self.tensors.items()) if name.startswith(prefix)}

    def tolerance(self, kind: str, default: Tolerance, section: str | None = None) -> Tolerance:
        """Return the recorded tolerance of a kind of result where there is one."""
        recorded = self.values.get("tolerance", {})
        if isinstance(recorded, str):
            return default  # Said in words, for people.
        recorded = recorded.get(section, {}) if section else recorded
        if kind not in recorded:
            return default
        numbers, text = recorded[kind], recorded.get("rule", "")
        rule = default.rule
        if "rms(" in text:
            rule = "rms"
        elif "max|" in text:
            rule = "tensor"
        elif "elementwise" in text:
            rule = "elementwise"
        return Tolerance(numbers["rtol"], numbers.get("atol", 0.0), rule)


KINDS: dict[str, Any] = (
    dict.fromkeys(("config", "layers", "metrics", "train_config"), dict)
    | dict.fromkeys(("builds", "calls", "results", "runs", "schedule", "shuffle"), list[dict])
    | {"tolerance": dict | str}
)
"""What the entries of `case.json` are, where they are used."""


def read_case(folder: Path) -> Case:
    """Read a case folder; raise InputError when it is missing or malformed."""
    path = folder / "case.json"
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected an object")
    for name, kind in KINDS.items():
        if name in values and not is_bearable(values[name], kind):
            raise InputError(f"{path}: {name}: found {values[name]!r:.40}, expected {kind}")
    tensors = folder / "tensors.safetensors"
    return Case(folder, values, read_safetensors(tensors)[0] if tensors.exists() else {})
