"""Files as programs, web pages and spreadsheets write them: each is read as the one board that it was written from."""

import html
import json
from collections.abc import Callable

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.kinds.registry import KINDS

SUDOKU, MAZE = KINDS["sudoku"], KINDS["maze"]

WIKIPEDIA = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
ROWS = [WIKIPEDIA[i : i + 9] for i in range(0, 81, 9)]
DIGITS = [[int(cell) if cell != "." else 0 for cell in row] for row in ROWS]
EMPTY = [[cell.replace(".", "") for cell in row] for row in ROWS]
"""The cells, a blank as an empty text."""

Rows = list[str]


def lines(write: Callable[[int], str]) -> str:
    return "".join(write(i) + "\n" for i in range(9))


def zeros(i: int, between: str = "") -> str:
    return between.join(map(str, DIGITS[i]))


def table(i: int) -> str:
    return "| " + " | ".join(cell or " " for cell in EMPTY[i]) + " |"


PROGRAMS = {
    "KSudoku": f'<!DOCTYPE ksudoku>\n<ksudoku><game><puzzle><values>{WIKIPEDIA.replace(".", "_")}</values>'
    f"<solution>{SOLUTION}</solution></puzzle><userValues>{WIKIPEDIA.replace('.', '_')}</userValues></game></ksudoku>",
    "SadMan": "#A Me\n[Puzzle]\n" + "\n".join(ROWS) + "\n[State]\n" + SOLUTION,
    "a title, and a remark behind": f"# Collection\n{WIKIPEDIA}\n\n# end\n",
    "HoDoKu": f":0100:1:{WIKIPEDIA}:711 812::\n",
    "Janko": "begin\nsize 9\nproblem\n" + lines(lambda i: " ".join(ROWS[i]).replace(".", "-")) + "end\n",
    "YAML": "puzzle: |\n" + lines(lambda i: "  " + ROWS[i])
    + "solution: |\n" + lines(lambda i: "  " + SOLUTION[9 * i : 9 * i + 9]),
    "numbered": f"#1 {WIKIPEDIA}\n",
    "one line, slashes": "/".join(ROWS),
    "address": f"https://example.org/solve.html#{WIKIPEDIA}",
    # Tables
    "pandas": ",0,1,2,3,4,5,6,7,8\n" + lines(lambda i: f"{i}," + zeros(i, ",")),
    "pandas, no index": "0,1,2,3,4,5,6,7,8\n" + lines(lambda i: zeros(i, ",")),
    "pandas, printed": "   " + "  ".join("012345678") + "\n" + lines(lambda i: f"{i}  " + zeros(i, "  ")),
    "floats": lines(lambda i: ",".join(cell and f"{cell}.0" for cell in EMPTY[i])),
    "a spreadsheet with empty rows between bands": lines(
        lambda i: "\t".join(EMPTY[i]) + ("\n" + 8 * "\t" if i in (2, 5) else "")
    ),
    "a spreadsheet with empty columns between boxes": lines(
        lambda i: "\t\t".join("\t".join(EMPTY[i][j : j + 3]) for j in (0, 3, 6))
    ),
    "Markdown": "| 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 |\n" + "|---" * 9 + "|\n" + lines(table),
    "Markdown, no header": "|   " * 9 + "|\n" + "|:-:" * 9 + "|\n" + lines(table),
    "Markdown, names": "|   | A | B | C | D | E | F | G | H | I |\n" + "|---" * 10 + "|\n"
    + lines(lambda i: f"| **{i + 1}** " + table(i)),
    "named": "   C1 C2 C3 C4 C5 C6 C7 C8 C9\n" + lines(lambda i: f"R{i + 1}  " + "  ".join(ROWS[i])),
    "LaTeX, sudoku": "\\begin{sudoku}\n" + lines(lambda i: "|" + "|".join(c or " " for c in EMPTY[i]) + "|.")
    + "\\end{sudoku}\n",
    "LaTeX, tabular": "\\begin{tabular}{|ccc|ccc|ccc|}\n\\hline\n"
    + lines(lambda i: " & ".join(c or " " for c in EMPTY[i]) + " \\\\ \\hline") + "\\end{tabular}\n",
    "a spreadsheet with a margin": "," * 9 + "\n" + lines(lambda i: "," + ",".join(EMPTY[i])),
    "a spreadsheet with a title": "Sudoku" + "," * 8 + "\n" + lines(lambda i: ",".join(EMPTY[i])),
    # Web pages
    "HTML": "<html><body><table class=x>" + lines(
        lambda i: "<tr>" + "".join(f"<td>{cell or '&nbsp;'}</td>" for cell in EMPTY[i]) + "</tr>"
    ) + "</table></body></html>",
    "HTML, open tags": "<table border=1>" + lines(lambda i: "<tr>" + "".join(f"<td>{cell}" for cell in EMPTY[i])),
    "HTML, fields": "<!DOCTYPE html><title>9 x 9</title><table>" + lines(
        lambda i: "<tr>" + "".join(f'<td><input value="{c}" size=2></td>' for c in EMPTY[i]) + "</tr>"
    ) + "</table>",
    "HTML, text": "<!DOCTYPE html><html><script>var a=1</script><pre>" + html.escape("\n".join(ROWS)) + "</pre></html>",
    # Programs' own lists
    "Python, remarks": "# mine\nboard = [\n" + lines(lambda i: f"    {DIGITS[i]},  # row {i + 1}") + "]\n",
    "NumPy, floats": "[[" + "]\n [".join(zeros(i, ". ") + "." for i in range(9)) + "]]",
    "Java": "public class Sudoku {\n    public static int[][] GRID_TO_SOLVE = {\n"
    + lines(lambda i: "        {" + zeros(i, ",") + "},") + "    };\n    public static final int SIZE = 9;\n}\n",
    "R": "      " + " ".join(f"[,{i + 1}]" for i in range(9)) + "\n"
    + lines(lambda i: f" [{i + 1},]    " + "    ".join(c or "NA" for c in EMPTY[i])),
    "Perl": "my @board = (\n" + lines(lambda i: f"  [qw({zeros(i, ' ')})],") + ");\n",
    "C++": "std::array<std::array<int, 9>, 9> grid{{\n" + lines(lambda i: f"  {{{{{zeros(i, ', ')}}}}},") + "}};\n",
    "MiniZinc": "puzzle=[|\n" + lines(lambda i: ",".join(ROWS[i]).replace(".", "_") + "|") + "];\n",
    "OCaml": "let grid = [|\n" + lines(lambda i: f"[|{zeros(i, ';')}|];") + "|]\n",
    "XML rows": "<sudoku>" + lines(lambda i: f"<row>{zeros(i)}</row>") + "</sudoku>",
    "DOS": "\r\n".join(ROWS) + "\r\n\x1a",
    "quoted rows": lines(lambda i: f'"{ROWS[i]}"'),
    # Remarks before a document
    "CSV below a remark": f"# mine, and its solution\nsolution,puzzle\n{SOLUTION},{WIKIPEDIA}\n",
    "JSON below a remark": "// mine\n" + json.dumps({"solution": {"0": SOLUTION}, "puzzle": {"0": WIKIPEDIA}}),
    "JSON in a code block": "Mine:\n```json\n" + json.dumps({"board": DIGITS, "solution": SOLUTION}) + "\n```\n",
    "XML below a title": f"Puzzle 1\n<sudoku><values>{WIKIPEDIA}</values><solution>{SOLUTION}</solution></sudoku>\n",
    # Signs
    "squares": lines(lambda i: "".join(cell + "\ufe0f\u20e3" if cell else "⬛" for cell in EMPTY[i])),
    "circles": lines(lambda i: "".join(chr(0x2460 + int(cell) - 1) if cell else "○" for cell in EMPTY[i])),
    "another sign": WIKIPEDIA.replace(".", "~"),
    "the letter o": lines(lambda i: ROWS[i].replace(".", "o")),
}  # fmt: skip


