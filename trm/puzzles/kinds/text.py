"""Puzzles as text: one character for each cell. Entry: `parse_cells`, `encode_cells`, `parse_column`."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.csv_files import FIRST_ROW

Cells = Integer[np.ndarray, " cells"]


def parse_square(text: str, where: str, keep_spaces: bool, sides: Collection[int], sizes: str) -> tuple[str, int]:
    """Return the characters of a square board, row by row, and its side; line breaks are skipped.

    Other white space is skipped, too, unless `keep_spaces`. Raises InputError, beginning with `where`, for a number of
    cells that is not that of a board whose side is in `sides`; `sizes` names the expected numbers.
    """
    compact = strip_spaces(text, keep_spaces)
    side = math.isqrt(len(compact))
    if side * side != len(compact) or side not in sides:
        raise InputError(f"{where}: found {len(compact)} cells, expected {sizes}")
    return compact, side


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
    path: str | Path,
    column: str,
    texts: Sequence[str],
    parse: Callable[[str, str], Cells],
    codes: Mapping[str, int] | None = None,
) -> Integer[np.ndarray, "rows cells"]:
    """Parse a column of a CSV file, whose texts have one length.

    `parse(text, where)` parses one text. With `codes`, the code of each character that it accepts in texts of the first
    one's length, millions of good rows are read at once. Raises InputError, naming file, row and column.
    """

    def parse_row(i: int) -> Cells:
        where = f"{path}: row {i + FIRST_ROW}: {column}"
        cells = parse(texts[i], where)
        if len(texts[i]) != cells.size:
            raise InputError(f"{where}: found white space between cells, expected {cells.size} characters")
        return cells

    length = len(parse_row(0))
    if codes is not None:
        unknown = 255
        table = np.full(256, unknown, np.uint8)
        for character, code in codes.items():
            table[ord(character)] = code
        characters = np.frombuffer("".join(texts).encode("utf-8", "replace"), np.uint8)
        cells = table[characters]
        if len(cells) == len(texts) * length and not (cells == unknown).any():
            return cells.reshape(len(texts), length)
    return np.stack([parse_row(i) for i in range(len(texts))])
