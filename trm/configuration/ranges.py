"""Ranges of configuration keys, and the errors of values outside them. Entry: `Range`, `check_ranges`.

A key states its range in its annotation, `hidden_size: PositiveInt`: one statement for the check and the JSON schema.
"""

import dataclasses
import math
from typing import Annotated, Any, get_args, get_type_hints

from trm.errors import InputError

LARGEST_INT = 2**31 - 1
"""Largest value of an integer key without a limit of its own: steps and sizes are 32-bit integers on devices."""


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers. `brackets` as in mathematics: "[" and "]" include the end, "(" and ")" exclude it."""

    low: int | float
    high: int | float
    brackets: str

    def __contains__(self, value: int | float) -> bool:
        above = value >= self.low if self.brackets[0] == "[" else value > self.low
        below = value <= self.high if self.brackets[1] == "]" else value < self.high
        return above and below

    def __str__(self) -> str:
        if self.high in (math.inf, LARGEST_INT):
            return f"{self.low:g} or more" if self.brackets[0] == "[" else f"more than {self.low:g}"
        return f"in {self.brackets[0]}{self.low:.10g}, {self.high:.10g}{self.brackets[1]}"


PositiveInt = Annotated[int, Range(0, LARGEST_INT, "(]")]
Count = Annotated[int, Range(0, LARGEST_INT, "[]")]
Positive = Annotated[float, Range(0, math.inf, "()")]
NotNegative = Annotated[float, Range(0, math.inf, "[)")]
Probability = Annotated[float, Range(0, 1, "[]")]
BelowOne = Annotated[float, Range(0, 1, "[)")]


def range_of(hint: Any) -> Range | None:
    """Return the range that an annotation states, at its top or in a member of a union."""
    found = [value for value in getattr(hint, "__metadata__", ()) if isinstance(value, Range)]
    found += [inner for member in get_args(hint) if (inner := range_of(member)) is not None]
    return found[0] if found else None


def check_ranges(section: Any) -> None:
    """Raise InputError, naming the key, for a value of a section outside the range that its annotation states."""
    for name, hint in get_type_hints(type(section), include_extras=True).items():
        allowed, found = range_of(hint), getattr(section, name)
        if allowed is None or found is None or found in allowed:
            continue
        too_large = isinstance(found, int) and found > LARGEST_INT == allowed.high
        require(False, name, found, f"at most {LARGEST_INT}" if too_large else str(allowed))


def require(holds: bool, name: str, found: Any, expected: str) -> None:
    """Raise InputError for the value found under a key unless the condition holds."""
    if not holds:
        raise InputError(f"{name}: found {show(found)}, expected {expected}")


def require_default(section: Any, name: str, when: str) -> None:
    """Raise InputError for a key that differs from its default although it has no effect."""
    found, default = getattr(section, name), getattr(type(section), name)
    require(found == default, name, found, f"{default!r} {when}, where it has no effect")


def show(value: Any) -> str:
    """Format any value for a message: one line of at most 160 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # An integer with more digits than Python prints, or lists nested too deeply.
        text = f"an {type(value).__name__} too large to print"
    return text if len(text) <= 160 else f"{text[:157]}..."
