"""Parsing of Sudokus in text; a text that can be read as different boards is an error. Entry: `read_grids`."""

import math
import re
from collections.abc import Callable, Iterable

from trm.errors import InputError
from trm.puzzles.kinds.sudoku.layouts import (
    Found,
    NoReading,
    expected_cells,
    named_rows,
    short_fields,
    spaced,
    stack,
    wrapped,
)
from trm.puzzles.kinds.sudoku.rows import BLANKS, cells_of, is_number, sort_lines, unframed
from trm.puzzles.kinds.sudoku.rules import SIDES
from trm.puzzles.kinds.sudoku.sheets import plain_sheet
from trm.puzzles.kinds.text import name_cell
from trm.puzzles.text.entries import Board, Entry, numbered, with_answers

_MANY = 300
"""Lines of a text above which no further board size is tried after one that fits."""

_SECTION = re.compile(r"\s*\[\s*([A-Za-z][A-Za-z ]*)\s*\]\s*$")


def read_grids(text: str, where: str, side: int | None) -> list[Entry]:
    """Read the boards of a text of boards, whose side is `side` where it is known.

    Raises InputError, beginning with `where`, where there is no board, where a board has another size, and where the
    text can be read in two ways.
    """
    lines = _of_puzzle_sections([*enumerate(plain_sheet(unframed(text), side).split("\n"), start=1)])
    readings, reasons = {}, {}
    sides = [side] if side else sorted(SIDES, key=lambda n: n != 9)
    for group in range(_GROUPS):
        for n in sides:
            if readings and len(lines) > _MANY:
                break
            try:
                readings[n] = _read(lines, n, where, group)
            except NoReading as reason:
                reasons.setdefault(n, str(reason))
        if readings:
            break
    if len(readings) > 1:
        # A side is dropped if a board has digits too large for it, unless every side would be dropped.
        fitting = {n: boards for n, boards in readings.items() if all(_fits(board, n) for _, board in boards)}
        readings = fitting or readings
    if len(readings) > 1:
        raise _ambiguous(where, [f"{len(boards)} boards of {n}x{n}" for n, boards in readings.items()])
    if not readings:
        if blank := _other_blank(text, side):
            return read_grids(text.replace(blank, "."), where, side)
        raise InputError(f"{where}: {_why(lines, side, reasons, where)}")
    ((_, boards),) = readings.items()
    entries = with_answers([Entry(str(line), board) for line, board in boards], is_answer)
    return numbered([(int(entry.where), entry) for entry in entries], where)


def _other_blank(text: str, side: int | None) -> str | None:
    """Return the sign that stands for blanks in a text of cells alone; None where there is no such sign, or another."""
    others = set(text) - set("123456789 \n\t|+-=:,;'\"")
    alone = len(others) == 1 and others.isdisjoint(BLANKS) and text.count(max(others)) >= (side or 4)
    return others.pop() if alone else None


def _ambiguous(where: str, readings: Iterable[str]) -> InputError:
    return InputError(
        f"{where}: found a text that can be read as {' or as '.join(readings)}, expected one way to read it"
    )


def _fits(board: Board, n: int) -> bool:
    return all(is_number(cell, n) for cell in board if cell.isdecimal())


def is_answer(question: Board, answer: Board) -> bool:
    """Return whether a board is full and has the clues of the one before, which is not."""
    if len(question) != len(answer):
        return False
    blanks = [cell in BLANKS for cell in question]
    return (
        any(blanks)
        and not any(cell in BLANKS for cell in answer)
        and all(blank or cell == new for blank, cell, new in zip(blanks, question, answer, strict=True))
    )


def _of_puzzle_sections(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Leave out sections that are not the puzzle, such as [State]; headings become empty lines."""
    names = {match[1].strip().lower() for _, line in lines if (match := _SECTION.match(line))}
    wanted = names & {"puzzle", "sudoku", "grid", "clues", "givens", "board"}
    kept, inside = [], True
    for number, line in lines:
        if match := _SECTION.match(line):
            inside = not wanted or match[1].strip().lower() in wanted
            line = ""
        kept.append((number, line if inside else ""))
    return kept


# Ways to read


_GROUPS = 4
"""Number of groups of layouts, plain ones first: after a group that fits, later ones are not tried."""


def _read(lines: list[tuple[int, str]], n: int, where: str, group: int) -> Found:
    """Read boards by a group of layouts; raise NoReading where none of them fits."""
    sorted_lines = sort_lines(lines, n)
    dashes = {c for line in sorted_lines if line.kind in ("row", "boards") for board in line.boards for c in board}
    ways: list[dict[str, Callable[[], Found]]] = [
        {
            "lines of rules": lambda: stack(sorted_lines, n, lambda c: False),
            "rows of blanks": lambda: stack(sorted_lines, n, lambda c: c in dashes),
        },
        {"named rows": lambda: named_rows(lines, n)},
        {
            "cells side by side, a space for a blank": lambda: spaced(sorted_lines, n, 1),
            "cells separated by a space, and a space for a blank": lambda: spaced(sorted_lines, n, 2),
            "fields that are empty to the end of the line": lambda: short_fields(sorted_lines, n),
        },
        {"one board over several lines": lambda: wrapped(sorted_lines, n)},
    ]
    reason = NoReading("")
    found: dict[str, Found] = {}
    for name, way in ways[group].items():
        try:
            boards = way()
        except NoReading as because:
            reason = because
            continue
        if boards and boards not in found.values():
            found[name] = boards
    if len(found) > 1:
        raise _ambiguous(where, found)
    if not found:
        raise reason
    return next(iter(found.values()))


# Messages on texts that cannot be read


def _why(lines: list[tuple[int, str]], side: int | None, reasons: dict[int, str], where: str) -> str:
    expected = f"{side * side} ({side}x{side})" if side else "those of a square board, such as 16, 36 or 81"
    for other in SIDES:
        if other != side and other not in reasons:
            try:
                boards = _read(lines, other, where, group=0)
            except (NoReading, InputError):
                continue  # Not a board of this size either.
            return f"found {_a(other)} {other}x{other} board at line {boards[0][0]}, expected {side}x{side}"
    if side and reasons.get(side, "").count(": found '"):
        return reasons[side]
    contents = [re.sub(r"[\s|,;]", "", line) for _, line in lines if re.search(r"[\d.\-_*?]", line)]
    contents = [line for line in contents if set(line) <= set(cells_of(16))]
    total = sum(map(len, contents))
    if not total:
        return f"found no cells, expected {expected}"
    if len(contents) == 1:
        bad = _first_too_large(contents[0], side)
        return bad or f"found {total} cells, expected {expected}"
    shortest, longest = min(map(len, contents)), max(map(len, contents))
    cells = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    reason = reasons.get(side or 9, "")
    return f"found {len(contents)} rows of {cells} cells, expected {expected}" + (f" ({reason})" if reason else "")


def _first_too_large(line: str, side: int | None) -> str:
    n = side or math.isqrt(len(line))
    if len(line) != n * n:
        return ""
    position = next((i for i, cell in enumerate(line) if cell not in cells_of(n)), None)
    return (
        "" if position is None else f"{name_cell(position, n)}: found {line[position]!r}, expected {expected_cells(n)}"
    )


def _a(number: int) -> str:
    return "an" if number == 8 else "a"
