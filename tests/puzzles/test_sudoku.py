"""Sudoku: rules, solver, generator, symmetries and CSV files, against brute force and by hand."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku import rules as sudoku_rules
from trm.puzzles.kinds.sudoku import symmetries as sudoku_symmetries
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.tables import Table, select

SOLVED = np.array([[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]])


def rows_columns_boxes_by_hand(board: np.ndarray) -> bool:
    n = len(board)
    rows, columns = sudoku_rules.box_shape(n)
    groups = [board[i] for i in range(n)] + [board[:, j] for j in range(n)]
    for i in range(0, n, rows):
        for j in range(0, n, columns):
            groups.append(board[i : i + rows, j : j + columns].ravel())
    return all(sorted(group.tolist()) == list(range(1, n + 1)) for group in groups)


def test_box_shapes():
    assert [sudoku_rules.box_shape(n) for n in (4, 6, 8, 9)] == [(2, 2), (2, 3), (2, 4), (3, 3)]


def test_rules_agree_with_a_plain_check():
    rng = np.random.default_rng(0)
    answers = np.repeat(SOLVED[None], 200, axis=0)
    for answer in answers[1:]:
        # Swap two cells: sometimes equal digits, then nothing changes.
        a, b = rng.integers(0, 4, (2, 2))
        answer[tuple(a)], answer[tuple(b)] = answer[tuple(b)], answer[tuple(a)]
    expected = [rows_columns_boxes_by_hand(answer) for answer in answers]
    assert 1 < sum(expected) < 200
    blank = np.zeros_like(answers)
    assert sudoku_rules.obeys_rules(blank, answers).tolist() == expected


def test_an_answer_must_keep_the_clues():
    question = np.zeros_like(SOLVED)
    question[0, 0] = 2
    assert not sudoku_rules.obeys_rules(question[None], SOLVED[None])[0]
    question[0, 0] = 1
    assert sudoku_rules.obeys_rules(question[None], SOLVED[None])[0]


def test_solver_counts_all_4x4_boards():
    assert len(sudoku_generator.solve(np.zeros((4, 4), int), limit=1000).boards) == 288


def test_solver_agrees_with_brute_force():
    rng = np.random.default_rng(1)
    for _ in range(10):
        question = SOLVED.copy()
        blanks = rng.permutation(np.argwhere(question))[:6]
        question[tuple(blanks.T)] = 0
        count = 0
        for digits in itertools.product(range(1, 5), repeat=len(blanks)):
            board = question.copy()
            board[tuple(blanks.T)] = digits
            count += rows_columns_boxes_by_hand(board)
        assert len(sudoku_generator.solve(question, limit=1000).boards) == count


def test_contradicting_clues_have_no_solution():
    question = np.zeros((4, 4), int)
    question[0, 0] = question[0, 3] = 1
    assert sudoku_generator.solve(question).boards == []


@pytest.mark.parametrize(("size", "count"), [(4, 20), (6, 4), pytest.param(9, 2, marks=pytest.mark.slow)])
def test_generated_puzzles_have_one_solution_and_no_spare_clue(size: int, count: int):
    for puzzle in sudoku_generator.generate_many(size, count, seed=3):
        assert rows_columns_boxes_by_hand(puzzle.answer)
        solutions = sudoku_generator.solve(puzzle.question, limit=2).boards
        assert len(solutions) == 1
        np.testing.assert_array_equal(solutions[0], puzzle.answer)
        if size < 9:
            for cell in np.argwhere(puzzle.question):
                without = puzzle.question.copy()
                without[tuple(cell)] = 0
                assert len(sudoku_generator.solve(without, limit=2).boards) == 2


@pytest.mark.slow
def test_generator_is_a_function_of_its_seed_alone():
    one = [p.question.tolist() for p in sudoku_generator.generate_many(4, 70, seed=5)]
    two = [p.question.tolist() for p in sudoku_generator.generate_many(4, 70, seed=5, processes=2)]
    other = [p.question.tolist() for p in sudoku_generator.generate_many(4, 70, seed=6)]
    assert one == two != other
    assert len({str(question) for question in one}) == 70


def test_generator_keeps_clues():
    assert all(np.count_nonzero(p.question) == 10 for p in sudoku_generator.generate_many(4, 5, seed=0, keep_clues=10))


def test_generator_refuses_other_sizes():
    with pytest.raises(InputError, match="--size: found 5"):
        next(sudoku_generator.generate_many(5, 1, seed=0))


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_there_are_only_so_many_full_4x4_boards(processes: int):
    with pytest.raises(InputError, match="expected at most about 288: no new puzzle was found"):
        for _ in sudoku_generator.generate_many(4, 289, seed=0, keep_clues=16, processes=processes):
            pass


@pytest.mark.parametrize(
    ("n", "most"), [(4, 10**6), (6, 10**6), pytest.param(9, 10**6, marks=pytest.mark.slow), (4, 0)]
)
def test_canonical_forms(n: int, most: int, monkeypatch: pytest.MonkeyPatch):
    """All rearrangements of a board have one form; of large boards all that keep or reverse the order of lines."""
    monkeypatch.setattr("trm.puzzles.kinds.sudoku.symmetries.MOST_REARRANGED", most)
    boards = np.array([puzzle.question for puzzle in sudoku_generator.generate_many(n, 6, seed=3)])
    symmetries = sudoku_symmetries.draw_symmetries(np.random.default_rng(1), 6, n)
    if n == 9 or not most:
        order = np.arange(n, dtype=np.uint8)
        mirrored = np.where(np.arange(6)[:, None] % 2, order, order[::-1])
        symmetries = symmetries._replace(rows=mirrored, columns=mirrored[::-1])
    moved = apply(symmetries, boards)
    assert (moved != boards).any(axis=(1, 2)).all()
    first, second = (sudoku_symmetries.canonical_forms(each) for each in (boards, moved))
    np.testing.assert_array_equal(first, second)
    # A form is a rearrangement itself: as many clues in as many digits.
    assert ((first > 0).sum(axis=1) == (boards > 0).sum(axis=(1, 2))).all()
    assert [len(np.unique(form)) for form in first] == [len(np.unique(board)) for board in boards]
    if n > 4:
        assert len({form.tobytes() for form in first}) == 6


def apply(symmetries: sudoku_symmetries.SudokuSymmetries, boards: np.ndarray) -> np.ndarray:
    tokens = boards.reshape(len(boards), -1) + 1
    return sudoku_symmetries.on_tokens(symmetries).apply(tokens).reshape(boards.shape) - 1


@pytest.mark.parametrize("n", [4, 6, 9])
def test_symmetries_keep_the_rules_and_differ(n: int):
    puzzle = next(sudoku_generator.generate_many(n, 1, seed=1))
    many = 50
    symmetries = sudoku_symmetries.draw_symmetries(np.random.default_rng(0), many, n)
    questions, answers = (
        apply(symmetries, np.repeat(board[None], many, axis=0)) for board in (puzzle.question, puzzle.answer)
    )
    assert sudoku_rules.obeys_rules(questions, answers).all()
    assert (np.count_nonzero(questions, axis=(1, 2)) == np.count_nonzero(puzzle.question)).all()
    # A 4x4 board has so few symmetries that some are drawn twice.
    assert len({question.tobytes() for question in questions}) > (many * 0.8 if n == 4 else many - 1)
    assert symmetries.transposed.any() == (n != 6)


def test_symmetry_by_hand():
    symmetries = sudoku_symmetries.SudokuSymmetries(
        digits=np.array([[0, 2, 1, 4, 3]]),
        transposed=np.array([True]),
        rows=np.array([[1, 0, 2, 3]]),
        columns=np.array([[2, 3, 0, 1]]),
    )
    expected = [[symmetries.digits[0, SOLVED.T[r, c]] for c in [2, 3, 0, 1]] for r in [1, 0, 2, 3]]
    np.testing.assert_array_equal(apply(symmetries, SOLVED[None])[0], expected)


@pytest.mark.parametrize("name", ["puzzles.csv", "puzzles.csv.gz"])
def test_csv_round_trip(tmp_path: Path, name: str):
    puzzles = list(sudoku_generator.generate_many(6, 5, seed=0))
    path = tmp_path / name
    assert sudoku_text.write_csv(path, "test", puzzles) == 5
    table = sudoku_text.read_table(path)
    np.testing.assert_array_equal(table.questions, [p.question for p in puzzles])
    np.testing.assert_array_equal(table.answers, [p.answer for p in puzzles])
    np.testing.assert_array_equal(table.ratings, [p.rating for p in puzzles])


QUESTION, ANSWER = "1.3434122143432.", "1234341221434321"
ANOTHER_ANSWER = "3412123421434321"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no puzzle"),
        ("a,b,c,d\n", "found no cells"),
        ("source,question,answer,rating\n", "found no puzzles"),
        (f"source,question,answer,rating\nx,{QUESTION},{ANSWER}\n", "row 2: found 3 columns, expected 4"),
        (
            f"source,question,answer,rating\nx,{QUESTION},{ANSWER},1\nx,{QUESTION},{ANSWER},hard\n",
            "row 3: rating: found 'hard'",
        ),
        (f"source,question,answer,rating\nx,{QUESTION},{ANSWER},{'9' * 5_000}\n", "row 2: rating: found '99999"),
        (
            f"source,question,answer,rating\nx,{QUESTION[:-1]},{ANSWER},1\n",
            "row 2: found 15 cells",
        ),
        (f"source,question,answer,rating\nx,{QUESTION[:-1]},{ANSWER[:-1]},1\n", "row 2: found 15 cells"),
        (
            f"source,question,answer,rating\nx,{QUESTION},{ANSWER},1\nx,{QUESTION.replace('4', '7', 1)},{ANSWER},1\n",
            "row 3: cell 4 (row 1, column 4): found '7', expected 1 to 4",
        ),
        (
            f"source,question,answer,rating\nx,{QUESTION},{ANSWER},1\nx,{ANSWER},{ANOTHER_ANSWER},1\n",
            "row 3: answer: found a digit",
        ),
        (
            f"source,question,answer,rating\nx,{QUESTION},{ANSWER.replace('4321', '4312')},1\n",
            "row 2: answer: found a digit",
        ),
    ],
)
def test_bad_csv_names_file_and_row(tmp_path: Path, text: str, message: str):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        sudoku_text.read_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path):
    path = tmp_path / "marked.csv"
    path.write_text(f"source,question,answer,rating\nx,{QUESTION},{ANSWER},1\n", encoding="utf-8-sig")
    assert len(sudoku_text.read_table(path).questions) == 1


def test_truncated_gzip_is_refused(tmp_path: Path):
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(bundled_csv("sudoku-6x6-test.csv.gz").read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot read"):
        sudoku_text.read_table(path)
    damaged = bytearray(bundled_csv("sudoku-6x6-test.csv.gz").read_bytes())
    damaged[20] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="cannot read"):
        sudoku_text.read_table(path)
    # Only the bytes say what a file is.
    path.write_bytes(b"this is not gzip")
    with pytest.raises(InputError, match="found no cells"):
        sudoku_text.read_table(path)
    with pytest.raises(InputError, match="No such file"):
        sudoku_text.read_table(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    "name",
    [
        "sudoku-6x6-test",
        "sudoku-9x9-test",
        *[pytest.param(f"sudoku-{n}x{n}-train", marks=pytest.mark.slow) for n in (6, 9)],
    ],
)
def test_bundled_puzzles_are_sound(name: str):
    table = sudoku_text.read_table(bundled_csv(f"{name}.csv.gz"))
    for question in table.questions[:20]:
        assert len(sudoku_generator.solve(question).boards) == 1
    assert len({question.tobytes() for question in table.questions}) == len(table.questions)


def test_build_keeps_the_original_first_in_its_group(tables: dict[str, Table]):
    table = tables["train"]
    arrays = sudoku_build.build_split("x", table, np.random.default_rng(0), num_aug=3).sets["all"]
    np.testing.assert_array_equal(arrays.group_indices, np.arange(len(table.ratings) + 1) * 4)
    np.testing.assert_array_equal(arrays.inputs[::4], table.questions.reshape(-1, 16) + 1)
    boards = arrays.inputs.reshape(-1, 4, 4).astype(int) - 1, arrays.labels.reshape(-1, 4, 4).astype(int) - 1
    assert sudoku_rules.obeys_rules(*boards).all()


def test_selection(tables: dict[str, Table]):
    table = tables["train"]._replace(ratings=np.arange(20))
    assert select(table, "x", min_difficulty=15).ratings.tolist() == [15, 16, 17, 18, 19]
    drawn = select(table, "x", 10, 4, np.random.default_rng(0)).ratings
    assert len(set(drawn.tolist())) == 4
    assert drawn.min() >= 10
    with pytest.raises(InputError, match="no puzzle rated 99 or more, expected a minimum up to 19"):
        select(table, "x", min_difficulty=99)


def test_tables_of_any_columns(tmp_path: Path):
    """Any order, delimiter and names; ratings with points; an answer that is missing is found, where there is one."""
    puzzles = list(sudoku_generator.generate_many(6, 4, seed=3))
    questions, answers = (
        [sudoku_text.format_board(getattr(p, side)) for p in puzzles] for side in ("question", "answer")
    )
    both = list(zip(questions, answers, strict=True))
    tables = {
        "kaggle": "quizzes,solutions\n" + "".join(f"{q},{a}\n" for q, a in both) + "\n\n",
        "order": "solution\tid\tdifficulty\tpuzzle\n" + "".join(f"{a}\tx\t1.6\t{q}\n" for q, a in both),
        "no header": "".join(f"{q};{a};2\n" for q, a in both),
        "questions": "sudoku\n" + "\n".join(questions),
        "lines": "\n".join(questions),
        "pairs": "".join(f"{q} {a}\n" for q, a in both),
        "each followed by its answer": "".join(f"{q}\n{a}\n" for q, a in both),
        "words": "puzzle,solution,difficulty\n" + "".join(f"{q},{a},Easy\n" for q, a in both),
        "JSON lines": "".join(f'{{"puzzle": "{q}", "solution": "{a}", "rating": 1.6}}\n' for q, a in both),
    }
    for name, text in tables.items():
        path = tmp_path / name
        path.write_text(text)
        table = sudoku_text.read_table(path)
        np.testing.assert_array_equal(table.questions, [p.question for p in puzzles], err_msg=name)
        np.testing.assert_array_equal(table.answers, [p.answer for p in puzzles], err_msg=name)
        assert set(table.ratings.tolist()) == {2 if name in ("order", "no header", "JSON lines") else 0}, name
    path = tmp_path / "chosen"
    path.write_text("a,b\n" + "".join(f"{a},{q}\n" for q, a in both))
    chosen = sudoku_text.read_table(path, {"question": "b", "answer": "1"})
    np.testing.assert_array_equal(chosen.questions, [p.question for p in puzzles])
    path.write_text(f"puzzle\n{questions[0]}\n{'.' * 36}\n")
    with pytest.raises(InputError, match="row 3: question: found no answer given and several solutions"):
        sudoku_text.read_table(path)
