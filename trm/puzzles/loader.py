"""Batches from a puzzle set: a function of seed and step. Entry: `TrainLoader`, `load_test_batches`.

Training draws from an endless stream of groups: every epoch is a fresh permutation of the groups of a set, each group
contributes one of its puzzles, drawn uniformly, and the puzzle's examples are packed into batches in random order, as
many as still fit. A batch may span two epochs. Test batches hold every example once, in order.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.augmentation import take
from trm.puzzles.kinds.kind import Draws
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import IGNORED_LABEL
from trm.puzzles.streams import Purpose, random_stream


class HostBatch(NamedTuple):
    """Sequences as NumPy arrays on the host."""

    inputs: Integer[np.ndarray, "batch seq_len"]
    labels: Integer[np.ndarray, "batch seq_len"]
    puzzle_identifiers: Integer[np.ndarray, " batch"]


class Packed(NamedTuple):
    """The examples of one batch, by index, and the puzzle that each belongs to."""

    examples: Integer[np.ndarray, " batch"]
    puzzles: Integer[np.ndarray, " batch"]


def pack(
    puzzles: Integer[np.ndarray, " upcoming"],
    puzzle_indices: Integer[np.ndarray, " puzzle_bounds"],
    batch_size: int,
    choose: Callable[[int, int], Integer[np.ndarray, " count"]],
) -> tuple[Packed, int]:
    """Pack examples of the upcoming puzzles into one batch; also return how many puzzles were used.

    The last puzzle may be cut. `choose(size, count)` draws `count` of `size` examples without replacement. The batch is
    short if the puzzles have too few examples.
    """
    starts = puzzle_indices[puzzles]
    sizes = puzzle_indices[puzzles + 1] - starts
    before = np.cumsum(sizes) - sizes
    used = count_packed(before, batch_size)
    counts = np.minimum(sizes[:used], batch_size - before[:used])
    if (sizes[:used] == 1).all():
        offsets = np.zeros(used, dtype=np.int64)
    else:
        offsets = np.concatenate([choose(int(n), int(k)) for n, k in zip(sizes[:used], counts, strict=True)])
    return Packed(np.repeat(starts[:used], counts) + offsets, np.repeat(puzzles[:used], counts)), used


def count_packed(before: Integer[np.ndarray, " upcoming"], batch_size: int) -> int:
    """Return how many puzzles a batch uses, by the number of examples before each."""
    return int(np.searchsorted(before, batch_size))


class TrainLoader:
    """Training batches of one process.

    `load(step)` (steps count from 0) is a function of the seed and the step alone: any process computes its own
    slice, and a resumed run continues where the killed one stopped. Examples of skipped steps are only counted; an
    earlier step restarts from step 0.

    With several sets in the split, each batch comes from one of them, in turns proportional to their examples per
    epoch.
    """

    def __init__(self, puzzles: PuzzleSet, batch_size: int, seed: int, process: int = 0, processes: int = 1):
        if batch_size % processes:
            raise InputError(
                f"train.global_batch_size: found {batch_size}, expected a multiple of {processes} processes"
            )
        self._puzzles = puzzles
        self._kind = kind_of(puzzles.metadata)
        self._batch_size = batch_size
        self._seed = seed
        local = batch_size // processes
        self._slice = slice(process * local, (process + 1) * local)
        self._rewind()

    def _rewind(self):
        self._step = 0
        self._streams = [_GroupStream(arrays, self._seed, i) for i, arrays in enumerate(self._puzzles.sets.values())]

    def load(self, step: int) -> HostBatch:
        """Return this process's slice of the batch of one step."""
        if step < self._step:
            self._rewind()
        while self._step < step:
            self._next_stream().skip(self._batch_size)
            self._step += 1
        stream = self._next_stream()
        # A new generator for each step: its choices do not depend on earlier draws.
        choices = random_stream(self._seed, Purpose.EXAMPLES, self._step)
        self._step += 1
        arrays, packed = stream.arrays, stream.next(self._batch_size, lambda n, k: choices.permutation(n)[:k])
        rng = random_stream(self._seed, Purpose.AUGMENTATION, step)
        draws = self._kind.draw_augmentation(arrays, rng, self._batch_size)
        mine = self._slice
        return read_examples(self._puzzles, arrays, packed.examples[mine], packed.puzzles[mine], take(draws, mine))

    def _next_stream(self) -> "_GroupStream":
        # The set that lags furthest behind its share comes next.
        return min(self._streams, key=lambda s: (s.batches + 1) / s.examples_per_epoch)


