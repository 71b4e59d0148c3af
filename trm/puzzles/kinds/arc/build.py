"""Building ARC puzzle sets: what enters are tasks, what leaves is a puzzle set on disk, written as it is made.

A group is a task, its puzzles are the task and its augmentations, the examples of a puzzle are its pairs. First the
augmentations of every task are chosen, which takes no grids; then the size of everything is known, and processes make
and write the examples, a task at a time. Memory does not grow with the number of augmentations but for their names.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer, UInt64

from trm.errors import InputError
from trm.puzzles.kinds.arc import grids as arc
from trm.puzzles.kinds.arc.grids import Augmentation, DrawOffsets, Task
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.metadata import ARC_COLORS, ARC_SIDE, BLANK, RECIPE, TOKENS, Metadata
from trm.puzzles.processes import process_pool
from trm.puzzles.writing import TokenFiles, new_puzzle_set, write_field, write_metadata

SET = "all"
TRIES_PER_AUGMENTATION = 5
"""Draws after which a task with few different augmentations is left with those that it has."""


class Subset(NamedTuple):
    """Tasks that belong together."""

    name: str
    tasks: Sequence[Task]
    is_test: bool
    """Whether the test pairs are to be solved, in the test split, or learned like the others."""


class Augmentations(NamedTuple):
    """The puzzles of a group: how to make each from the task. The first is the task itself."""

    transforms: Integer[np.ndarray, " puzzles"]
    colors: Integer[np.ndarray, "puzzles 10"]

    def names(self, task: str) -> Iterator[str]:
        """Yield the puzzles' names."""
        yield task
        for t, colors in zip(self.transforms[1:].tolist(), self.colors[1:], strict=True):
            yield arc.name_augmentation(task, Augmentation(t, colors))


DrawAugmentations = Callable[[int], Augmentations]
"""Draws so many, one after the other; called again when some of them were no new ones."""


@runtime_checkable
class Draws(Protocol):
    """All that is left to chance in building a set, in the order in which it is asked for."""

    def order(self, subset: int, tasks: int) -> Integer[np.ndarray, " tasks"]:
        """Draw the order of a subset's tasks."""
        ...

    def augmentations(self, subset: int, task: int) -> DrawAugmentations:
        """Return what draws the augmentations of a task."""
        ...

    def offsets(self, split: str, group: int, puzzle: int, pairs: int) -> DrawOffsets:
        """Return what draws the places of the pairs, so many to a puzzle, of some puzzles beginning with this one."""
        ...


@dataclass(frozen=True)
class SeededDraws:
    """Draws that follow from a seed and from what is drawn, in whatever order that is asked for."""

    seed: int

    def order(self, subset: int, tasks: int) -> Integer[np.ndarray, " tasks"]:
        return np.random.default_rng((self.seed, 0, subset)).permutation(tasks)

    def augmentations(self, subset: int, task: int) -> DrawAugmentations:
        return partial(_draw_augmentations, np.random.default_rng((self.seed, 1, subset, task)))

    def offsets(self, split: str, group: int, puzzle: int, pairs: int) -> DrawOffsets:
        if split == "test":
            return lambda room: np.zeros_like(room)
        return partial(_draw_offsets, np.random.default_rng((self.seed, 2, group, puzzle)), pairs)


def _draw_augmentations(rng: np.random.Generator, count: int) -> Augmentations:
    colors = np.zeros((count, ARC_COLORS), dtype=np.uint8)
    # Black means nothing in most tasks, and keeps meaning that.
    colors[:, 1:] = rng.permuted(np.tile(np.arange(1, ARC_COLORS, dtype=np.uint8), (count, 1)), axis=1)
    return Augmentations(rng.integers(TRANSFORMS, size=count, dtype=np.uint8), colors)


def _draw_offsets(
    rng: np.random.Generator, pairs: int, room: Integer[np.ndarray, "batch 2"]
) -> Integer[np.ndarray, "batch 2"]:
    offsets = rng.integers(room)
    # One pair of each puzzle stays at the top left.
    starts = np.arange(0, len(room), pairs)
    offsets[starts + rng.integers(pairs, size=len(starts))] = 0
    return offsets


