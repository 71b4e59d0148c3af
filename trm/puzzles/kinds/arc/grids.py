"""ARC grids and the tokens of their frames. Entry: `parse_grid`, `is_blank`.

A grid of up to 30 x 30 cells in ten colours lies somewhere in a frame of 30 x 30 tokens: 2 to 11 for the colours, 1 for
the end markers in the row below and the column right of the grid, 0 for everything else. Vocabulary 12.
"""

import re
from typing import Any

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError

ARC_SIDE, ARC_COLORS = 30, 10
"""Side of the frame that holds a grid, and number of colours."""
PAD, END, TOKEN_OF_COLOR_0 = 0, 1, 2
SEQ_LEN = ARC_SIDE * ARC_SIDE
VOCAB_SIZE = TOKEN_OF_COLOR_0 + ARC_COLORS

Grid = Integer[np.ndarray, "rows columns"]
Frames = Integer[np.ndarray, "batch 900"]


def parse_grid(values: Any, where: str) -> Grid:
    """Convert nested lists to a grid; rows may be text, `012` or `0 1 2`, and so may cells and the whole grid.

    Raises InputError, beginning with `where`, for values that are not a grid of ten colours.
    """
    values = _from_text(values)
    if not isinstance(values, list) or not values or not all(isinstance(row, list) for row in values):
        raise InputError(f"{where}: found {values!r:.40}, expected a list of rows")
    widths = {len(row) for row in values}
    if len(widths) > 1 or not 0 < max(widths) <= ARC_SIDE or len(values) > ARC_SIDE:
        found = f"{len(values)} rows of {' or '.join(map(str, sorted(widths)))} cells"
        raise InputError(f"{where}: found {found}, expected a rectangle of up to {ARC_SIDE}x{ARC_SIDE}")
    for row in values:
        for color in row:
            if color is None:
                raise InputError(f"{where}: found null, expected a colour from 0 to {ARC_COLORS - 1}")
            if type(color) is not int or not 0 <= color < ARC_COLORS:
                raise InputError(f"{where}: found {color!r}, expected a colour from 0 to {ARC_COLORS - 1}")
    return np.array(values, dtype=np.uint8)


def is_blank(values: Any) -> bool:
    """Return whether a grid is not given: null, or null in every cell."""
    if isinstance(values, list) and values and all(isinstance(row, list) and row for row in values):
        return all(cell is None for row in values for cell in row)
    return values is None


def _from_text(values: Any) -> Any:
    """Convert a grid, rows or cells that are text to numbers; leave text that is not numbers."""
    if isinstance(values, str) and re.match(r"\s*\[\s*\[", values):
        # Lists as a program prints them, with or without commas.
        values = re.sub(r"\][\s,]*\[", "\n", " ".join(values.split())).strip("[] ")
    if isinstance(values, str) and re.fullmatch(r"[\d\s,;|/]+", values) and re.search(r"\d", values):
        values = [row for row in re.split(r"[\n;|/]+", values.strip()) if row.strip()]
    if not isinstance(values, list):
        return values
    return [_row_from_text(row) for row in values]


def _row_from_text(row: Any) -> Any:
    if isinstance(row, str) and re.fullmatch(r"[\d\s,]+", row):
        row = re.split(r"[\s,]+", row.strip(", \t\n")) if re.search(r"[\s,]", row.strip()) else list(row.strip())
    if not isinstance(row, list):
        return row
    return [_whole(cell) for cell in row]


def _whole(cell: Any) -> Any:
    if isinstance(cell, str) and re.fullmatch(r"\s*\d{1,2}\s*", cell):
        return int(cell)
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell
