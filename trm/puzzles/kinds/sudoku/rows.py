"""Rows of Sudokus as people write them: frames, separators, blanks. Entry: `sort_lines`, `tight_row`.

A cell is a digit, a number, or a blank. The meaning of a character depends on the side of the board.
"""

import functools
import re
from typing import Literal, NamedTuple

BLANKS = ".0-_*xX?"
"""Characters of a blank cell."""
LETTERS = "ABCDEFGHIJKLMNOP"
"""Digits above 9 of large boards: A is 10; in hexadecimal, which has a digit 0, A is digit 11."""

_FRAME = {code: "+" for code in range(0x250C, 0x254C)} | {code: "+" for code in range(0x2552, 0x256D)}
_FRAME |= dict.fromkeys(map(ord, "│┃║╎╏┆┇┊┋▏▕¦"), "|") | dict.fromkeys(map(ord, "─━═╌╍┄┅┈┉"), "=")
_FRAME |= dict.fromkeys(map(ord, "□▢⬜◻◽☐_■⬛◼◾▪▫○◯⚪⚫🟦🟩🟥🟨🟧🟪🟫🔲🔳"), "_")

_COMMENT = re.compile(r"\s*(#(?!\d+[.:)]?\s+\S{16})|//|%|;\s+[^;\s]{1,3}\s*$|REM\b|--\s*[A-Za-z])")
_TRAILING = re.compile(r"\s+(#|//).*$")
_RULE = re.compile(r"[\s|+=\-*.:'`,_~]*$")
_WORD = re.compile(r"[A-Za-z]{3,}")
_SPLIT = re.compile(r"[\s,;|:/#\"'\[\](){}<>=]+")
_NOTHING = ("null", "none", "nil", "nan", "na")

_FLOAT = re.compile(r"(?<=[\s,;|\[]\d)\.0(?![\w.])|(?<=^\d)\.0(?![\w.])", re.MULTILINE)
_FLOATS = 4
"""Numbers such as 5.0 in a text from which on they are cells."""

Kind = Literal["empty", "note", "rule", "perhaps a rule", "row", "boards", "short", "bad"]


class Line(NamedTuple):
    """One line of text and its kind."""

    number: int
    kind: Kind
    text: str
    boards: list[list[str]]
    """The cells of a row, of rows of boards side by side, or of whole boards."""


@functools.cache
def cells_of(n: int) -> str:
    """Return the characters that are cells of a board with this side."""
    letters = "" if n <= 9 else LETTERS[: n if n >= 16 else n - 9]
    return "123456789" + BLANKS + letters + letters.lower()


def unframed(text: str) -> str:
    """Return a text with box-drawing characters as `|`, `+` and `=`, and whole numbers without a decimal point."""
    if "&" in text:
        text = re.sub(r"\\\\|\\hline", "", text).replace("&", "|")  # A table of LaTeX.
    text = re.sub(
        r"(?<=\|)\.[ \t]*$", "", text, flags=re.MULTILINE
    )  # The package sudoku of LaTeX ends rows with a dot.
    if len(_FLOAT.findall(text)) >= _FLOATS:
        text = _FLOAT.sub("", text)
    return text if text.isascii() else text.translate(_FRAME)


def is_number(token: str, most: int) -> bool:
    """Return whether a token is a whole number up to `most`. Python's `int` rejects numbers of over 4,300 digits."""
    return token.isdecimal() and len(token.lstrip("0")) <= len(str(most)) and int(token) <= most


def is_cell(token: str, n: int) -> bool:
    """Return whether a token is one cell: a digit, a number, a blank, or candidates such as 1249."""
    if len(token) == 1:
        return token in cells_of(n)
    if n > 9:
        return is_number(token, n)
    # Candidates count as a blank, and so does a digit that a player has set (`u5`).
    return token.lower() in _NOTHING or re.fullmatch(r"u\d", token) is not None or _are_candidates(token)


def plain_cell(token: str) -> str:
    """Return a cell as one character or number, `.` for a blank."""
    blank = not token or token.lower() in _NOTHING or token[0] == "u" or (len(token) > 2 and token.isdecimal())
    return "." if blank else token.lstrip("0") or "0"


def _are_candidates(token: str) -> bool:
    return token.isdecimal() and len(token) > 1 and list(token) == sorted(set(token))


