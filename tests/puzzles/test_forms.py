"""Every layout that people write puzzles in: a random board that is written in it is read as the same board."""

import gzip
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from trm.errors import InputError
from trm.puzzles.kinds.registry import KINDS
from trm.puzzles.kinds.sudoku.generate import solve
from trm.puzzles.kinds.sudoku.rules import box_shape
from trm.puzzles.text.decode import decode

SUDOKU, MAZE = KINDS["sudoku"], KINDS["maze"]
BLANKS = ".0-_*xX?"

Rows = list[str]
QUICK = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    derandomize=settings.get_current_profile_name() in ("default", "ci"),
)
"""Not a test of speed: other programs may run. Examples are small as they are. The same ones in every run, so that a
change is judged by what it changes; `--hypothesis-profile=debug` or another draws others."""


Drawn = tuple[int, int, float]
"""Side, seed and share of blanks: boards are made in the test, for checks of types are random, too."""


def sudokus(sides: tuple[int, ...] = (4, 6, 9)) -> st.SearchStrategy[Drawn]:
    return st.tuples(st.sampled_from(sides), st.integers(0, 10**6), st.floats(0.3, 0.6))


def make(drawn: Drawn) -> Rows:
    """Return the rows of a solution with random blanks."""
    n, seed, blanks = drawn
    rng = np.random.default_rng(seed)
    board = solve(np.zeros((n, n), dtype=np.int64), limit=1, rng=rng).boards[0]
    board[rng.random((n, n)) < blanks] = 0
    board[0, 0] = board[n - 1, n - 1] = 0
    board[0, 1] = board[0, 1] or 1  # A board of dashes alone is a frame without a board.
    return ["".join(".123456789"[digit] for digit in row) for row in board]


def boxed(rows: Rows, cell: str, bar: str, rule: str | None, rim: str = "") -> str:
    """Write rows with a bar between boxes, and a line of `rule` between bands."""
    n = len(rows)
    high, wide = box_shape(n)
    lines = [rim + bar.join(cell.join(row[i : i + wide]) for i in range(0, n, wide)) + rim for row in rows]
    for band in range(n - high, 0, -high):
        if rule is not None:
            lines.insert(band, rule * len(lines[0]) if rule and len(rule) == 1 else rule)
    return "\n".join(lines)


def numbers(rows: Rows) -> list[list[int]]:
    return [[0 if cell == "." else int(cell) for cell in row] for row in rows]


