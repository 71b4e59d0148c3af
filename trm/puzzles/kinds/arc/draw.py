"""Drawings of ARC grids. Entry: `draw_grid`."""

import numpy as np
from jaxtyping import Integer
from rich.text import Text

STYLES = "black blue red green yellow grey50 magenta dark_orange deep_sky_blue1 dark_red".split()
"""Colours 0 to 9, close to those of the ARC web site."""

COLORS = ("black", "blue", "red", "green", "yellow", "grey", "magenta", "orange", "sky blue", "maroon")
"""Their names."""


def draw_grid(frame: Integer[np.ndarray, "rows columns"]) -> Text:
    """Draw the part of a frame of ARC tokens that has colours, two columns to a cell."""
    used = frame > 0
    rows, columns = (np.flatnonzero(used.any(axis=axis)) for axis in (1, 0))
    text = Text()
    for row in frame[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].tolist() if len(rows) else []:
        for token in row:
            text.append(*((f"{token - 2} ", f"on {STYLES[token - 2]}") if token >= 2 else ("  ", "")))
        text.append("\n")
    text.right_crop(1)
    return text
