"""Parsing of mazes in text, with any characters for the five kinds of cells. Entry: `read_grids`."""

import math
import re
from collections.abc import Iterable

from trm.errors import InputError
from trm.puzzles.kinds.maze.rules import SMALLEST
from trm.puzzles.text.entries import Board, Entry, numbered, with_answers

WALLS, FREE, STARTS, GOALS, PATHS = "#█▓▒■⬛▉🧱🟫1Xx%+-|", " .0_□⬜░▢", "SsA🟢🟩", "GEFBgefb🔴🟥🏁🚩🎯", "oO*@"
"""Characters for each kind of cell."""
CELLS = {c: cell for cell, written in zip("# SGo", (WALLS, FREE, STARTS, GOALS, PATHS), strict=True) for c in written}
CELLS |= {"2": "S", "3": "G"}
"""The cell of each character; 2 and 3 are start and goal beside 0 and 1."""
_DRAWN = re.compile("[\u2500-\u257f]")

_COMMENT = re.compile(r"\s*(//|;|[#%]\s*\w*[a-z]\w*\s)")

_SIZES = re.compile(r"\A\s*(\d{1,3}([ ,x]+\d{1,3})?[ ]*\n)+")
"""Lines of numbers before the first maze: how many there are, rows and columns."""

Lines = list[tuple[int, str]]


class _NoReading(Exception):
    """Lines are not mazes; the argument says why."""


def read_grids(text: str, where: str, side: int | None) -> list[Entry]:
    """Read the mazes of a text, whose side is `side` where it is known.

    The cells of the result are `# SGo`. Raises InputError, beginning with `where`, where there is no maze, where a maze
    has another size or is not square, and where the text can be read in two ways.
    """
    boards = _read(text, where, side)
    entries = with_answers([Entry(str(line), board) for line, board in boards], is_answer)
    return numbered([(int(entry.where), entry) for entry in entries], where)


def _read(text: str, where: str, side: int | None) -> list[tuple[int, Board]]:
    if other := _other_wall(text):
        text = text.replace(other, "#")
    blocks = _blocks([(i, _plain(line)) for i, line in enumerate(text.split("\n"), start=1)], where)
    if not any(blocks):
        raise InputError(f"{where}: found no maze, expected rows of '#' walls, '.' or spaces, one S and one G")
    readings: dict[str, list[tuple[int, Board]]] = {}
    reasons = []
    ways = {"mazes separated by empty lines": blocks, "mazes with empty rows": _joined(blocks)}
    for name, parts in ways.items():
        try:
            boards = [board for block in parts for board in _read_block(block, side)]
        except _NoReading as reason:
            reasons.append(str(reason))
            continue
        if boards not in readings.values():
            readings[name] = boards
    whole = text.removesuffix("\n").split("\n")
    if not readings and side and len(whole) == side and len(blocks) == 1:
        # Empty rows may be at the top and at the bottom, too.
        rows = [(i, _plain(line)) for i, line in enumerate(whole, start=1)]
        if all(c in CELLS for _, line in rows for c in line):
            try:
                readings["one maze"] = _read_rows(rows, side)
            except _NoReading as reason:
                reasons.append(str(reason))
    # A reading that gives mazes without start or goal is dropped, unless every one would be.
    fitting = {name: boards for name, boards in readings.items() if all(_has_ends(board) for _, board in boards)}
    readings = fitting or readings
    if not readings and (below := _SIZES.sub(lambda match: "\n" * match[0].count("\n"), text, count=1)) != text:
        return _read(below, where, side)
    if not readings:
        raise InputError(f"{where}: {reasons[0]}")
    if len(readings) > 1:
        raise InputError(f"{where}: found a text that can be read as {' or as '.join(readings)}, expected one of them")
    (boards,) = readings.values()
    return boards


def _has_ends(board: Board) -> bool:
    return board.count("S") == board.count("G") == 1


def _other_wall(text: str) -> str | None:
    """Return the sign that stands for walls in a text without any other, such as `*` or `W`."""
    if any(c in text for c in WALLS):
        return None
    return next((c for c in "*@WwH" if text.count(c) >= SMALLEST), None)


def _plain(line: str) -> str:
    return _DRAWN.sub("#", line).expandtabs(1) if "\t" not in line else line


def is_answer(question: Board, answer: Board) -> bool:
    """Return whether a board is the one before with a path on it."""
    return (
        len(question) == len(answer)
        and "o" in answer
        and "o" not in question
        and all(q == a or (q, a) == (" ", "o") for q, a in zip(question, answer, strict=True))
    )


def _blocks(lines: Lines, where: str) -> list[list[Lines]]:
    """Return parts between titles and comments, each as blocks of rows separated by empty lines."""
    parts: list[list[Lines]] = [[[]]]
    drawn = any(set("-+|") & set(line) and line.strip("- ") for _, line in lines)
    for number, line in lines:
        compact = line.replace(" ", "")
        if re.fullmatch(r"\s*[\"']+[,;]?\s*", line) or (re.fullmatch(r"\s*-{3,}\s*", line) and not drawn):
            parts.append([[]])  # An end of a text of Python; a line between mazes.
            continue
        unknown = [c for c in compact if c not in CELLS and c not in ",;\t\"'"]
        if _COMMENT.match(line) and unknown:
            parts.append([[]])
        elif unknown:
            letters = sum(c.isalpha() and c not in PATHS for c in compact)
            if len(unknown) == 1 and len(line) > 3 and 2 * letters < len(line):
                column = line.index(unknown[0]) + 1
                cells = "', '".join("# SG")
                side = math.isqrt(len(line))
                place = f"line {number}: column {column}"
                if side * side == len(line) and side >= SMALLEST:
                    place = f"cell {column} (row {(column - 1) // side + 1}, column {(column - 1) % side + 1})"
                raise InputError(f"{where}: {place}: found {unknown[0]!r}, expected one of '{cells}'")
            parts.append([[]])
        elif line:
            parts[-1][-1].append((number, line))
        elif parts[-1][-1]:
            parts[-1].append([])
    return [[block for block in part if block] for part in parts if any(part)]