class _GroupStream:
    """The endless stream of groups of one set, from which batches are packed."""

    def __init__(self, arrays: PuzzleArrays, seed: int, number: int):
        # Indices in memory: they are accessed at random, thousands of times a second.
        self.arrays = arrays
        self.batches = 0
        self._puzzle_indices = np.asarray(arrays.puzzle_indices, dtype=np.int64)
        self._group_indices = np.asarray(arrays.group_indices, dtype=np.int64)
        self._seed, self._number = seed, number
        self._epoch = 0
        self._upcoming = np.empty(0, dtype=np.int64)
        self._examples_upcoming = 0
        puzzles_per_group = len(arrays.puzzle_identifiers) / (len(self._group_indices) - 1)
        self.examples_per_epoch = arrays.examples / puzzles_per_group

    def next(self, batch_size: int, choose: Callable[[int, int], np.ndarray]) -> Packed:
        """Return the next batch."""
        upcoming = self._fill(batch_size)
        packed, used = pack(upcoming, self._puzzle_indices, batch_size, choose)
        self._use(upcoming, used)
        return packed

    def skip(self, batch_size: int) -> None:
        """Pass over the next batch, without choosing its examples."""
        upcoming = self._fill(batch_size)
        sizes = self._sizes(upcoming)
        self._use(upcoming, count_packed(np.cumsum(sizes) - sizes, batch_size))

    def _fill(self, batch_size: int) -> Integer[np.ndarray, " upcoming"]:
        """Return the upcoming puzzles, at least those of the next batch."""
        self.batches += 1
        drawn = [self._upcoming]
        while self._examples_upcoming < batch_size:
            drawn.append(self._draw_epoch())
            self._examples_upcoming += self._examples_of(drawn[-1])
        return np.concatenate(drawn) if len(drawn) > 1 else self._upcoming

    def _use(self, upcoming: Integer[np.ndarray, " upcoming"], used: int) -> None:
        # A puzzle of which only some examples were packed is used up, too.
        self._upcoming = upcoming[used:]
        self._examples_upcoming -= self._examples_of(upcoming[:used])

    def _sizes(self, puzzles: Integer[np.ndarray, " puzzles"]) -> Integer[np.ndarray, " puzzles"]:
        return self._puzzle_indices[puzzles + 1] - self._puzzle_indices[puzzles]

    def _examples_of(self, puzzles: Integer[np.ndarray, " puzzles"]) -> int:
        return int(self._sizes(puzzles).sum())

    def _draw_epoch(self) -> Integer[np.ndarray, " groups"]:
        rng = random_stream(self._seed, Purpose.GROUPS, self._number, self._epoch)
        self._epoch += 1
        groups = rng.permutation(len(self._group_indices) - 1)
        return rng.integers(self._group_indices[groups], self._group_indices[groups + 1])


def load_test_batches(
    puzzles: PuzzleSet, batch_size: int, process: int = 0, processes: int = 1
) -> Iterator[tuple[str, HostBatch]]:
    """Yield (set name, this process's slice of a batch) for every example once.

    The last batch of a set is filled up with padding: pad tokens, ignored labels, the blank identifier.
    """
    metadata = puzzles.metadata
    local = batch_size // processes
    for name, arrays in puzzles.sets.items():
        puzzle_indices = np.asarray(arrays.puzzle_indices)
        for start in range(0, arrays.examples, batch_size):
            first = start + process * local
            examples = np.arange(first, max(first, min(first + local, arrays.examples)))
            batch = read_examples(
                puzzles, arrays, examples, np.searchsorted(puzzle_indices, examples, side="right") - 1
            )
            missing = local - len(examples)
            yield (
                name,
                HostBatch(
                    np.pad(batch.inputs, ((0, missing), (0, 0)), constant_values=metadata.pad_id),
                    np.pad(batch.labels, ((0, missing), (0, 0)), constant_values=IGNORED_LABEL),
                    np.pad(batch.puzzle_identifiers, (0, missing), constant_values=metadata.blank_identifier_id),
                ),
            )


def read_examples(
    puzzles: PuzzleSet,
    arrays: PuzzleArrays,
    examples: Integer[np.ndarray, " batch"],
    of_puzzles: Integer[np.ndarray, " batch"],
    draws: Draws | None = None,
) -> HostBatch:
    """Read examples of one set by index, augmented as drawn; ignored labels become -100.

    Raises InputError, naming set and example, for a token outside the vocabulary.
    """
    metadata = puzzles.metadata
    stored = arrays.stored_at(examples, of_puzzles)
    inputs, labels = arrays.inputs[stored], arrays.labels[stored]
    # A token outside the vocabulary would silently read another token's embedding.
    highest = metadata.vocab_size - 1
    for field, tokens in (("inputs", inputs), ("labels", labels)):
        if tokens.size and not (tokens.min() >= 0 and tokens.max() <= highest):
            row, column = np.argwhere((tokens < 0) | (tokens > highest))[0]
            raise InputError(
                f"{puzzles.name}: {field}: example {stored[row]}: found token {tokens[row, column]}, "
                f"expected 0 to {highest}"
            )
    try:
        augmented = kind_of(metadata).augment(inputs, labels, arrays, examples, of_puzzles, draws)
    except InputError as error:
        raise InputError(f"{puzzles.name}: {error}") from error
    inputs, labels = (tokens.astype(np.int32) for tokens in augmented)
    if metadata.ignore_label_id is not None:
        labels[labels == metadata.ignore_label_id] = IGNORED_LABEL
    return HostBatch(inputs, labels, arrays.puzzle_identifiers[of_puzzles].astype(np.int32))
