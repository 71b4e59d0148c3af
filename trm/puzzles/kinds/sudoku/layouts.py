"""Layouts of Sudoku boards in lines of text. Entry: `stack`, `named_rows`, `spaced`, `short_fields`, `wrapped`."""

import itertools
import re
from collections.abc import Callable, Sequence

from trm.puzzles.kinds.sudoku.rows import BLANKS, Line, cells_of, is_cell, sort_lines
from trm.puzzles.kinds.sudoku.rules import box_shape
from trm.puzzles.kinds.text import name_cell
from trm.puzzles.text.entries import Board

Found = list[tuple[int, Board]]
"""Boards with the line that each begins in."""


class NoReading(Exception):
    """Lines do not fit a layout; the argument says why."""


def stack(lines: list[Line], n: int, is_blank_row: Callable[[str], bool]) -> Found:
    """Stack rows to boards. Any lines may lie between boards, only rules and empty lines inside a board."""
    boards: Found = []
    # Boards may lie side by side: the cells so far of each.
    columns: list[list[str]] = []
    start, passed = 0, []
    for line in lines:
        kind = line.kind
        if kind == "perhaps a rule":
            kind = "row" if is_blank_row(line.boards[0][0]) else "rule"
        if kind == "row":
            if not columns:
                start, columns = line.number, [[] for _ in line.boards]
            if len(columns) != len(line.boards):
                raise NoReading(f"line {line.number}: found {len(line.boards)} rows, expected {len(columns)} as before")
            for cells, row in zip(columns, line.boards, strict=True):
                cells += row
            if len(columns[0]) == n * n:
                boards += [(start, tuple(cells)) for cells in columns]
                columns = []
        elif kind == "bad":
            raise NoReading(_bad_cell(line, n))
        elif kind in ("boards", "note", "short") and columns:
            told = (
                f"line {line.number}: found {len(line.boards[0])} cells, expected {n}"
                if kind == "short"
                else f"line {line.number}: found {len(columns[0]) // n} rows before it, expected {n}"
            )
            raise NoReading(told)
        elif kind == "boards":
            boards += [(line.number, tuple(board)) for board in line.boards]
        elif kind == "short":
            passed.append(line)
    if columns:
        raise NoReading(f"line {start}: found {len(columns[0]) // n} rows of {n} cells, expected {n} rows")
    # A line may hold a count or a rating alone; anything longer is a board that was not understood.
    for line in passed:
        if not re.fullmatch(r"\s*[\d.]{1,8}(\s+\d{1,3}){0,2}\s*", line.text):
            raise NoReading(f"line {line.number}: found {len(line.boards[0])} cells, expected {n} or {n * n}")
    return boards


def _bad_cell(line: Line, n: int) -> str:
    cells = line.boards[0]
    position = next(i for i, cell in enumerate(cells) if cell not in cells_of(n))
    place = f"line {line.number}: column {position + 1}" if len(cells) == n else name_cell(position, n)
    return f"{place}: found {cells[position]!r}, expected {expected_cells(n)}"


def expected_cells(n: int) -> str:
    """Describe the characters of a cell, for messages."""
    return f"1 to {n}, or . for a blank"


_ROW_NAME = re.compile(r"^\s*(?:[A-Pa-p]|(?:[Rr](?:ow)? ?)?\d\d?|\[\d\d?,\])(?:\s*[|:]|\s)")
"""Name of a row: `A`, `1`, `R1`, and `[1,]` as R prints it."""


def named_rows(lines: list[tuple[int, str]], n: int) -> Found:
    """Read rows that begin with their names, letters or numbers, perhaps below a line of column names."""
    bare = [(number, _ROW_NAME.sub("", line)) for number, line in lines]
    sorted_lines = sort_lines(bare, n)
    if not any(line.kind == "row" for line in sorted_lines):
        raise NoReading("")
    return stack(
        [line if line.kind != "short" else line._replace(kind="note") for line in sorted_lines], n, lambda c: False
    )


def _blocks(lines: list[Line]) -> list[list[Line]]:
    """Return the lines between notes, without rules, and without empty lines before and after."""
    blocks: list[list[Line]] = [[]]
    for line in lines:
        if line.kind in ("note", "boards"):
            blocks.append([])
        elif line.kind not in ("rule", "perhaps a rule") and (line.text or blocks[-1]):
            blocks[-1].append(line)
    for block in blocks:
        while block and not block[-1].text:
            block.pop()
    return [block for block in blocks if block]


def spaced(lines: list[Line], n: int, stride: int) -> Found:
    """Read rows in which a space is a blank, side by side or, with a stride of 2, separated by a space."""
    boards: Found = []
    for block in _blocks(lines):
        _refuse_other_blanks(block)
        filled = [line for line in block if line.kind != "empty"]
        # An editor that cuts spaces at the ends of lines leaves a row of blanks empty.
        rows_of = filled if len(filled) % n == 0 else block
        if len(rows_of) % n:
            raise NoReading(f"line {block[0].number}: found {len(filled)} rows, expected {n}")
        for i in range(0, len(rows_of), n):
            part = rows_of[i : i + n]
            boards.append((part[0].number, _cut(part, n, stride)))
    return boards