@pytest.mark.parametrize("size_known", [True, False])
@pytest.mark.parametrize("form", PROGRAMS)
def test_sudoku(form: str, size_known: bool):
    (found,) = SUDOKU.read(PROGRAMS[form], "x", 81 if size_known else None)
    assert SUDOKU.format(found.tokens) == WIKIPEDIA


OTHER = "..3.2.6..9..3.5..1..18.64....81.29..7.......8..67.82....26.95..8..2.3..9..5.1.3.."
OTHER_ROWS = [OTHER[i : i + 9] for i in range(0, 81, 9)]
TWO = {
    "side by side": "\n".join(f"{a}   {b}" for a, b in zip(ROWS, OTHER_ROWS, strict=True)),
    "a spreadsheet": "\n".join(",".join(row).replace(".", "") for row in (*ROWS, "." * 9, *OTHER_ROWS)),
    "web tables": "<!DOCTYPE html><body>" + "".join(
        "<table>" + "".join("<tr>" + "".join(f"<td>{c}" for c in row) for row in rows) + "</table>"
        for rows in (ROWS, OTHER_ROWS)
    ),
}  # fmt: skip


@pytest.mark.parametrize("size_known", [True, False])
@pytest.mark.parametrize("form", TWO)
def test_two_sudokus(form: str, size_known: bool):
    found = SUDOKU.read(TWO[form], "x", 81 if size_known else None)
    assert [SUDOKU.format(question.tokens) for question in found] == [WIKIPEDIA, OTHER]


