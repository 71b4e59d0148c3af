"""The eight rotations and reflections of a grid, numbered as in the original. Entry: `transform`, `inverse`."""

import numpy as np
from jaxtyping import Bool, Integer, Shaped

TRANSFORMS = 8
INVERSE = (0, 3, 2, 1, 4, 5, 6, 7)
"""Number of the inverse of each transform."""

_PLAN = (
    (False, 1, 1),
    (True, -1, 1),
    (False, -1, -1),
    (True, 1, -1),
    (False, 1, -1),
    (False, -1, 1),
    (True, 1, 1),
    (True, -1, -1),
)
"""Of each transform: whether to transpose first, then the direction to read rows in, and columns."""


def transform(
    grid: Shaped[np.ndarray, "*batch rows columns"], t: int
) -> Shaped[np.ndarray, "*batch new_rows new_columns"]:
    """Return a view of the grids after transform `t`.

    0 leaves them, 1 to 3 rotate by as many quarter turns counter-clockwise, 4 mirrors left and right, 5 up and down,
    6 transposes, 7 mirrors at the other diagonal.
    """
    transposes, rows, columns = _PLAN[t]
    return (np.swapaxes(grid, -2, -1) if transposes else grid)[..., ::rows, ::columns]


def inverse(
    grid: Shaped[np.ndarray, "*batch rows columns"], t: int
) -> Shaped[np.ndarray, "*batch new_rows new_columns"]:
    """Undo transform `t`."""
    return transform(grid, INVERSE[t])


def swaps_axes(t: Integer[np.ndarray, "*batch"]) -> Bool[np.ndarray, "*batch"]:
    """Return for each transform whether it swaps rows and columns."""
    return np.array([transposes for transposes, _, _ in _PLAN])[t]