FORMS: dict[str, Callable[[Rows], str]] = {
    "flat": "".join,
    "rows": "\n".join,
    "CRLF": "\r\n".join,
    "CR": "\r".join,
    "bands": lambda rows: boxed(rows, "", "", ""),
    "spaces": lambda rows: "\n".join(" ".join(row) for row in rows),
    "commas": lambda rows: "\n".join(",".join(row) for row in rows),
    "semicolons": lambda rows: "\n".join(";".join(row) for row in rows),
    "tabs": lambda rows: "\n".join("\t".join(row) for row in rows),
    "empty fields": lambda rows: "\n".join(",".join(row).replace(".", "") for row in rows),
    "empty tabs": lambda rows: "\n".join("\t".join(row).replace(".", "") for row in rows),
    "empty semicolons": lambda rows: "\n".join(";".join(row).replace(".", "") for row in rows),
    "bars": lambda rows: boxed(rows, " ", " | ", "-"),
    "bars without spaces": lambda rows: boxed(rows, "", "|", "="),
    "frame": lambda rows: "+---+\n" + boxed(rows, " ", " | ", "+", "|") + "\n+---+",
    "stars": lambda rows: "*-----*\n" + boxed(rows, "", "|", "|---+---|", "|") + "\n*-----*",
    "a bar after each": lambda rows: "\n".join("|" + "|".join(row) + "|" for row in rows),
    "table": lambda rows: "\n".join("| " + " | ".join(row).replace(".", " ") + " |" for row in rows),
    "box drawing": lambda rows: "┌───┬───┐\n" + boxed(rows, " ", " │ ", "├───┼───┤", "│") + "\n└───┴───┘",
    "double box drawing": lambda rows: "╔═══╦═══╗\n" + boxed(rows, "", "║", "╠═══╬═══╣", "║") + "\n╚═══╩═══╝",
    "comments": lambda rows: "# made up\n// again\n\n" + "\n".join(rows) + "\n# end",
    "titles": lambda rows: "Grid 01\n" + "\n".join(rows),
    "section": lambda rows: "[Puzzle]\n" + "\n".join(rows) + "\n[State]\n" + "\n".join(rows),
    "rating": lambda rows: "".join(rows) + "  1.2",
    "name": lambda rows: "puzzle one: " + "".join(rows) + " # easy",
    "count": lambda rows: "1\n" + "".join(rows),
    "JSON": lambda rows: json.dumps(numbers(rows)),
    "JSON, null": lambda rows: json.dumps([[cell or None for cell in row] for row in numbers(rows)]),
    "JSON, NaN": lambda rows: json.dumps([[float(c or "nan") for c in row] for row in numbers(rows)]),
    "JSON, texts": lambda rows: json.dumps(rows),
    "JSON, flat": lambda rows: json.dumps([cell for row in numbers(rows) for cell in row]),
    "JSON object": lambda rows: json.dumps({"id": 1, "puzzle": "".join(rows)}, indent=1),
    "JSON boards": lambda rows: json.dumps([{"board": numbers(rows), "difficulty": "easy"}]),
    "Python": lambda rows: "grid = [\n" + ",\n".join(f"    {row}" for row in numbers(rows)) + ",\n]",
    "NumPy": lambda rows: "array(" + repr(numbers(rows)).replace("], [", "],\n       [") + ")",
    "NumPy, printed": lambda rows: "[[" + "]\n [".join(" ".join(map(str, row)) for row in numbers(rows)) + "]]",
    "C": lambda rows: "int g[9][9] = {" + ",".join("{" + ",".join(map(str, row)) + "}" for row in numbers(rows)) + "};",
    "MATLAB": lambda rows: "A = [" + "; ".join(" ".join(map(str, row)) for row in numbers(rows)) + "]",
    "PowerShell": lambda rows: "@(" + ",\n".join("@(" + ",".join(map(str, row)) + ")" for row in numbers(rows)) + ")",
    "CSV": lambda rows: "id,quizzes\n1," + "".join(rows) + "\n\n",
    "TSV": lambda rows: "puzzle\tlevel\n" + "".join(rows) + "\t3\n",
    "quoted": lambda rows: '"' + '","'.join(rows) + '"',
    "OpenSudoku": lambda rows: f'<?xml version="1.0"?><opensudoku><game data="{"".join(rows)}" /></opensudoku>',
    "full width": lambda rows: "\n".join(rows).translate({ord(str(d)): 0xFF10 + d for d in range(10)}),
    "middle dots": lambda rows: "\n".join(rows).replace(".", "·"),
    "indented": lambda rows: "\n".join("    " + row for row in rows),
}  # fmt: skip


@settings(QUICK, max_examples=100)
@given(sudokus(), st.sampled_from(list(FORMS)), st.sampled_from(BLANKS), st.booleans())
def test_every_form_of_a_sudoku(drawn: Drawn, form: str, blank: str, size_known: bool):
    rows = make(drawn)
    plain = "".join(rows)
    text = FORMS[form](rows)
    if form not in ("rating", "comments", "section", "name", "JSON, NaN") and '"' not in text and "." in text:
        text = text.replace(".", blank)
    (found,) = SUDOKU.read(text, "x", len(plain) if size_known else None)
    assert SUDOKU.format(found.tokens) == plain


@settings(QUICK, max_examples=66)
@given(
    sudokus(sides=(6, 9)),
    st.sampled_from(["rows", "bars", "bars without spaces", "spaces", "stars", "box drawing"]),
    st.booleans(),
)
def test_spaces_for_blanks(drawn: Drawn, form: str, stripped: bool):
    rows = make(drawn)
    text = FORMS[form](rows).replace(".", " ")
    if stripped:
        # Nothing tells a first or last row of blanks, which an editor cut, from one that was never there.
        assume(set(rows[0]) != {"."} != set(rows[-1]))
        text = "\n".join(line.rstrip() for line in text.split("\n"))
    (found,) = SUDOKU.read(text, "x", len(rows) ** 2)
    assert SUDOKU.format(found.tokens) == "".join(rows)