def _joined(parts: list[list[Lines]]) -> list[list[Lines]]:
    """Return parts with the empty lines inside them as rows."""
    joined = []
    for part in parts:
        rows = dict(line for block in part for line in block)
        joined.append([[(number, rows.get(number, "")) for number in range(min(rows), max(rows) + 1)]])
    return joined


def _read_block(part: list[Lines], side: int | None) -> Iterable[tuple[int, Board]]:
    for block in part:
        yield from _read_rows(block, side)


def _read_rows(lines: Lines, side: int | None) -> list[tuple[int, Board]]:
    """Read rows without empty lines between: a board in each, or boards of rows one below the other."""
    texts = _without_separators([line for _, line in lines])
    if all(_is_board(len(text), side) for text in texts):
        boards = [(number, _board([text], None)) for (number, _), text in zip(lines, texts, strict=True)]
        if len(lines) == 1 or any(_has_ends(board) for _, board in boards):
            return boards
    width = max(map(len, texts))
    if len(lines) == 1:
        # An editor has cut the spaces at the end.
        if side and side * side - side <= width < side * side:
            return [(lines[0][0], _board([texts[0].ljust(side * side)], None))]
        expected = f"{side * side} ({side}x{side})" if side else "n x n of them, such as 900 for 30 x 30"
        raise _NoReading(f"found {width} cells, expected {expected}")
    for n in (side,) if side else (len(lines) if len(lines) >= width - 1 else width, len(lines)):
        if len(lines) % n == 0 and n >= SMALLEST:
            for rows in (texts, *_narrower(texts, n)):
                widths = set(map(len, rows))
                # Ends that an editor has cut are of several lengths; rows of one length are as wide as the maze.
                if max(widths) == n or (max(widths) < n and len(widths) > 1):
                    return [(lines[i][0], _board(rows[i : i + n], n)) for i in range(0, len(rows), n)]
    if side and len(lines) == width == side + 2 and (inner := _inside_frame(texts, side)):
        return [(lines[0][0], _board(inner, side))]
    if side:
        found = f"found a {width}x{width} maze" if len(lines) == width else f"found {len(lines)} rows of {width} cells"
        raise _NoReading(f"{found}, expected {side}x{side}: {side} rows of {side}")
    raise _NoReading(f"found {len(lines)} rows of {width} cells, expected as many rows as columns, at least {SMALLEST}")


def _is_board(cells: int, side: int | None) -> bool:
    n = math.isqrt(cells)
    return n * n == cells and n >= SMALLEST and (side is None or n == side)


def _without_separators(rows: list[str]) -> list[str]:
    """Return rows without quotes, and without commas, semicolons or tabs between cells; an empty field is free."""
    rows = [row.replace('"', "").replace("'", "") for row in rows]
    if not any(re.search(r"[,;][^,;]", row) for row in rows):
        rows = [row.rstrip().rstrip(",;") if row.rstrip().endswith((",", ";")) else row for row in rows]
    for delimiter in ",;\t":
        if all(delimiter in row for row in rows):
            fields = [row.removesuffix(delimiter if len(row) % 2 == 0 else "\n").split(delimiter) for row in rows]
            return ["".join(field.strip()[:1] or " " for field in row) for row in fields]
    return [re.sub(r"[,;\t]", "", row) for row in rows]


def _narrower(rows: list[str], n: int) -> Iterable[list[str]]:
    """Yield rows of cells that are indented, written twice, or separated by spaces."""
    width = max(map(len, rows))
    if width > n and not any(row[: width - n].strip() for row in rows):
        yield [row[width - n :] for row in rows]
    if all(len(row.split()) == n and len("".join(row.split())) == n for row in rows):
        yield ["".join(row.split()) for row in rows]
    if not n < width <= 2 * n:
        return
    padded = [row.ljust(2 * n) for row in rows]
    for first in (0, 1):
        others = [row[1 - first :: 2] for row in padded]
        cells = [row[first::2] for row in padded]
        if all(not row.strip() for row in others):
            yield cells
            return
    pairs = [[row[i : i + 2] for i in range(0, 2 * n, 2)] for row in padded]
    # A letter may occur once, beside a space.
    if all(
        pair[0] == pair[1] or (pair.strip() in "SsAGEFBge" and len(pair.strip()) == 1) for row in pairs for pair in row
    ):
        yield ["".join(pair.strip()[:1] or " " for pair in row) for row in pairs]


def _inside_frame(rows: list[str], n: int) -> list[str] | None:
    """Return the rows inside a surrounding wall that is not part of a maze of this side; None without such a wall."""
    rim = rows[0] + rows[-1] + "".join(row[0] + row[-1] for row in rows if len(row) == n + 2)
    walled = all(len(row) == n + 2 for row in rows) and all(CELLS[c] == "#" for c in rim)
    return [row[1:-1] for row in rows[1:-1]] if walled else None


def _board(rows: list[str], width: int | None) -> Board:
    return tuple(CELLS[c] for row in rows for c in (row if width is None else row.ljust(width)))
