"""Boards in tables of cells: names of rows and columns, gaps between boxes, decimal points. Entry: `plain_sheet`."""

import re
from collections import Counter

from trm.puzzles.kinds.sudoku.rules import SIDES, box_shape

_RULER = re.compile(r"[\s|+:=-]*(--|==|:-|-:)[\s|+:=-]*$")

_MANY = 2000
"""Rows of a table above which it is left as it is."""

Cells = list[list[str]]


def plain_sheet(text: str, side: int | None) -> str:
    """Return a text in which a board in a table of cells has only its cells; any other text unchanged.

    Lines keep their numbers.
    """
    lines = text.split("\n")
    for delimiter in "\t;,|":
        counts = Counter(line.count(delimiter) for line in lines if delimiter in line and not _RULER.match(line))
        if not counts or (width := counts.most_common(1)[0][0]) < 3 or width > 2 * max(SIDES):
            continue
        places = [i for i, line in enumerate(lines) if line.count(delimiter) == width and not _RULER.match(line)]
        if len(places) > _MANY:
            continue
        table = _fields([lines[i] for i in places], delimiter)
        header = []
        if delimiter == "|" and not any(table[0]) and _is_header(lines, places[0]):
            header, places, table = places[:1], places[1:], table[1:]
        found = _without_names(table, side)
        if found is None:
            continue
        kept, rows = found
        texts = dict.fromkeys([*header, *places], "") | {
            places[i]: ",".join(row) for i, row in zip(kept, rows, strict=True)
        }
        return "\n".join(texts.get(i, line) for i, line in enumerate(lines))
    return text


def _is_header(lines: list[str], place: int) -> bool:
    """Return whether the only ruler of a text is below a line, as below the header of a table in Markdown."""
    return [i for i, line in enumerate(lines) if _RULER.match(line)] == [place + 1]


def _fields(lines: list[str], delimiter: str) -> Cells:
    rows = [[_cell(field) for field in line.split(delimiter)] for line in lines]
    if delimiter == "|" and all(line.strip()[:1] == line.strip()[-1:] == "|" for line in lines):
        rows = [row[1:-1] for row in rows]
    return rows


def _cell(field: str) -> str:
    """Return a field without quotes and marks of bold type, and a whole number without its decimal point."""
    cell = field.strip(" \t\"'")
    if len(cell) > 2:
        cell = cell.strip("*")
    return cell[: cell.index(".")] if re.fullmatch(r"\d{1,2}\.0*", cell) else cell


def _without_names(table: Cells, side: int | None) -> tuple[list[int], Cells] | None:
    """Return the cells of boards and the rows that they are from; None where they are none."""
    sides = [side] if side else SIDES
    below, right = _are_names(table[0]), _are_names([row[0] for row in table])
    plain = len(table) == len(table[0]) and len(table) in sides
    margins = not any(table[0]) and not any(row[0] for row in table)
    if plain and not (below and right) and not (margins and side is None):
        return [*range(len(table))], [[cell or "." for cell in row] for row in table]
    for first_row in (0, 1) if below or not any(table[0]) else (0,):
        for first in (0, 1) if right or not any(row[0] for row in table) else (0,):
            if plain and not (first_row and first):
                continue
            rows = [row[first:] for row in table[first_row:]]
            for n in sides:
                kept, across = _without_gaps(rows, n), _without_gaps([list(row) for row in zip(*rows, strict=True)], n)
                if kept is None and across is not None and not first_row:
                    kept = _of_several(rows, n)
                if kept is not None and across is not None:
                    return [i + first_row for i in kept], [[rows[i][j] or "." for j in across] for i in kept]
    return None


def _are_names(fields: list[str]) -> bool:
    """Return whether fields are consecutive numbers or letters, or names such as c1 and R2, perhaps after a corner."""
    names = (
        fields[1:] if len(fields) > 5 and not re.search(r"\d", fields[0]) and re.search(r"\w", fields[1]) else fields
    )
    if len(names) < 4 or not all(names):
        return False
    found = [re.fullmatch(r"[A-Za-z]{0,4}[ _]?(\d+)", name) for name in names]
    if all(found):
        numbers = [int(match[1]) for match in found if match]
        return numbers[0] in (0, 1) and numbers == [*range(numbers[0], numbers[0] + len(numbers))]
    return [name.upper() for name in names] == list("ABCDEFGHIJKLMNOP"[: len(names)])


def _of_several(rows: Cells, n: int) -> list[int] | None:
    """Return the indices of the rows of boards with an empty row between; None for other rows."""
    gaps = set(range(n, len(rows), n + 1))
    if (len(rows) + 1) % (n + 1) or not gaps or any(any(rows[i]) for i in gaps):
        return None
    return [i for i in range(len(rows)) if i not in gaps]


def _without_gaps(rows: Cells, n: int) -> list[int] | None:
    """Return the indices of n rows, leaving out empty ones between boxes and at the end; None for another number."""
    if len(rows) == n:
        return list(range(n))
    if len(rows) == n + 1 and not any(rows[-1]):
        return list(range(n))
    for size in box_shape(n):
        gaps = set(range(size, n + n // size - 1, size + 1))
        if len(rows) == n + len(gaps) and not any(any(rows[i]) for i in gaps):
            return [i for i in range(len(rows)) if i not in gaps]
    return None
