"""Symmetry views: apply symmetries to puzzles and undo them on answers. Entry: `make_views`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import Metadata

_BLOCK = 64
"""Views that are drawn at a time."""


class Views(NamedTuple):
    """Symmetries, the same for all puzzles; the first leaves a puzzle as it is."""

    cells: Integer[np.ndarray, "views seq_len"]
    """Index of the cell that moves to each place; a permutation."""
    tokens: Integer[np.ndarray, "views vocab"]
    """New token of each token; a permutation."""

    def apply(self, puzzles: Integer[np.ndarray, "*batch seq_len"]) -> Integer[np.ndarray, "*batch views seq_len"]:
        """Return each puzzle through every view."""
        return _rename(self.tokens, puzzles[..., self.cells])

    def undo(self, answers: Integer[np.ndarray, "*batch views seq_len"]) -> Integer[np.ndarray, "*batch views seq_len"]:
        """Convert the answers to each view to answers to the puzzle."""
        places = np.argsort(self.cells, axis=-1)
        renamed = _rename(np.argsort(self.tokens, axis=-1), answers)
        return np.take_along_axis(renamed, np.broadcast_to(places, renamed.shape), axis=-1)

    def apply_each(
        self, puzzles: Integer[np.ndarray, "puzzles seq_len"], which: Integer[np.ndarray, " puzzles"]
    ) -> Integer[np.ndarray, "puzzles seq_len"]:
        """Return each puzzle through the view of its number in `which`."""
        moved = np.take_along_axis(puzzles, self.cells[which], axis=1)
        return np.take_along_axis(self.tokens[which], moved, axis=1).astype(puzzles.dtype)

    def undo_each(
        self, answers: Integer[np.ndarray, "puzzles seq_len"], which: Integer[np.ndarray, " puzzles"]
    ) -> Integer[np.ndarray, "puzzles seq_len"]:
        """Convert each answer to the view of its number in `which` to an answer to the puzzle."""
        renamed = np.take_along_axis(np.argsort(self.tokens, axis=1)[which], answers, axis=1)
        return np.take_along_axis(renamed, np.argsort(self.cells, axis=1)[which], axis=1).astype(answers.dtype)


def make_views(metadata: Metadata, views: int, seed: int = 0) -> Views:
    """Return a number of views of the puzzles of a set, drawn or chosen as their kind says.

    Raises InputError for more than there are: a kind without symmetries has one.
    """
    symmetries = kind_of(metadata).views(views, metadata.seq_len, metadata.vocab_size, seed)
    return Views(*(field.astype(int) for field in symmetries))


def most_views(metadata: Metadata, count: int, seed: int = 0) -> Views:
    """Return `count` different views, or all that are found if there are fewer.

    A smaller count gives the first views of a larger one.
    """
    if most := kind_of(metadata).most_views(metadata.seq_len):
        return make_views(metadata, min(count, most), seed)
    blocks = []
    for block in range(-(-count // _BLOCK)):
        # Each block begins with the identity, which counts once.
        of_block = int(np.random.SeedSequence([seed, block]).generate_state(1)[0])
        drawn = make_views(metadata, _BLOCK + 1, of_block)
        blocks.append(Views(*(field[1:] for field in drawn)) if block else drawn)
    drawn = Views(*(np.concatenate(fields) for fields in zip(*blocks, strict=True)))
    # A group of few symmetries gives the same view again and again; the second adds nothing to the first.
    _, first = np.unique(np.concatenate([drawn.cells, drawn.tokens], axis=1), axis=0, return_index=True)
    return Views(*(field[np.sort(first)[:count]] for field in drawn))


def _rename(
    names: Integer[np.ndarray, "views vocab"], tokens: Integer[np.ndarray, "*batch views seq_len"]
) -> Integer[np.ndarray, "*batch views seq_len"]:
    return names[np.arange(len(names))[:, None], tokens].astype(tokens.dtype)
