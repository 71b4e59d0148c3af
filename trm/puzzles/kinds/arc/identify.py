"""Numbering the puzzles of ARC tasks. Entry: `Group`, `identify`, `write_names`."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from trm.puzzles.kinds.arc.augmentations import Augmentations
from trm.puzzles.kinds.arc.tasks import Pair
from trm.puzzles.metadata import BLANK


@dataclass
class Group:
    """A task with its augmentations."""

    name: str
    pairs: dict[str, list[Pair]]
    """Pairs of the task, by split."""
    augmentations: Augmentations
    identifiers: Integer[np.ndarray, " puzzles"]


def identify(groups: Sequence[Group], start: int) -> int:
    """Number the puzzles of all groups; return the number of identifiers. Puzzles of the same name share theirs."""
    count = start
    repeated = {name: {} for name, times in Counter(group.name for group in groups).items() if times > 1}
    for group in groups:
        puzzles = len(group.augmentations.transforms)
        known: dict[str, int] | None = repeated.get(group.name)
        if known is None:
            group.identifiers = np.arange(count, count + puzzles, dtype=np.int32)
            count += puzzles
            continue
        for name in group.augmentations.names(group.name):
            if name not in known:
                known[name] = count
                count += 1
        group.identifiers = np.array([known[name] for name in group.augmentations.names(group.name)], dtype=np.int32)
    return count


def write_names(path: Path, groups: Sequence[Group], start: int) -> None:
    """Write the names in the order of their numbers, one by one: there may be millions."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[" + ", ".join([json.dumps(BLANK)] * start))
        following = start
        for group in groups:
            for identifier, name in zip(group.identifiers.tolist(), group.augmentations.names(group.name), strict=True):
                if identifier == following:
                    file.write(f", {json.dumps(name)}")
                    following += 1
        file.write("]")