def tight_row(line: str, count: int, n: int) -> list[str] | None:
    """Return the `count` cells of a line in which a space is not a cell; None for another number of cells."""
    for delimiter in "\t;,":
        if delimiter in line:
            fields = [field.strip(" \t\"'|") for field in line.strip(" \n|").split(delimiter)]
            if len(fields) == count + 1 and not fields[-1]:
                fields.pop()
            if len(fields) == count and all(not field or is_cell(field, n) for field in fields):
                return _plain_cells(fields, n)
    if "|" in line:
        chunks = [chunk.strip() for chunk in line.strip().strip("|").split("|")]
        if len(chunks) == count and all(not chunk or is_cell(chunk, n) for chunk in chunks):
            return _plain_cells(chunks, n)
    if re.search(r"([,;])\s*\1", line):
        return None  # Empty fields, of another number.
    tokens = re.sub(r"[|,;\"']", " ", line).split()
    if len(tokens) == count and all(is_cell(token, n) for token in tokens):
        return _plain_cells(tokens, n)
    compact = "".join(tokens)
    if count > n and len({len(token) for token in tokens}) > 1:
        return None  # A number, a dash or a star before the cells of a board.
    return list(compact) if len(compact) == count and set(compact) <= set(cells_of(n)) else None


def _plain_cells(tokens: list[str], n: int) -> list[str]:
    if n > 9:
        return [token or "." for token in tokens]
    return ["." if len(token) != 1 else token for token in tokens]


def whole_boards(line: str, n: int) -> list[list[str]]:
    """Return the boards in one line, with any text before, between and after them."""
    size, cells = n * n, set(cells_of(n))
    if len(line) == size and set(line) <= cells:
        return [list(line)]
    if len(line) < size:
        return []
    tokens = [token for token in _SPLIT.split(line) if token]
    if boards := [list(token) for token in tokens if len(token) == size and set(token) <= cells]:
        return boards
    if row := tight_row(line, size, n):
        return [row]
    found: list[list[str]] = []
    run, width, widths = "", 0, set()
    # Groups of cells of one length, such as rows, fill boards one after the other; other text starts a new board.
    for token in tokens:
        if not set(token) <= cells or len(run) + len(token) > size:
            run = ""
            continue
        run = run + token if len(token) == width else token
        width = len(token)
        if len(run) == size:
            found.append(list(run))
            widths.add(width)
            run = ""
    if len(run) >= n or (run and width in widths):
        found = []  # Boards of another size.
    if not found and len(line) == size and set(line) <= cells | {" "} and not line.isspace():
        found.append(list(line.replace(" ", ".")))
    return found


def sort_lines(lines: list[tuple[int, str]], n: int) -> list[Line]:
    """Classify each line of a text of boards with this side."""
    return [_sort(number, line, n) for number, line in lines]


def _sort(number: int, text: str, n: int) -> Line:
    def line(kind: Kind, *boards: list[str]) -> Line:
        return Line(number, kind, text, list(boards))

    if not text.strip() and text.count("\t") not in (n - 1, n):
        return line("empty")
    if _COMMENT.match(text):
        return line("note")
    core = re.sub(r"[\s|,;]", "", text)
    if boards := whole_boards(text, n):
        return line("boards", *boards)
    if len(core) == n and len(set(core)) == 1 and core[0] in "-_*":
        return line("perhaps a rule", list(core))
    if row := tight_row(text, n, n):
        return line("row", row)
    if (
        _RULE.match(text)
        and (re.search(r"[+=]", core) or re.search(r"[-_*~=]{2}|(- ){2}", text))
        and not _is_spaced(text)
    ):
        return line("rule")
    if text.lstrip().startswith(";") and _WORD.search(text):
        return line("note")
    body = _TRAILING.sub("", text)
    if body != text:
        return _sort(number, body, n)._replace(text=body)
    # A row may have a name before it, or text after it.
    for parts in ([text.rpartition(":")[2]], [text.partition(":")[0]], text.split()):
        rows = [row for part in parts if len(part.strip()) >= n and part != text and (row := tight_row(part, n, n))]
        if rows:
            return line("row", *rows)
    unknown = [c for c in core if c not in cells_of(n)]
    if unknown:
        alike = len(core) in (n, n * n) and len(unknown) <= len(core) // 4 and not _WORD.search(core)
        return line("bad" if alike else "note", list(core))
    return line("short", list(core))


def _is_spaced(text: str) -> bool:
    """Return whether a line without digits may be a row in which spaces are cells."""
    return " " in text.strip(" |") and "|" in text and not re.search(r"[-=+]", text)
