"""Writing the examples of ARC puzzle sets, in several processes. Entry: `lay_out`, `run_jobs`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.puzzles.kinds.arc.augmentations import Augmentations
from trm.puzzles.kinds.arc.draws import Draws
from trm.puzzles.kinds.arc.frames import room as room_for
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.arc.grids import ARC_SIDE, END, PAD, SEQ_LEN, TOKEN_OF_COLOR_0, VOCAB_SIZE, Grid
from trm.puzzles.kinds.arc.identify import Group
from trm.puzzles.kinds.arc.tasks import Pair
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.metadata import STORED_AUGMENTATIONS, TOKENS, Metadata
from trm.puzzles.processes import process_pool
from trm.puzzles.writing import TokenFiles, write_field, write_metadata

SET = "all"


class Job(NamedTuple):
    """The examples of one group, to be made and written."""

    files: TokenFiles
    first: int
    """Index of the first example."""
    split: str
    group: int
    pairs: list[Pair]
    augmentations: Augmentations
    draws: Draws


def lay_out(folder: Path, split: str, groups: Sequence[Group], metadata: Metadata, draws: Draws) -> list[Job]:
    """Write all of a split but its examples, and return jobs for these; with online augmentation write all."""
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
        stored_augmentations = (
            np.repeat(stored[:-1], puzzles),
            np.concatenate([group.augmentations.transforms for group in groups]),
            np.concatenate([group.augmentations.colors for group in groups]),
        )
        fields |= dict(zip(STORED_AUGMENTATIONS, stored_augmentations, strict=True))
        grids = zip(*((pair.input, pair.output) for group in groups for pair in group.pairs[split]), strict=True)
        fields |= {field: np.array(list(map(to_frame, side))) for field, side in zip(TOKENS, grids, strict=True)}
    for field, array in fields.items():
        write_field(folder, SET, field, array)
    if metadata.online_augmentation:
        return []
    files = TokenFiles.create(folder, SET, int(puzzle_indices[-1]), SEQ_LEN)
    firsts = puzzle_indices[group_indices[:-1]].tolist()
    return [
        Job(files, first, split, i, group.pairs[split], group.augmentations, draws)
        for i, (first, group) in enumerate(zip(firsts, groups, strict=True))
    ]


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[None]:
    if processes == 1 or len(jobs) < 2:
        yield from map(_write_examples, jobs)
        return
    with process_pool(processes) as pool:
        yield from pool.map(_write_examples, jobs)


_CHUNK = 256
"""Puzzles that are made at a time: few enough to stay in a core's cache."""


def _write_examples(job: Job) -> None:
    largest = np.array([np.maximum(pair.input.shape, pair.output.shape) for pair in job.pairs])
    for start in range(0, len(job.augmentations.transforms), _CHUNK):
        some = Augmentations(*(field[start : start + _CHUNK] for field in job.augmentations))
        puzzles, pairs = len(some.transforms), len(job.pairs)
        room = room_for(np.tile(largest, (puzzles, 1)), np.repeat(some.transforms, pairs))
        offsets = job.draws.offsets(job.split, job.group, start, pairs)(room).reshape(puzzles, pairs, 2)
        tokens = np.empty((2, puzzles, pairs, SEQ_LEN), dtype=np.uint8)
        for i, pair in enumerate(job.pairs):
            for side, grid in enumerate((pair.input, pair.output)):
                tokens[side, :, i] = augment_grid(grid, some, offsets[:, i])
        job.files.write(job.first + start * pairs, *tokens.reshape(2, puzzles * pairs, SEQ_LEN))


def augment_grid(
    grid: Grid, augmentations: Augmentations, offsets: Integer[np.ndarray, "puzzles 2"]
) -> Integer[np.ndarray, "puzzles 900"]:
    """Make all augmentations of one grid, each at its place in its frame."""
    # One more row and column, for end markers that the frame's border will cut off.
    side = ARC_SIDE + 1
    frames = np.full((len(offsets), side * side), PAD, dtype=np.uint8)
    tokens = np.tile(np.arange(VOCAB_SIZE, dtype=np.uint8), (len(offsets), 1))
    tokens[:, TOKEN_OF_COLOR_0:] = augmentations.colors + TOKEN_OF_COLOR_0
    for t in range(TRANSFORMS):
        chosen = np.flatnonzero(augmentations.transforms == t)
        marked = np.pad(transform(grid, t) + TOKEN_OF_COLOR_0, (0, 1), constant_values=END)
        marked[-1, -1] = PAD
        places = np.arange(marked.shape[0])[:, None] * side + np.arange(marked.shape[1])
        first = chosen * side * side + offsets[chosen] @ (side, 1)
        frames.ravel()[first[:, None] + places.ravel()] = tokens[chosen][:, marked.ravel()]
    return frames.reshape(-1, side, side)[:, :ARC_SIDE, :ARC_SIDE].reshape(-1, SEQ_LEN)
