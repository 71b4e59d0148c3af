"""The ARC kind. Entry: `Arc`.

A set that is augmented online stores each task once (`StoredAugmentations`): the loader makes its augmentations, and
moves all pairs of a puzzle but one to random places in their frames, as a stored set has them.
"""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Integer
from rich.text import Text

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.kinds.arc.draw import COLORS, draw_grid
from trm.puzzles.kinds.arc.frames import augment_frames, find_gaps, is_framed
from trm.puzzles.kinds.arc.grids import ARC_COLORS, ARC_SIDE, SEQ_LEN, VOCAB_SIZE
from trm.puzzles.kinds.kind import Picture, PuzzleKind, Tokens


class Places(NamedTuple):
    """Places of ARC pairs in their frames."""

    uniform: Float[np.ndarray, "batch 2"]
    """Row and column of the offset, as shares of the free rows and columns."""


@final
class Arc(PuzzleKind):
    """Grids of up to 30 x 30 cells in frames; a task has demonstrations and is not solved from its text alone."""

    name = "arc"
    solved_from = "tasks"
    stores_augmentations = True
    expected = "one rectangle of colours with end markers below and to the right"

    def vocab_size(self, seq_len: int) -> int | None:
        return VOCAB_SIZE if seq_len == SEQ_LEN else None

    def parse(self, text: str, where: str) -> Integer[np.ndarray, " seq_len"]:
        raise InputError(f"{where}: found a puzzle as text, expected a task as JSON")

    def solved(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, " puzzles"]:
        raise InputError("ARC: found no rules, expected a label to compare an answer with")

    def well_formed(self, inputs: Tokens, labels: Tokens) -> Bool[np.ndarray, " puzzles"]:
        return is_framed(inputs) & is_framed(labels)

    @property
    def verdict(self) -> str:
        return f"every frame holds {self.expected}"

    def draw_augmentation(self, arrays: PuzzleArrays, rng: np.random.Generator, batch: int) -> Places | None:
        return Places(rng.random((batch, 2))) if arrays.stored_augmentations is not None else None

    def augment(
        self,
        inputs: Tokens,
        labels: Tokens,
        arrays: PuzzleArrays,
        examples: Integer[np.ndarray, " puzzles"],
        puzzles: Integer[np.ndarray, " puzzles"],
        draws: Places | None,
    ) -> tuple[Tokens, Tokens]:
        stored = arrays.stored_augmentations
        if stored is None:
            return inputs, labels
        for field, frames in (("inputs", inputs), ("labels", labels)):
            gaps = find_gaps(frames)
            if gaps.any():
                example = arrays.stored_at(examples, puzzles)[gaps.argmax()]
                raise InputError(f"{field}: example {example}: found no colour inside a grid, expected a rectangle")
        transforms, colors = stored.transforms[puzzles], stored.colors[puzzles]
        if draws is None:
            return augment_frames(inputs, labels, transforms, colors)
        shares = np.where(_stays(arrays, examples, puzzles)[:, None], 0.0, draws.uniform)
        return augment_frames(inputs, labels, transforms, colors, lambda room: (shares * room).astype(np.int64))

    def draw(
        self,
        question: Integer[np.ndarray, " seq_len"],
        answer: Integer[np.ndarray, " seq_len"],
        truth: Integer[np.ndarray, " seq_len"] | None = None,
    ) -> Text:
        return draw_grid(answer.reshape(ARC_SIDE, ARC_SIDE))

    def picture(self, seq_len: int, vocab_size: int) -> Picture:
        classes = ("padding", "end", *(f"arc-{color}" for color in range(ARC_COLORS)))
        names = ("padding", "end", *COLORS)
        return Picture(ARC_SIDE, ("",) * VOCAB_SIZE, names, classes, open=tuple(range(VOCAB_SIZE)))


def _stays(
    arrays: PuzzleArrays, examples: Integer[np.ndarray, " batch"], puzzles: Integer[np.ndarray, " batch"]
) -> Bool[np.ndarray, " batch"]:
    """Return which examples stay at the top left: one of each puzzle, always the same, as in a stored set."""
    starts = arrays.puzzle_indices[puzzles].astype(np.int64)
    sizes = arrays.puzzle_indices[puzzles + 1] - starts
    # Multiplying by 2**64 over the golden ratio scatters consecutive numbers evenly.
    scattered = (puzzles.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return examples - starts == (scattered % sizes.astype(np.uint64)).astype(np.int64)
