"""Frames: ARC grids as tokens. Entry: `to_frame`, `crop`, `augment_frames`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Integer

from trm.puzzles.kinds.arc.augmentations import Augmentation
from trm.puzzles.kinds.arc.grids import ARC_SIDE, END, PAD, TOKEN_OF_COLOR_0, VOCAB_SIZE, Frames, Grid
from trm.puzzles.kinds.dihedral import swaps_axes


def to_frame(grid: Grid, row: int = 0, column: int = 0) -> Integer[np.ndarray, " 900"]:
    """Return a frame with the grid's first cell at (`row`, `column`), and end markers where there is room."""
    frame = np.full((ARC_SIDE, ARC_SIDE), PAD, dtype=np.uint8)
    rows, columns = grid.shape
    inside_rows, inside_columns = slice(row, row + rows), slice(column, column + columns)
    frame[row + rows : row + rows + 1, inside_columns] = END
    frame[inside_rows, column + columns : column + columns + 1] = END
    frame[inside_rows, inside_columns] = grid + TOKEN_OF_COLOR_0
    return frame.ravel()


def crop_shapes(tokens: Integer[np.ndarray, "*batch 900"]) -> Integer[np.ndarray, "*batch 2"]:
    """Return rows and columns of the largest rectangle of colours at the top left, of equal ones with the fewest rows.

    The tokens may be any; (0, 0) where the first is not a colour.
    """
    frames = tokens.reshape(*tokens.shape[:-1], ARC_SIDE, ARC_SIDE)
    colored = (frames >= TOKEN_OF_COLOR_0) & (frames < VOCAB_SIZE)
    widths = np.minimum.accumulate(np.logical_and.accumulate(colored, axis=-1).sum(axis=-1), axis=-1)
    areas = widths * np.arange(1, ARC_SIDE + 1)
    best = areas.argmax(axis=-1)
    columns = np.take_along_axis(widths, best[..., None], axis=-1)[..., 0]
    return np.stack([np.where(columns > 0, best + 1, 0), columns], axis=-1)


def crop(tokens: Integer[np.ndarray, " 900"]) -> Grid:
    """Return the grid of `crop_shapes`, which has no cells where the first token is not a colour."""
    rows, columns = crop_shapes(tokens)
    frame = tokens.reshape(ARC_SIDE, ARC_SIDE)
    return (frame[:rows, :columns] - TOKEN_OF_COLOR_0).astype(np.uint8)


DrawOffsets = Callable[[Integer[np.ndarray, "batch 2"]], Integer[np.ndarray, "batch 2"]]
"""Draws row and column at which each pair begins, given the number of possible rows and columns."""


def augment_frames(
    inputs: Frames,
    labels: Frames,
    transforms: Integer[np.ndarray, " batch"],
    colors: Integer[np.ndarray, "batch 10"],
    draw_offsets: DrawOffsets | None = None,
) -> tuple[Frames, Frames]:
    """Augment pairs whose grids lie at the top left of their frames; move both grids of a pair by the same offset."""
    shapes = np.stack([_stored_shapes(frames) for frames in (inputs, labels)], axis=1)
    offsets = np.zeros((len(inputs), 2), dtype=np.int64)
    if draw_offsets is not None:
        offsets = draw_offsets(room(shapes.max(axis=1), transforms))
    augmented = np.empty((2, *inputs.shape), dtype=inputs.dtype)
    for i, (t, offset) in enumerate(zip(transforms.tolist(), offsets.tolist(), strict=True)):
        augmentation = Augmentation(t, colors[i])
        for side, frames in enumerate((inputs, labels)):
            rows, columns = shapes[i, side]
            grid = frames[i].reshape(ARC_SIDE, ARC_SIDE)[:rows, :columns] - TOKEN_OF_COLOR_0
            augmented[side, i] = to_frame(augmentation.apply(grid), *offset)
    return augmented[0], augmented[1]


def _stored_shapes(frames: Frames) -> Integer[np.ndarray, "batch 2"]:
    """Return rows and columns of grids at the top left of their frames."""
    boards = frames.reshape(-1, ARC_SIDE, ARC_SIDE)
    return np.stack([(edge >= TOKEN_OF_COLOR_0).sum(axis=1) for edge in (boards[:, :, 0], boards[:, 0])], axis=1)


def find_gaps(frames: Frames) -> Bool[np.ndarray, " batch"]:
    """Return which grids at the top left of their frames are not rectangles of colours."""
    shapes = _stored_shapes(frames)
    places = np.arange(ARC_SIDE)
    rows, columns = (places < shapes[:, [axis]] for axis in (0, 1))
    inside = rows[:, :, None] & columns[:, None, :]
    return np.asarray((inside & (frames.reshape(inside.shape) < TOKEN_OF_COLOR_0)).any(axis=(1, 2)))


def room(
    shapes: Integer[np.ndarray, "batch 2"], transforms: Integer[np.ndarray, " batch"]
) -> Integer[np.ndarray, "batch 2"]:
    """Count the rows, and the columns, at which a grid of a shape may begin after a transform."""
    return ARC_SIDE + 1 - np.where(swaps_axes(transforms)[:, None], shapes[:, ::-1], shapes)


def is_framed(tokens: Frames) -> Bool[np.ndarray, " batch"]:
    """Return whether frames hold one rectangle of colours, end markers below and right of it, and nothing else."""
    frames = tokens.reshape(-1, ARC_SIDE, ARC_SIDE)
    colored = np.asarray(frames >= TOKEN_OF_COLOR_0)
    in_rows, in_columns = (np.asarray(colored.any(axis=axis)) for axis in (2, 1))
    # A rectangle is the product of its projections, which have no gaps.
    gaps = (_count_runs(in_rows) != 1) | (_count_runs(in_columns) != 1)
    # End markers are one step after the last cells.
    below, right = _after(in_rows), _after(in_columns)
    grid = in_rows[:, :, None] & in_columns[:, None, :]
    ends = (below[:, :, None] & in_columns[:, None, :]) | (in_rows[:, :, None] & right[:, None, :])
    others = np.where(ends, END, PAD)
    fits = np.where(grid, colored, frames == others).all(axis=(1, 2))
    return fits & ~gaps


def _count_runs(shadows: Bool[np.ndarray, "batch side"]) -> Integer[np.ndarray, " batch"]:
    return (np.diff(shadows.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=1)


def _after(shadows: Bool[np.ndarray, "batch side"]) -> Bool[np.ndarray, "batch side"]:
    """Mark the first place after each run."""
    moved = np.pad(shadows[:, :-1], ((0, 0), (1, 0)))
    return moved & ~shadows