SOLVED_ROWS = [SOLUTION[i : i + 9] for i in range(0, 81, 9)]


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html>" + "".join(
            "<table>" + "".join("<tr>" + "".join(f"<td>{c}" for c in row) for row in rows) + "</table>"
            for rows in (ROWS, SOLVED_ROWS)
        ),
        json.dumps({"start": WIKIPEDIA, "end": SOLUTION}),
        "\n".join(f"{a}   {b}" for a, b in zip(ROWS, SOLVED_ROWS, strict=True)),
    ],
)  # fmt: skip
def test_a_board_and_its_solution_are_one_puzzle(text: str):
    (found,) = SUDOKU.read(text, "x", 81)
    assert SUDOKU.format(found.tokens) == WIKIPEDIA


@pytest.mark.parametrize("write", ["\n".join, json.dumps, lambda rows: "\n".join(",".join(row) for row in rows)])
def test_rows_that_lack_a_cell(write: Callable[[Rows], str]):
    """Blanks are written as dots, so nothing was cut: the rows are too short."""
    for size in (81, None):
        with pytest.raises(InputError, match="9 rows of 8 cells"):
            SUDOKU.read(write([row[:8] for row in ROWS]), "x", size)


@pytest.mark.parametrize("name", ["1 ", "1. ", "- ", "* ", "2) "])
def test_a_name_is_no_cell_of_a_board_that_lacks_one(name: str):
    for size in (81, None):
        with pytest.raises(InputError, match=r"^x: "):
            SUDOKU.read(f"{name}{WIKIPEDIA[:-1]}\n", "x", size)


def test_eight_rows_of_floats():
    """Points and zeros of numbers are no cells."""
    with pytest.raises(InputError, match="8 rows of 9"):
        SUDOKU.read("\n".join(" ".join(f"{cell}.0" for cell in row) for row in DIGITS[:8]), "x", 81)


def test_fields_that_lost_the_delimiters_before_them():
    with pytest.raises(InputError, match=r"^x: "):
        SUDOKU.read("\n".join("\t".join(row).strip() for row in EMPTY), "x", 81)


def test_rows_that_lost_the_spaces_before_them():
    """No row begins with a space, so what was the first cell of a short row is not known."""
    with pytest.raises(InputError, match=r"^x: "):
        SUDOKU.read("\n".join(row.replace(".", " ").strip() for row in ROWS), "x", 81)


