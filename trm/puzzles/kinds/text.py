"""Puzzles as text: one character for each cell. Entry: `encode_cells`, `parse_column`, `look_up`."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError

Cells = Integer[np.ndarray, " cells"]


def strip_spaces(text: str, keep_spaces: bool) -> str:
    """Return a text without line breaks, and without other white space unless `keep_spaces`."""
    return text.replace("\r", "").replace("\n", "") if keep_spaces else "".join(text.split())


def encode_cells(text: str, where: str, codes: Mapping[str, int], width: int, expected: str) -> Cells:
    """Return the code of each character; raise InputError, naming the first cell whose character has none."""
    for position, character in enumerate(text):
        if character not in codes:
            raise InputError(f"{where}: {name_cell(position, width)}: found {character!r}, expected {expected}")
    return np.array([codes[character] for character in text], np.uint8)


def name_cell(position: int, width: int) -> str:
    """Name a cell by its number, row and column, counted from 1."""
    return f"cell {position + 1} (row {position // width + 1}, column {position % width + 1})"


def parse_column(
    places: Sequence[str], column: str, texts: Sequence[str], parse: Callable[[str, str], Cells]
) -> Integer[np.ndarray, "rows cells"]:
    """Parse a column of a table with `parse(text, where)`; raise InputError, naming the row, for another length."""
    rows = [parse(text, f"{place}: {column}") for place, text in zip(places, texts, strict=True)]
    for place, row in zip(places, rows, strict=True):
        if row.size != rows[0].size:
            raise InputError(f"{place}: {column}: found {row.size} cells, expected {rows[0].size} as before")
    return np.stack(rows)


def look_up(texts: Sequence[str], length: int, codes: Mapping[str, int]) -> Integer[np.ndarray, "rows cells"] | None:
    """Return the codes of millions of texts of one length at once; None where a character has no code."""
    unknown = 255
    table = np.full(256, unknown, np.uint8)
    for character, code in codes.items():
        table[ord(character)] = code
    if any(len(text) != length for text in texts):
        return None
    characters = np.frombuffer("".join(texts).encode("ascii", "replace"), np.uint8)
    cells = table[characters]
    # A character outside ASCII has become `?`, which may be a blank.
    if (cells == unknown).any() or not all(text.isascii() for text in texts):
        return None
    return cells.reshape(len(texts), length)
