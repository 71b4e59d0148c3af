"""Puzzles of a whole text: nested values, tables and plain text, each puzzle with its place. Entry: `read_entries`."""

import csv
from collections.abc import Callable, Mapping
from typing import NamedTuple

from trm.errors import InputError
from trm.puzzles.text.columns import Looks, find_layout, without_remarks
from trm.puzzles.text.decode import normalise
from trm.puzzles.text.nested import Piece, read_nested

Board = tuple[str, ...]
"""The cells of a square board, row by row, each as text."""


class Entry(NamedTuple):
    """A puzzle as text."""

    where: str
    question: Board
    answer: Board | None = None
    rating: str = ""


ReadPlain = Callable[[str, str], list[Entry]]
"""Reads the puzzles of a plain text, given its place for messages; raises InputError for other text."""

_SAMPLE = 30
"""Lines that show whether a text is a table."""


def read_entries(
    text: str, where: str, looks: Looks, read_plain: ReadPlain, chosen: Mapping[str, str] | None = None
) -> list[Entry]:
    """Return the puzzles of a text, at least one.

    `looks` and `read_plain` are those of the puzzle kind; `chosen` are a user's names of columns. Raises InputError,
    beginning with a place in the text, for text that is not a puzzle.
    """
    text = normalise(text)
    # In an argument from a shell, a line break may be the two characters \n.
    if "\n" not in text and text.lstrip()[:1] not in tuple("[{\"'"):
        text = text.replace("\\n", "\n")
    if not text.strip("\n\x0c"):
        raise InputError(f"{where}: found no puzzle, expected one per line, or one as a grid")
    pieces = read_nested(text, where) or _read_table(text, where, looks, chosen)
    if pieces is None:
        return read_plain(text, where)
    entries = []
    for piece in pieces:
        found = read_plain(piece.question, piece.where)
        if len(found) == 1:
            answer = read_plain(piece.answer, f"{piece.where}: answer")[0].question if piece.answer.strip() else None
            found = [found[0]._replace(answer=answer or found[0].answer, rating=piece.rating or found[0].rating)]
        entries += found
    return entries


def _read_table(text: str, where: str, looks: Looks, chosen: Mapping[str, str] | None) -> list[Piece] | None:
    lines = text.split("\n") if chosen else without_remarks(text.split("\n"))
    layout = find_layout(lines[:_SAMPLE], looks, chosen, where)
    if layout is None or (layout.header is None and layout.width == 1):
        return None
    pieces = []
    reader = csv.reader(lines, delimiter=layout.delimiter)
    skip = layout.header is not None
    try:
        for row in reader:
            if not "".join(row).strip() or skip:
                skip = skip and not row
                continue
            if len(row) != layout.width:
                raise InputError(f"{where}: row {reader.line_num}: found {len(row)} columns, expected {layout.width}")
            answer, rating = ("" if column is None else row[column] for column in (layout.answer, layout.rating))
            pieces.append(Piece(f"{where}: row {reader.line_num}", row[layout.question], answer, rating))
    except csv.Error as error:
        raise InputError(f"{where}: not a CSV file: {error}") from error
    if not pieces:
        raise InputError(f"{where}: found no puzzles, expected at least one row")
    return pieces


def with_answers(entries: list[Entry], answers: Callable[[Board, Board], bool]) -> list[Entry]:
    """Pair boards: a board that answers the one before it becomes that puzzle's answer."""
    paired: list[Entry] = []
    for entry in entries:
        if paired and paired[-1].answer is None and answers(paired[-1].question, entry.question):
            paired[-1] = paired[-1]._replace(answer=entry.question)
        else:
            paired.append(entry)
    return paired


def numbered(boards: list[tuple[int, Entry]], where: str) -> list[Entry]:
    """Name the places of the puzzles in a text, given the line that each begins in."""
    if len(boards) == 1:
        return [boards[0][1]._replace(where=where)]
    return [
        entry._replace(where=f"{where}: puzzle {i} (line {line})") for i, (line, entry) in enumerate(boards, start=1)
    ]
