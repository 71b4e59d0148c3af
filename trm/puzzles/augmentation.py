"""Online augmentation: what enters are examples as they are stored, what leaves is what the network sees of them.

A set that is augmented online (`Metadata.online_augmentation`) has the distribution of a stored one with endlessly many
augmentations. All random numbers are drawn for the whole batch, whoever reads which part of it: a batch is a function
of seed and step on any number of processes.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from trm.puzzles.kinds.arc import grids as arc
from trm.puzzles.kinds.sudoku import boards as sudoku
from trm.puzzles.metadata import PuzzleArrays

Tokens = Integer[np.ndarray, "batch seq_len"]


class Places(NamedTuple):
    """Where an ARC pair goes in its frame."""

    uniform: Float[np.ndarray, "batch 2"]
    """Row and column of the offset, as shares of the room that there is."""


Draws = sudoku.Symmetries | Places
"""Random numbers of a batch; every field has one entry per example."""


def draw(arrays: PuzzleArrays, rng: np.random.Generator, batch: int) -> Draws | None:
    """Draw what augments a batch; None where nothing is left to chance."""
    if not arrays.online_augmentation:
        return None
    if arrays.recipe is not None:
        return Places(rng.random((batch, 2)))
    return sudoku.draw_symmetries(rng, batch, math.isqrt(arrays.inputs.shape[1]))


def take(draws: Draws | None, part: slice) -> Draws | None:
    """Take the draws of some of the examples."""
    return None if draws is None else type(draws)(*(field[part] for field in draws))


def stored_examples(
    arrays: PuzzleArrays, examples: Integer[np.ndarray, " batch"], puzzles: Integer[np.ndarray, " batch"]
) -> Integer[np.ndarray, " batch"]:
    """Return where the examples are stored, which of an ARC task may be in another puzzle: its original."""
    if arrays.recipe is None:
        return examples
    return arrays.recipe.first_examples[puzzles] + examples - arrays.puzzle_indices[puzzles]


def lowest_token(draws: Draws | None) -> int:
    """Return the lowest token that can be augmented so: padding on a Sudoku board cannot be rearranged."""
    return sudoku.TOKEN_OF_DIGIT_0 if isinstance(draws, sudoku.Symmetries) else 0


def augment(
    inputs: Tokens,
    labels: Tokens,
    arrays: PuzzleArrays,
    examples: Integer[np.ndarray, " batch"],
    puzzles: Integer[np.ndarray, " batch"],
    draws: Draws | None,
) -> tuple[Tokens, Tokens]:
    """Make the examples that were drawn from those that are stored; without draws nothing is left to chance."""
    if isinstance(draws, sudoku.Symmetries):
        return _rearrange(inputs, draws), _rearrange(labels, draws)
    if arrays.recipe is None:
        return inputs, labels
    recipe = arrays.recipe
    transforms, colors = recipe.transforms[puzzles], recipe.colors[puzzles]
    if draws is None:
        return arc.augment_frames(inputs, labels, transforms, colors)
    shares = np.where(_stays(arrays, examples, puzzles)[:, None], 0.0, draws.uniform)
    return arc.augment_frames(inputs, labels, transforms, colors, lambda room: (shares * room).astype(np.int64))


def _rearrange(tokens: Tokens, symmetries: sudoku.Symmetries) -> Tokens:
    n = symmetries.rows.shape[1]
    boards = (tokens - sudoku.TOKEN_OF_DIGIT_0).reshape(-1, n, n)
    return sudoku.apply_symmetries(symmetries, boards).reshape(tokens.shape) + np.uint8(sudoku.TOKEN_OF_DIGIT_0)


def _stays(
    arrays: PuzzleArrays, examples: Integer[np.ndarray, " batch"], puzzles: Integer[np.ndarray, " batch"]
) -> Bool[np.ndarray, " batch"]:
    """Say which examples stay at the top left: one of each puzzle, always the same, as in a stored set."""
    starts = arrays.puzzle_indices[puzzles].astype(np.int64)
    sizes = arrays.puzzle_indices[puzzles + 1] - starts
    # Multiplying by 2**64 over the golden ratio scatters consecutive numbers evenly.
    scattered = (puzzles.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return examples - starts == (scattered % sizes.astype(np.uint64)).astype(np.int64)