@pytest.mark.parametrize("write", ["{:02}", "{:2}", "{}", "from 0"])
def test_numbers_of_large_boards(write: str):
    """Padded with a zero or a space, and numbers from 0 to 15 beside dots."""
    row, column = np.indices((16, 16))
    board = (4 * (row % 4) + row // 4 + column) % 16 + 1
    board[np.random.default_rng(0).random((16, 16)) < 0.5] = 0

    def cell(digit: int) -> str:
        if write == "from 0":
            return str(digit - 1) if digit else "."
        return write.format(digit)

    text = "\n".join(" ".join(map(cell, digits)) for digits in board.tolist())
    for size in (256, None):
        (found,) = SUDOKU.read(text, "x", size)
        np.testing.assert_array_equal(found.tokens.reshape(16, 16) - 1, board)


def test_a_board_of_ten_is_no_named_one():
    """Names are dropped only where they are consecutive in both directions."""
    board = np.roll(np.arange(100).reshape(10, 10) % 10 + 1, 3, axis=1)
    text = "\n".join(",".join(map(str, row)) for row in board)
    (found,) = SUDOKU.read(text, "x", 100)
    np.testing.assert_array_equal(found.tokens.reshape(10, 10) - 1, board)


def test_a_sign_that_is_no_blank():
    """A single stray character among dots is a mistake, not a blank."""
    with pytest.raises(InputError, match=r"row 9, column 9.*found '~'"):
        SUDOKU.read(WIKIPEDIA[:-1] + "~", "x", 81)


MAZE_ROWS = [
    "   # ##  ",
    " S# #   #",
    "  ### ## ",
    "# ### ##G",
    "  ## ### ",
    "#  # ##  ",
    " #      #",
    "#  #   ##",
    " #     # ",
]
BOTH = [
    "S........",
    "########.",
    ".........",
    ".########",
    ".........",
    "########.",
    ".........",
    ".########",
    "........G",
]
LETTERS = str.maketrans("# SG", "1023")
DOTTED = [row.replace(" ", ".") for row in MAZE_ROWS]
NUMBERS = [row.translate(LETTERS) for row in MAZE_ROWS]
CLEARED = [[int(cell == "#") for cell in row] for row in MAZE_ROWS]
"""Walls alone; start and goal are given beside them."""

MAZES = {
    "indented": "\n".join("    " + row for row in MAZE_ROWS),
    "indented and cut": "\n".join(("    " + row).rstrip() for row in MAZE_ROWS),
    "YAML": "maze: |\n" + "\n".join("  " + row for row in DOTTED),
    "Python, text": 'maze = """\n' + "\n".join(DOTTED) + '\n"""\n',
    "quoted rows": "\n".join(f'"{row}"' for row in MAZE_ROWS),
    "quoted rows, commas": "\n".join(f'"{row}",' for row in MAZE_ROWS),
    "one space": "\n".join(" ".join(row) for row in NUMBERS),
    "two spaces": "\n".join("  ".join(row) for row in NUMBERS),
    "written twice": "\n".join("".join(2 * cell for cell in row) for row in MAZE_ROWS),
    "sizes": "1\n9 9\n" + "\n".join(DOTTED),
    "sizes alone": "9 9\n" + "\n".join(NUMBERS),
    "signs": "\n".join(row.translate(str.maketrans("# SG", "⬛⬜🟢🔴")) for row in MAZE_ROWS),
    "stars": "\n".join(row.replace("#", "*") for row in DOTTED),
    "rows and columns": json.dumps({"maze": CLEARED, "start": {"row": 1, "col": 1}, "goal": {"row": 3, "col": 8}}),
    "HTML": "<table>"
    + "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in NUMBERS)
    + "</table>",
}


@pytest.mark.parametrize("size_known", [True, False])
@pytest.mark.parametrize("form", MAZES)
def test_maze(form: str, size_known: bool):
    (found,) = MAZE.read(MAZES[form], "x", 81 if size_known else None)
    assert MAZE.format(found.tokens) == "".join(MAZE_ROWS)


@pytest.mark.parametrize("between", ["\n", "\n---\n", "\n\n", "\n=====\n", "\nMaze 2\n"])
@pytest.mark.parametrize("size_known", [True, False])
def test_two_mazes(between: str, size_known: bool):
    text = "\n".join(DOTTED) + between + "\n".join(BOTH)
    if between == "\n" and not size_known:
        pytest.skip("18 rows of 9 without a sign between are no square maze")
    found = [MAZE.format(question.tokens) for question in MAZE.read(text, "x", 81 if size_known else None)]
    assert found == ["".join(MAZE_ROWS), "".join(BOTH).replace(".", " ")]