def find_leaks(subsets: Sequence[Subset]) -> dict[str, dict[str, int]]:
    """Count the tasks of each test subset that also are in a subset to learn from, by the names of both."""
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
    order in which it is asked. `on_progress` is told how many groups were written, of how many.

    Raises InputError when nothing is left to learn or to test, and when the set cannot be written.
    """
    groups = list(_choose(subsets, num_aug, draws))
    count = _identify(groups, identifiers_start)
    splits = {"train": groups, "test": [group for group in groups if group.pairs["test"]]}
    if not splits["test"]:
        raise InputError("test: found no subset whose test pairs are to be solved, expected one")
    metadata = {}
    with new_puzzle_set(out, overwrite) as folder:
        _write_names(folder / "identifiers.json", groups, identifiers_start)
        tasks = {task.name: task.source for subset in subsets if subset.is_test for task in subset.tasks}
        (folder / arc.TEST_PUZZLES).write_text(json.dumps(tasks), encoding="utf-8")
        jobs: list[_Job] = []
        for split, members in splits.items():
            metadata[split] = _describe(split, members, count, compact)
            jobs += _lay_out(folder / split, split, members, metadata[split], draws)
        for done, _ in enumerate(_run(jobs, processes), start=1):
            on_progress(done, len(jobs))
    return metadata


@dataclass
class _Group:
    """A task with its augmentations."""

    name: str
    pairs: dict[str, list[arc.Pair]]
    """By split."""
    augmentations: Augmentations
    identifiers: Integer[np.ndarray, " puzzles"]


# Choosing augmentations


def _choose(subsets: Sequence[Subset], num_aug: int, draws: Draws) -> Iterator[_Group]:
    for s, subset in enumerate(subsets):
        for i in draws.order(s, len(subset.tasks)).tolist():
            task = subset.tasks[i]
            pairs: dict[str, list[arc.Pair]] = {"train": [], "test": []}
            for pair in task.pairs:
                pairs["test" if subset.is_test and pair.is_test else "train"].append(pair)
            augmentations = choose_augmentations(task, num_aug, draws.augmentations(s, i))
            yield _Group(task.name, pairs, augmentations, np.zeros(0, np.int32))


def choose_augmentations(task: Task, num_aug: int, draw: DrawAugmentations) -> Augmentations:
    """Choose up to `num_aug` augmentations that make different pairs, from the task's own and from each other's."""
    chosen = Augmentations(np.zeros(1, np.uint8), arc.IDENTITY.colors[None])
    sign = Signatures(task)
    signatures = sign(chosen)
    tries = TRIES_PER_AUGMENTATION * num_aug
    while tries and (missing := num_aug + 1 - len(signatures)):
        drawn = draw(min(missing, tries))
        tries -= len(drawn.transforms)
        both = Augmentations(*(np.concatenate(fields) for fields in zip(chosen, drawn, strict=True)))
        # The first of equal ones stays, in the order in which they were drawn.
        kept = np.sort(np.unique(np.concatenate([signatures, sign(drawn)]), return_index=True)[1])
        chosen = Augmentations(*(field[kept] for field in both))
        signatures = sign(chosen)
    return chosen


class Signatures:
    """Tells augmentations of a task apart by 64 bits each, without making them.

    Two are the same when they make the same pairs, in whatever order. The signature of a grid is the sum of random
    numbers, one for each place and colour; those of all cells of one colour are added up once, for each colour that it
    may become and each transform.
    """

    def __init__(self, task: Task):
        grids = [(pair.input, pair.output) for pair in task.pairs]
        self._sums = np.array([[_sum_by_color(grid) for grid in pair] for pair in grids])

    def __call__(self, augmentations: Augmentations) -> UInt64[np.ndarray, " puzzles"]:
        transforms = augmentations.transforms[:, None]
        signatures = np.zeros(len(transforms), dtype=np.uint64)
        for sums in self._sums:
            first, second = (s[transforms, np.arange(ARC_COLORS), augmentations.colors].sum(axis=1) for s in sums)
            signatures += _scramble(_scramble(first) + second)
        return signatures


def _sum_by_color(grid: arc.Grid) -> UInt64[np.ndarray, "transforms colors new_colors"]:
    """Add up the random numbers of the cells of each colour, after each transform, for each new colour."""
    cells = (grid.ravel() == np.arange(ARC_COLORS)[:, None]).astype(np.uint64)
    return cells @ _random_numbers()[_places(*grid.shape)]


@cache
def _random_numbers() -> UInt64[np.ndarray, "places colors"]:
    return np.random.default_rng(0).integers(2**64, size=(arc.SEQ_LEN, ARC_COLORS), dtype=np.uint64)


@cache
def _places(rows: int, columns: int) -> Integer[np.ndarray, "transforms cells"]:
    """Say where each transform takes each cell of a grid, as places in a frame."""
    cells = np.arange(rows * columns).reshape(rows, columns)
    places = np.zeros((TRANSFORMS, cells.size), dtype=np.int64)
    for t in range(TRANSFORMS):
        moved = transform(cells, t)
        places[t, moved] = np.arange(moved.shape[0])[:, None] * ARC_SIDE + np.arange(moved.shape[1])
    return places


def _scramble(x: UInt64[np.ndarray, " puzzles"]) -> UInt64[np.ndarray, " puzzles"]:
    """Mix 64 bits so that sums of the results tell the summands (the finalizer of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


# Identifiers


def _identify(groups: Sequence[_Group], start: int) -> int:
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


def _write_names(path: Path, groups: Sequence[_Group], start: int) -> None:
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


# Writing


def _describe(split: str, groups: Sequence[_Group], identifiers: int, compact: bool) -> Metadata:
    puzzles = sum(len(group.identifiers) for group in groups)
    examples = sum(len(group.identifiers) * len(group.pairs[split]) for group in groups)
    return Metadata(
        pad_id=arc.PAD,
        ignore_label_id=arc.PAD,
        blank_identifier_id=0,
        vocab_size=arc.VOCAB_SIZE,
        seq_len=arc.SEQ_LEN,
        num_puzzle_identifiers=identifiers,
        total_groups=len(groups),
        mean_puzzle_examples=examples / puzzles,
        total_puzzles=puzzles,
        sets=[SET],
        kind="arc",
        online_augmentation=compact,
    )


class _Job(NamedTuple):
    """The examples of one group, to be made and written."""

    files: TokenFiles
    first: int
    """Index of the first example."""
    split: str
    group: int
    pairs: list[arc.Pair]
    augmentations: Augmentations
    draws: Draws


def _lay_out(folder: Path, split: str, groups: Sequence[_Group], metadata: Metadata, draws: Draws) -> list[_Job]:
    """Write all but the examples of a split, or the examples as well where the loader augments them."""
    write_metadata(folder, metadata)
    pairs = np.array([len(group.pairs[split]) for group in groups])
    puzzles = np.array([len(group.identifiers) for group in groups])
    puzzle_indices = np.cumsum(np.r_[0, np.repeat(pairs, puzzles)])
    group_indices = np.cumsum(np.r_[0, puzzles])
    fields = {
        "puzzle_identifiers": np.concatenate([group.identifiers for group in groups]),
        "puzzle_indices": puzzle_indices,
        "group_indices": group_indices,
    }
    if metadata.online_augmentation:
        stored = np.cumsum(np.r_[0, pairs])
        recipe = (
            np.repeat(stored[:-1], puzzles),
            np.concatenate([group.augmentations.transforms for group in groups]),
            np.concatenate([group.augmentations.colors for group in groups]),
        )
        fields |= dict(zip(RECIPE, recipe, strict=True))
        grids = zip(*((pair.input, pair.output) for group in groups for pair in group.pairs[split]), strict=True)
        fields |= {field: np.array(list(map(arc.to_frame, side))) for field, side in zip(TOKENS, grids, strict=True)}
    for field, array in fields.items():
        write_field(folder, SET, field, array)
    if metadata.online_augmentation:
        return []
    files = TokenFiles.create(folder, SET, int(puzzle_indices[-1]), arc.SEQ_LEN)
    firsts = puzzle_indices[group_indices[:-1]].tolist()
    return [
        _Job(files, first, split, i, group.pairs[split], group.augmentations, draws)
        for i, (first, group) in enumerate(zip(firsts, groups, strict=True))
    ]


def _run(jobs: Sequence[_Job], processes: int) -> Iterator[None]:
    if processes == 1 or len(jobs) < 2:
        yield from map(_write_examples, jobs)
        return
    with process_pool(processes) as pool:
        yield from pool.map(_write_examples, jobs)


_CHUNK = 256
"""Puzzles that are made at a time: few enough to stay in a core's cache."""


def _write_examples(job: _Job) -> None:
    largest = np.array([np.maximum(pair.input.shape, pair.output.shape) for pair in job.pairs])
    for start in range(0, len(job.augmentations.transforms), _CHUNK):
        some = Augmentations(*(field[start : start + _CHUNK] for field in job.augmentations))
        puzzles, pairs = len(some.transforms), len(job.pairs)
        room = arc.room(np.tile(largest, (puzzles, 1)), np.repeat(some.transforms, pairs))
        offsets = job.draws.offsets(job.split, job.group, start, pairs)(room).reshape(puzzles, pairs, 2)
        tokens = np.empty((2, puzzles, pairs, arc.SEQ_LEN), dtype=np.uint8)
        for i, pair in enumerate(job.pairs):
            for side, grid in enumerate((pair.input, pair.output)):
                tokens[side, :, i] = augment_grid(grid, some, offsets[:, i])
        job.files.write(job.first + start * pairs, *tokens.reshape(2, puzzles * pairs, arc.SEQ_LEN))


def augment_grid(
    grid: arc.Grid, augmentations: Augmentations, offsets: Integer[np.ndarray, "puzzles 2"]
) -> Integer[np.ndarray, "puzzles 900"]:
    """Make all augmentations of one grid, each at its place in its frame."""
    # One more row and column, for end markers that the frame's border will cut off.
    side = ARC_SIDE + 1
    frames = np.full((len(offsets), side * side), arc.PAD, dtype=np.uint8)
    tokens = np.tile(np.arange(arc.VOCAB_SIZE, dtype=np.uint8), (len(offsets), 1))
    tokens[:, arc.TOKEN_OF_COLOR_0 :] = augmentations.colors + arc.TOKEN_OF_COLOR_0
    for t in range(TRANSFORMS):
        chosen = np.flatnonzero(augmentations.transforms == t)
        marked = np.pad(transform(grid, t) + arc.TOKEN_OF_COLOR_0, (0, 1), constant_values=arc.END)
        marked[-1, -1] = arc.PAD
        places = np.arange(marked.shape[0])[:, None] * side + np.arange(marked.shape[1])
        first = chosen * side * side + offsets[chosen] @ (side, 1)
        frames.ravel()[first[:, None] + places.ravel()] = tokens[chosen][:, marked.ravel()]
    return frames.reshape(-1, side, side)[:, :ARC_SIDE, :ARC_SIDE].reshape(-1, arc.SEQ_LEN)