def _refuse_other_blanks(lines: list[Line]) -> None:
    """Raise NoReading for blanks with a sign: then a short row lacks cells, it does not end in cut ones."""
    for line in lines:
        if any(blank in line.text for blank in BLANKS):
            raise NoReading(f"line {line.number}: found {len(line.boards[0]) if line.boards else 0} cells")


def _cut(lines: Sequence[Line], n: int, stride: int) -> Board:
    texts = [line.text.rstrip().replace("\t", " ") for line in lines]
    filled = [text for text in texts if text]
    indents = {len(text) - len(text.lstrip()) for text in filled}
    if min(map(len, texts)) < max(map(len, texts)) <= n and n >= 9 and not any(text[:1] in ("", " ") for text in texts):
        # Some row begins with a blank.
        raise NoReading(f"line {lines[0].number}: found rows without a space before them, expected those of blanks")
    framed = len(indents) == 1 and all(text.lstrip().startswith("|") for text in filled)
    for indent in {0, min(indents, default=0)} if not framed else indents:
        rows = [_chunks(text[indent + framed :], n) for text in texts]
        per_chunk = n // max(map(len, rows))
        _drop_spaces_of_bars(rows, (per_chunk - 1) * stride + 1, framed)
        cells = [_cells(row, n, stride) for row in rows]
        if all(row is not None for row in cells):
            return tuple(cell for row in cells if row for cell in row)
    raise NoReading(f"line {lines[0].number}: found rows of another number of cells, expected {n}")


def _drop_spaces_of_bars(rows: list[list[str]], width: int, framed: bool) -> None:
    """Cut the space after a bar where every row has one; chunks have `width` characters without it."""
    first = [row[0] for row in rows if len(row) > 1]
    for j in range(max(map(len, rows))):
        chunks = [row[j] for row in rows if len(row) > j]
        spaced = all(chunk[:1] in ("", " ") for chunk in chunks)
        if j == 0:
            spaced = spaced and framed and any(len(chunk) > width + 1 for chunk in chunks)
        else:
            spaced = spaced and any(len(chunk) > width for chunk in (*chunks, *first))
        if spaced:
            for row in rows:
                row[j:] = [chunk[1:] if i == 0 else chunk for i, chunk in enumerate(row[j:])]


def _chunks(text: str, n: int) -> list[str]:
    """Return the parts of a row between its bars."""
    if "|" not in text:
        return [text]
    chunks = text.split("|")
    in_row = n // box_shape(n)[1]
    if not chunks[-1] and len(chunks) > in_row:
        chunks.pop()
    # An editor may have cut an empty end.
    return chunks + [""] * (in_row - len(chunks))


def _cells(chunks: list[str], n: int, stride: int) -> list[str] | None:
    if n % len(chunks):
        return None
    per_chunk = n // len(chunks)
    cells: list[str] = []
    for i, chunk in enumerate(chunks):
        if stride == 2:
            if chunk[1::2].strip():
                return None
            chunk = chunk[::2]
        if not chunk[per_chunk:].strip():
            chunk = chunk[:per_chunk]
        if len(chunk) > per_chunk or (len(chunk) < per_chunk and i < len(chunks) - 1 and stride == 1):
            return None
        cells += [cell if cell != " " else "." for cell in chunk.ljust(per_chunk)]
    return cells if all(is_cell(cell, n) for cell in cells) else None


def short_fields(lines: list[Line], n: int) -> Found:
    """Read rows of fields whose last delimiters an editor or program cut."""
    rows: list[list[str]] = []
    numbers = []
    cut = False
    for block in _blocks(lines):
        _refuse_other_blanks(block)
        for line in block:
            delimiter = next((d for d in "\t;," if d in line.text), None)
            if line.kind == "empty":
                continue
            if delimiter is None and len(line.text.strip()) > 1:
                raise NoReading(f"line {line.number}: found no fields")
            fields = [field.strip() or "." for field in line.text.split(delimiter or ",")]
            if len(fields) > n or not all(is_cell(field, n) for field in fields):
                raise NoReading(f"line {line.number}: found {len(fields)} fields, expected {n}")
            cut |= len(fields) < n
            rows.append(fields + ["."] * (n - len(fields)))
            numbers.append(line.number)
    if len(rows) % n:
        raise NoReading(f"found {len(rows)} rows, expected {n}")
    if cut and n >= 9 and not any(row[0] in BLANKS for row in rows):
        raise NoReading(f"line {numbers[0]}: found rows of which none begins with an empty field, expected some")
    return [(numbers[i], tuple(cell for row in rows[i : i + n] for cell in row)) for i in range(0, len(rows), n)]


def wrapped(lines: list[Line], n: int) -> Found:
    """Read boards that are broken into lines of another length than a row, with other lines between boards."""
    boards: Found = []
    for block in _blocks(lines):
        for empty, group in itertools.groupby(block, key=lambda line: line.kind == "empty"):
            part = [] if empty else list(group)
            cells = [cell for line in part for row in line.boards for cell in row]
            # A line of as many cells would be a board by itself, if they were in groups of one length.
            if len(cells) == n * n and len(part) > 1:
                boards.append((part[0].number, tuple(cells)))
            elif cells:
                raise NoReading(f"line {part[0].number}: found {len(cells)} cells, expected {n * n}")
    return boards