@settings(QUICK, max_examples=33)
@given(
    st.lists(sudokus(sides=(9,)), min_size=2, max_size=4, unique_by=lambda one: one[1]),
    st.sampled_from(["flat", "rows", "bars", "spaces", "frame", "commas", "JSON", "JSON object", "box drawing"]),
    st.sampled_from(["\n", "\n\n", "\n\n\n", "\nGrid 7\n", "\n# next\n"]),
)
def test_several(drawn: list[Drawn], form: str, between: str):
    boards = [make(one) for one in drawn]
    between = "\n" if form.startswith("JSON") else between
    parts = [FORMS[form](rows) for rows in boards]
    text = between.join(part.replace("\n", " ") if form.startswith("JSON") else part for part in parts)
    found = SUDOKU.read(text, "x", 81)
    assert [SUDOKU.format(question.tokens) for question in found] == ["".join(rows) for rows in boards]
    assert len({question.where for question in found}) == len(boards)


@settings(QUICK, max_examples=33)
@given(
    sudokus(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    st.booleans(),
    st.sampled_from(["rows", "box drawing", "CSV", "JSON"]),
)
def test_every_encoding(drawn: Drawn, encoding: str, zipped: bool, form: str):
    rows = make(drawn)
    data = FORMS[form](rows).encode(encoding)
    (found,) = SUDOKU.read(decode(gzip.compress(data) if zipped else data, "x"), "x", len(rows) ** 2)
    assert SUDOKU.format(found.tokens) == "".join(rows)


@st.composite
def large_sudokus(draw: st.DrawFn) -> list[list[int]]:
    """Draw 16x16 boards: a cyclic solution with digits renamed, and random blanks."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    row, column = np.indices((16, 16))
    board = (4 * (row % 4) + row // 4 + column) % 16
    board = rng.permutation(np.arange(1, 17))[board]
    board[rng.random((16, 16)) < 0.5] = 0
    return board.tolist()


@settings(QUICK, max_examples=30)
@given(
    large_sudokus(), st.sampled_from(["1-G", "numbers", "numbers, 0", "hexadecimal", "commas", "JSON", "lower case"])
)
def test_sixteen(board: list[list[int]], form: str):
    letters = {
        "1-G": ".123456789ABCDEFG", "lower case": ".123456789abcdefg", "hexadecimal": ".0123456789ABCDEF"
    }.get(form)  # fmt: skip
    if letters:
        text = "\n".join("".join(letters[digit] for digit in row) for row in board)
    elif form == "JSON":
        text = json.dumps(board)
    else:
        blank = "0" if form == "numbers, 0" else "."
        text = "\n".join(("," if form == "commas" else " ").join(str(d or blank) for d in row) for row in board)
    (found,) = SUDOKU.read(text, "x", 256)
    assert (found.tokens.reshape(16, 16) - 1).tolist() == board
    assert SUDOKU.read(SUDOKU.format(found.tokens), "x")[0].tokens.tolist() == found.tokens.tolist()


# Mazes


@st.composite
def mazes(draw: st.DrawFn) -> Rows:
    n = draw(st.integers(5, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    cells = np.where(rng.random(n * n) < 0.4, "#", " ")
    start, goal = rng.choice(n * n, 2, replace=False)
    cells[start], cells[goal] = "S", "G"
    text = "".join(cells)
    return [text[i : i + n] for i in range(0, n * n, n)]


MAZE_FORMS: dict[str, Callable[[Rows], str]] = {
    "flat": "".join,
    "rows": "\n".join,
    "CRLF": "\r\n".join,
    "spaces": lambda rows: "\n".join(" ".join(row) for row in rows),
    "commas": lambda rows: "\n".join(",".join(row) for row in rows),
    "twice": lambda rows: "\n".join("".join(2 * cell for cell in row) for row in rows),
    "title": lambda rows: "Maze 1\n" + "\n".join(rows),
    "JSON": json.dumps,
    "JSON cells": lambda rows: json.dumps([list(row) for row in rows]),
    "JSON object": lambda rows: json.dumps({"maze": "\n".join(rows)}),
    "CSV": lambda rows: "id,question\n1," + "".join(rows) + "\n",
    "frame": lambda rows: "\n".join(["#" * (len(rows) + 2), *(f"#{row}#" for row in rows), "#" * (len(rows) + 2)]),
}


@settings(QUICK, max_examples=100)
@given(
    mazes(), st.sampled_from(list(MAZE_FORMS)), st.sampled_from("#█1X"), st.sampled_from(" .0"),
    st.sampled_from(["SG", "SE", "SF", "AB", "sg", "se"]),
)  # fmt: skip
def test_every_form_of_a_maze(rows: Rows, form: str, wall: str, free: str, ends: str):
    written = [row.translate(str.maketrans("# SG", wall + free + ends)) for row in rows]
    (found,) = MAZE.read(MAZE_FORMS[form](written), "x", len(rows) ** 2)
    assert MAZE.format(found.tokens) == "".join(rows)


@settings(QUICK, max_examples=33)
@given(mazes())
def test_spaces_that_an_editor_has_cut(rows: Rows):
    (found,) = MAZE.read("\n".join(row.rstrip() for row in rows) + "\n", "x", len(rows) ** 2)
    assert MAZE.format(found.tokens) == "".join(rows)


# What is no puzzle, and what is two


@settings(QUICK, max_examples=100)
@given(st.text(max_size=120) | st.text("0123.,|-+=*# \n\t;[]{}\"'SGx", max_size=120), st.sampled_from([None, 16, 81]))
def test_any_text(text: str, seq_len: int | None):
    """The answer is puzzles of the right size, or one line."""
    for kind in (SUDOKU, MAZE):
        size = 25 if seq_len == 16 and kind is MAZE else seq_len
        try:
            found = kind.read(text, "x", size)
        except InputError as error:
            said = str(error)
        else:
            said = "x: puzzles"
            assert found
            assert size is None or {question.tokens.size for question in found} == {size}
        assert said.startswith("x: ")
        assert len(said) < 700


WIKIPEDIA = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (WIKIPEDIA[:-1], "x: found 80 cells, expected 81"),
        (WIKIPEDIA[:-1] + "q", "cell 81 (row 9, column 9): found 'q'"),
        ("\n".join(WIKIPEDIA[i : i + 9] for i in range(0, 72, 9)), "found 8 rows of 9 cells"),
        ("1..4..2..4....3.", "found a 4x4 board at line 1, expected 9x9"),
        ("hello", "found no cells"),
        ("12-4\n----\n3-12\n----\n-4-3\n----\n4-21\n----", "as lines of rules or as rows of blanks"),
    ],
)  # fmt: skip
def test_what_is_no_sudoku(text: str, says: str):
    with pytest.raises(InputError) as caught:
        SUDOKU.read(text, "x", 16 if "rules or" in says else 81)
    assert says in str(caught.value)


def test_problems():
    def problem(text: str) -> str:
        found = SUDOKU.problem(SUDOKU.parse(text, "x"))
        return "" if found is None else f"{found.text} {found.hopeless}"

    assert problem(WIKIPEDIA) == ""
    assert problem("." * 80 + "5") == "has several solutions: any of them may be the answer False"
    assert problem("55" + WIKIPEDIA[2:]).startswith(
        "contradictory clues: two 5 in a row, at row 1, column 1 and row 1, col"
    )
    assert problem("5" + "." * 8 + ".5" + "." * 70).startswith(
        "contradictory clues: two 5 in a box, at row 1, column 1 and"
    )
    assert problem("1..4..2..4....3.") == "has no solution True"
    assert problem("1234341221434321") == "already solved: it has no blank False"
    # The first row lacks a 9 alone, which the column has.
    assert problem("12345678." + "........9" + "." * 63) == "has no solution True"


def test_a_number_of_more_digits_than_python_reads():
    long = "8" * 5000
    for side in (9, 16):
        with pytest.raises(InputError, match=r"^x: "):
            SUDOKU.read(f"1,2,{long},\n" * side, "x", side * side)
    with pytest.raises(InputError, match="columns"):
        SUDOKU.read("a,b\n1,2\n", "x", 81, columns={"question": long})
    # The form of OpenSudoku has its version before the cells.
    with pytest.raises(InputError, match=r"^x: "):
        SUDOKU.read(f'<opensudoku><game data="version: {long} 1|0|0|1|"/></opensudoku>', "x", 81)


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "Infinity", "1e30", "1.5"])
def test_numbers_that_are_no_cells(cell: str):
    with pytest.raises(InputError, match=r"^x: "):
        SUDOKU.read(f"[[{cell}, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4]]", "x", 16)
