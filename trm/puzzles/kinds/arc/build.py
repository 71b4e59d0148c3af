"""Building ARC puzzle sets, written to disk as they are made. Entry: `build`.

A group is a task, its puzzles are the task and its augmentations, the examples of a puzzle are its pairs. First the
augmentations of every task are chosen, without augmenting a grid; then all sizes are known, and processes make and
write the examples, task by task. Of the augmentations only the names stay in memory.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trm.errors import InputError
from trm.puzzles.kinds.arc.choose import choose_augmentations
from trm.puzzles.kinds.arc.draws import Draws
from trm.puzzles.kinds.arc.grids import PAD, SEQ_LEN, VOCAB_SIZE
from trm.puzzles.kinds.arc.identify import Group, identify, write_names
from trm.puzzles.kinds.arc.tasks import TEST_PUZZLES, Pair, Task, join_tasks
from trm.puzzles.kinds.arc.write import SET, Job, lay_out, run_jobs
from trm.puzzles.metadata import Metadata
from trm.puzzles.writing import new_puzzle_set


class Subset(NamedTuple):
    """Tasks that belong together."""

    name: str
    tasks: Sequence[Task]
    is_test: bool
    """Whether the test pairs are test examples; false: they are training examples like the others."""


def find_leaks(subsets: Sequence[Subset]) -> dict[str, dict[str, int]]:
    """Count the tasks of each test subset that are in a training subset too, by the names of both subsets."""
    leaks: dict[str, dict[str, int]] = {}
    for test in subsets:
        names = {task.name for task in test.tasks} if test.is_test else set()
        for other in subsets:
            shared = 0 if other.is_test else len(names & {task.name for task in other.tasks})
            if shared:
                leaks.setdefault(test.name, {})[other.name] = shared
    return leaks


def build(
    out: str | Path,
    subsets: Sequence[Subset],
    num_aug: int,
    draws: Draws,
    compact: bool = False,
    identifiers_start: int = 1,
    processes: int = 1,
    overwrite: bool = False,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Mapping[str, Metadata]:
    """Build a puzzle set of tasks with up to `num_aug` augmentations each; return the metadata of its splits.

    `compact` stores each task once, for the loader to augment. With several processes `draws` must not depend on the
    order of the calls. `on_progress` is called with the number of groups written and the number of all groups.

    Raises InputError when there is no test subset, and when the set cannot be written.
    """
    groups = list(_choose(subsets, num_aug, draws))
    count = identify(groups, identifiers_start)
    splits = {"train": groups, "test": [group for group in groups if group.pairs["test"]]}
    if not splits["test"]:
        raise InputError("test: found no test subset, expected one")
    metadata = {}
    with new_puzzle_set(out, overwrite) as folder:
        write_names(folder / "identifiers.json", groups, identifiers_start)
        tested = join_tasks(task for subset in subsets if subset.is_test for task in subset.tasks)
        tasks = {task.name: task.source for task in tested}
        (folder / TEST_PUZZLES).write_text(json.dumps(tasks), encoding="utf-8")
        jobs: list[Job] = []
        for split, members in splits.items():
            metadata[split] = _describe(split, members, count, compact)
            jobs += lay_out(folder / split, split, members, metadata[split], draws)
        for done, _ in enumerate(run_jobs(jobs, processes), start=1):
            on_progress(done, len(jobs))
    return metadata


def _choose(subsets: Sequence[Subset], num_aug: int, draws: Draws) -> Iterator[Group]:
    for s, subset in enumerate(subsets):
        for i in draws.order(s, len(subset.tasks)).tolist():
            task = subset.tasks[i]
            pairs: dict[str, list[Pair]] = {"train": [], "test": []}
            for pair in task.pairs:
                pairs["test" if subset.is_test and pair.is_test else "train"].append(pair)
            augmentations = choose_augmentations(task, num_aug, draws.augmentations(s, i))
            yield Group(task.name, pairs, augmentations, np.zeros(0, np.int32))


def _describe(split: str, groups: Sequence[Group], identifiers: int, compact: bool) -> Metadata:
    puzzles = sum(len(group.identifiers) for group in groups)
    examples = sum(len(group.identifiers) * len(group.pairs[split]) for group in groups)
    return Metadata(
        pad_id=PAD,
        ignore_label_id=PAD,
        blank_identifier_id=0,
        vocab_size=VOCAB_SIZE,
        seq_len=SEQ_LEN,
        num_puzzle_identifiers=identifiers,
        total_groups=len(groups),
        mean_puzzle_examples=examples / puzzles,
        total_puzzles=puzzles,
        sets=[SET],
        kind="arc",
        online_augmentation=compact,
    )
