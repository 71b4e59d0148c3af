"""Mutations of trees: dictionaries and lists of values, as JSON and checkpoints hold them. Entry: `change_tree`."""

import json
import random
from collections.abc import Callable
from typing import Any

VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 3000, 10**7, 2**31, 2**63, 2**64, 10**400, 1e308, -0.5),
    *("", "x", "../x", "\0", "9" * 400, "bfloat16", [], {}, [[]], [None], {"a": {}}),
]
"""Values that stand where others are expected."""

Replace = Callable[[random.Random, Any], Any]


def change_tree(rng: random.Random, value: Any, replace: Replace = lambda rng, value: None, depth: int = 0) -> Any:
    """Return the tree with one value replaced, dropped, doubled, renamed, or exchanged with its neighbour.

    `replace` gives another value for those that it knows, and None for the rest.
    """
    places = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not len(places) or rng.random() < (0.15 if depth else 0.03):
        return _other(rng, value, replace)
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    place = rng.choice(list(places))
    way = rng.random()
    if way < 0.08:
        del changed[place]
    elif way < 0.16 and isinstance(changed, list):
        changed.insert(place, changed[place])
    elif way < 0.16:
        changed[rng.choice(["x", "", "../x", f"{place} ", f"x.{place}", str(place)[1:]])] = changed[place]
    elif way < 0.26:
        other = rng.choice(list(places))
        changed[place], changed[other] = changed[other], changed[place]
    else:
        changed[place] = change_tree(rng, changed[place], replace, depth + 1)
    return changed


def _other(rng: random.Random, value: Any, replace: Replace) -> Any:
    if isinstance(value, str) and value.startswith("{") and rng.random() < 0.9:
        try:
            return json.dumps(change_tree(rng, json.loads(value)))
        except (ValueError, RecursionError):
            pass  # Text that only begins like JSON.
    if rng.random() < 0.8 and (replaced := replace(rng, value)) is not None:
        return replaced
    if isinstance(value, bool) and rng.random() < 0.5:
        return not value
    if isinstance(value, int | float) and rng.random() < 0.4:
        return rng.choice((value + 1, value - 1, value * 2))
    return rng.choice(VALUES)
