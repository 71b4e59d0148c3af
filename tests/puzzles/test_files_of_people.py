"""Files that were once read wrongly without a word: each is now read right, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.kinds.arc.sources import read_subset
from trm.puzzles.kinds.arc.tasks import Task, join_tasks, parse_tasks
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.kinds.maze.text import read_mazes
from trm.puzzles.kinds.sudoku.generate import generate
from trm.puzzles.kinds.sudoku.rules import box_shape
from trm.puzzles.kinds.sudoku.text import format_board, read_sudokus, read_table

# Sudokus


def write_table(path: Path, ratings: list[str], above: str = "", delimiter: str = ",") -> np.ndarray:
    """Write 4x4 Sudokus with ratings; return the questions."""
    puzzles = [generate(4, 0, seed) for seed in range(len(ratings))]
    lines = [["question", "answer", "rating"]]
    lines += [[format_board(p.question), format_board(p.answer), r] for p, r in zip(puzzles, ratings, strict=True)]
    path.write_text(above + "".join(delimiter.join(line) + "\n" for line in lines), encoding="utf-8")
    return np.stack([puzzle.question for puzzle in puzzles])


def test_numbers_of_columns_are_not_taken_for_names(tmp_path: Path):
    puzzles = [generate(4, 0, seed) for seed in range(3)]
    expected = [puzzle.question for puzzle in puzzles]
    rows = [[str(i + 1), format_board(p.question), str(i + 3)] for i, p in enumerate(puzzles)]
    files = {
        # The first row has a field "3", in another column than the third.
        "rows.csv": ([[rows[0][0], rows[0][1], "2"], *rows[1:]], [2, 4, 5]),
        "3 first.csv": ([["3", *rows[0][1:]], *rows[1:]], [3, 4, 5]),
        "header.csv": ([["id", "board", "lvl"], *rows], [3, 4, 5]),
        "numbers.csv": ([["2", "3", "1"], *rows], [3, 4, 5]),
    }
    for name, (lines, ratings) in files.items():
        (tmp_path / name).write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
        table = read_table(tmp_path / name, {"question": "2", "rating": "3"})
        np.testing.assert_array_equal(table.questions, np.stack(expected), err_msg=name)
        assert table.ratings.tolist() == ratings, name


@pytest.mark.parametrize("remark", ["; 1", "; x", "# 1", "// 1", "; easy ones"])
def test_short_remarks_are_no_rows(remark: str):
    (found,) = read_sudokus(f"{remark}\n1...\n..1.\n.1..\n...1\n", "text", 4)
    np.testing.assert_array_equal(found.question[0], [1, 0, 0, 0])


def test_a_rating_of_white_space_is_none(tmp_path: Path):
    questions = write_table(tmp_path / "a.csv", ["7", " ", "12.4"])
    table = read_table(tmp_path / "a.csv")
    np.testing.assert_array_equal(table.questions, questions)
    assert table.ratings.tolist() == [7, 0, 12]
    write_table(tmp_path / "b.csv", ["7", "hard"])
    with pytest.raises(InputError, match=r"b\.csv: row 3: rating: found 'hard', expected a number up to"):
        read_table(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("above", "delimiter"),
    [("sep=;\n", ";"), ("sep=,\n", ","), ("My puzzles\n\n", ","), ("Exported 2026-11-28, by hand\n", ",")],
)
def test_lines_above_the_header(above: str, delimiter: str, tmp_path: Path):
    questions = write_table(tmp_path / "a.csv", ["7", "3"], above, delimiter)
    table = read_table(tmp_path / "a.csv")
    np.testing.assert_array_equal(table.questions, questions)
    assert table.ratings.tolist() == [7, 3]


def solved_board(n: int) -> np.ndarray:
    high, across = box_shape(n)
    return np.array([[(across * (i % high) + i // high + j) % n + 1 for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("n", [10, 12, 16])
@pytest.mark.parametrize("has_0", [True, False])
def test_large_boards_written_from_0(n: int, has_0: bool, tmp_path: Path):
    """The answer shows how the question is written, also where it has no clue 0."""
    answer = solved_board(n)
    question = np.where(np.random.default_rng(0).random((n, n)) < 0.5, 0, answer)
    if not has_0:
        question[question == 1] = 0
    written = [
        "".join("." if digit == 0 else "0123456789ABCDEF"[digit - 1] for digit in board.ravel())
        for board in (question, answer)
    ]
    (tmp_path / "a.csv").write_text("question,answer\n" + ",".join(written) + "\n", encoding="utf-8")
    table = read_table(tmp_path / "a.csv")
    np.testing.assert_array_equal(table.questions[0], question)
    np.testing.assert_array_equal(table.answers[0], answer)


@pytest.mark.parametrize("side", [None, 9])
def test_an_empty_header_is_no_row(side: int | None):
    """As GitHub needs one above a table in Markdown, here of a board whose last row has no clue."""
    question = generate(9, 3, 0).question.copy()
    question[8] = 0
    rows = ["|" + "|".join(f" {digit or ' '} " for digit in row) + "|" for row in question.tolist()]
    text = "\n".join(["|" + "   |" * 9, "|" + "---|" * 9, *rows])
    (found,) = read_sudokus(text, "x", side)
    np.testing.assert_array_equal(found.question, question)


@pytest.mark.parametrize("side", [None, 9])
def test_spaces_as_blanks_at_the_ends_of_a_line(side: int | None):
    for seed in range(4):
        question = generate(9, 3, seed).question.copy()
        question[0, 0] = question[8, 8] = 0
        (found,) = read_sudokus(format_board(question).replace(".", " "), "x", side)
        np.testing.assert_array_equal(found.question, question)


# Mazes


@pytest.mark.parametrize("side", [None, 20])
def test_a_tall_maze_is_not_filled_up(side: int | None):
    rows = ["#" * 10, "#S" + " " * 7 + "#", *["#" + " " * 8 + "#"] * 16, "#" + " " * 7 + "G#", "#" * 10]
    for text in ("\n".join(rows), "\n".join(rows).replace("#", "x")):
        with pytest.raises(InputError, match="found 20 rows of 10 cells, expected"):
            read_mazes(text, "x", side)
    # Ends that an editor has cut are still filled up.
    cut = "\n".join(row.rstrip() for row in ["S    ", "#    ", "# #  ", "  ###", "    G"])
    (found,) = read_mazes(cut, "x")
    assert found.question.shape == (5, 5)


# ARC

PAIR = {"input": [[1, 2]], "output": [[2, 1]]}


def task(*tests: int) -> dict[str, Any]:
    return {"train": [PAIR], "test": [{"input": [[test]], "output": [[9 - test]]} for test in tests]}


def names(tasks: list[Task]) -> list[str]:
    return [task.name for task in tasks]


def test_a_repeated_task_alone_is_left_out(tmp_path: Path):
    (tmp_path / "training").mkdir()
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "x.json").write_text(json.dumps(task(1)))
    for file, of_file in (("a", ["t1", "t2"]), ("b", ["t1", "t3", "t4"])):
        values = json.dumps({name: task(1) for name in of_file})
        (tmp_path / "training" / f"{file}.json").write_text(values)
    bad: list[InputError] = []
    assert names(read_subset(tmp_path, "training", on_bad=bad.append)) == ["t1", "t2", "t3", "t4"]
    assert [str(error).partition(": ")[2] for error in bad] == [
        f"found task 't1' again, expected it once, as in {tmp_path / 'training' / 'a.json'}"
    ]
    with pytest.raises(InputError, match="found task 't1' again"):
        read_subset(tmp_path, "training")


@pytest.mark.parametrize("outputs", [None, [[[1]], [[2]]]])
def test_a_task_without_its_solution_is_left_out(outputs: Any, tmp_path: Path):
    tests = {name: {"train": [PAIR], "test": [{"input": [[1]]}]} for name in "abc"}
    solutions = {"a": [[[1]]], "c": [[[1]]]} | ({"b": outputs} if outputs else {})
    (tmp_path / "k_training_challenges.json").write_text(json.dumps(tests))
    (tmp_path / "k_training_solutions.json").write_text(json.dumps(solutions))
    bad: list[InputError] = []
    assert names(read_subset(tmp_path / "k", "training", on_bad=bad.append)) == ["a", "c"]
    assert len(bad) == 1
    with pytest.raises(InputError, match=r"k_training_solutions\.json: task b: (missing|found 2 outputs, expected 1)"):
        read_subset(tmp_path / "k", "training")


def test_collections_in_one_folder_are_named(tmp_path: Path):
    for prefix in ("arc-1", "arc-2"):
        (tmp_path / f"{prefix}_training_challenges.json").write_text(json.dumps({prefix: task(1)}))
        (tmp_path / f"{prefix}_training_solutions.json").write_text(json.dumps({prefix: [[[1]]]}))
    expected = rf"several collections with subset 'training', expected {tmp_path}/arc-1 or {tmp_path}/arc-2"
    with pytest.raises(InputError, match=expected):
        read_subset(tmp_path, "training")
    assert names(read_subset(tmp_path / "arc-2", "training")) == ["arc-2"]


def test_tests_of_tasks_with_one_name_are_joined():
    lines = [{"id": "A"} | task(1, 2), {"id": "B"} | task(3), {"id": "A"} | task(2, 4)]
    joined = join_tasks(parse_tasks("\n".join(map(json.dumps, lines)), "x"))
    assert names(joined) == ["A", "B"]
    assert [pair.input.item() for pair in joined[0].pairs if pair.is_test] == [1, 2, 4]
    assert [pair["input"] for pair in joined[0].source["test"]] == [[[1]], [[2]], [[4]]]
    assert sum(not pair.is_test for pair in joined[0].pairs) == 1


# Kinds of a user's own


class Letters(PuzzleKind):
    """Puzzles of the letters a and b."""

    name = "letters"
    characters = "ab"

    def solved(self, questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.ones(len(questions), bool)


def test_a_row_with_another_number_of_columns_is_named():
    lines = ["id,question,note", "1,abba,x", "2,baba,y, z", "3,bbbb,"]
    with pytest.raises(InputError, match="here: row 3: found 4 columns, expected 3"):
        Letters().read("\n".join(lines), "here")
    lines[2] = '2,baba,"y, z"'
    for above in ([], ["# by hand"]):
        assert len(Letters().read("\n".join([*above, *lines]), "here")) == 3
