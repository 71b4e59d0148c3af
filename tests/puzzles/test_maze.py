"""Mazes: paths against plain searches, CSV files, symmetries, and the generator against the published procedure."""

from pathlib import Path

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze import rules as maze_rules
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.maze.generate import boards_of, draw_trials, drop_short, generate_many
from trm.puzzles.kinds.maze.rules import FREE, GOAL, PATH, START, WALL
from trm.puzzles.kinds.tables import Table

STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def board_of(*rows: str) -> np.ndarray:
    return maze_text.parse_maze("".join(rows), "test")


def random_mazes(count: int, n: int, seed: int) -> np.ndarray:
    """Draw boards with about a third of walls; start and goal may lie apart."""
    rng = np.random.default_rng(seed)
    boards = np.where(rng.random((count, n, n)) < 0.35, WALL, FREE).astype(np.uint8)
    for board in boards:
        start, goal = rng.choice(n * n, 2, replace=False)
        board.ravel()[[start, goal]] = START, GOAL
    return boards


def search(board: np.ndarray, token: int) -> dict[tuple[int, int], int]:
    """Count the moves to every cell in reach, cell by cell."""
    n = len(board)
    first = tuple(np.argwhere(board == token)[0].tolist())
    moves, queue = {first: 0}, [first]
    for row, column in queue:
        for down, right in STEPS.values():
            cell = row + down, column + right
            if 0 <= cell[0] < n and 0 <= cell[1] < n and board[cell] != WALL and cell not in moves:
                moves[cell] = moves[row, column] + 1
                queue.append(cell)
    return moves


def all_shortest_paths(board: np.ndarray) -> list[list[tuple[int, int]]]:
    """List the inner cells of every shortest path; the first one prefers up, down, left, right."""
    ahead = search(board, GOAL)
    start = tuple(np.argwhere(board == START)[0].tolist())
    if start not in ahead:
        return []
    paths = [[start]]
    for _ in range(ahead[start]):
        paths = [
            [*path, cell]
            for path in paths
            for down, right in STEPS.values()
            if ahead.get(cell := (path[-1][0] + down, path[-1][1] + right), -1) == ahead[path[-1]] - 1
        ]
    return [path[1:-1] for path in paths]


def draw_path(board: np.ndarray, path: list[tuple[int, int]]) -> np.ndarray:
    answer = board.copy()
    for cell in path:
        answer[cell] = PATH
    return answer


def test_distances_agree_with_a_plain_search():
    boards = random_mazes(40, 8, seed=0)
    for board, found in zip(boards, maze_rules.distances(boards, START), strict=True):
        expected = np.full(board.shape, -1)
        for cell, moves in search(board, START).items():
            expected[cell] = moves
        np.testing.assert_array_equal(found, expected)


def test_shortest_paths_agree_with_a_list_of_all():
    boards = random_mazes(60, 6, seed=1)
    found = maze_rules.count_shortest_paths(boards)
    moves, answers = maze_rules.count_moves(boards), maze_rules.shortest_path(boards)
    assert (found > 1).sum() > 10
    assert (found == 0).any()
    for board, count, length, answer in zip(boards, found, moves, answers, strict=True):
        paths = all_shortest_paths(board)
        assert count == len(paths)
        assert length == (len(paths[0]) + 1 if paths else -1)
        # Without any the maze stays as it is.
        np.testing.assert_array_equal(answer, draw_path(board, paths[0]) if paths else board)


def test_random_paths_are_equally_likely():
    board = board_of("S    ", " ### ", "     ", " # # ", "    G")
    paths = all_shortest_paths(board)
    draws = 2000
    answers = maze_rules.shortest_path(np.repeat(board[None], draws, axis=0), np.random.default_rng(0))
    counts = np.array([(answers == draw_path(board, path)).all(axis=(1, 2)).sum() for path in paths])
    assert len(paths) > 3
    assert counts.sum() == draws
    expected = draws / len(paths)
    # Chi-squared: a value above this has a probability of about one in a thousand, and the draws are fixed.
    assert ((counts - expected) ** 2 / expected).sum() < len(paths) + 5 * len(paths) ** 0.5


def test_what_is_a_shortest_path():
    question = board_of("S   #", "### #", "#   G", "# ###", "     ")
    right = maze_rules.shortest_path(question[None])[0]
    assert maze_rules.is_shortest_path(question[None], right[None])[0]
    changes = {
        "a gap": (0, 1, FREE),
        "a cell besides": (4, 0, PATH),
        "path on a wall": (0, 4, PATH),
        "a wall removed": (1, 0, FREE),
        "no start": (0, 0, PATH),
        "padding": (4, 4, 0),
        "a second goal": (4, 4, GOAL),
    }
    for row, column, token in changes.values():
        wrong = right.copy()
        wrong[row, column] = token
        assert not maze_rules.is_shortest_path(question[None], wrong[None])[0]
    assert not maze_rules.is_shortest_path(question[None], question[None])[0]


def test_a_detour_is_no_shortest_path():
    question = board_of("S   G", " ### ", "     ", "#####", "#####")
    around = draw_path(question, [(1, 0), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (1, 4)])
    assert not maze_rules.is_shortest_path(question[None], around[None])[0]
    assert maze_rules.is_shortest_path(question[None], draw_path(question, [(0, 1), (0, 2), (0, 3)])[None])[0]


def test_text_round_trip():
    board = random_mazes(1, 7, seed=2)[0]
    text = maze_text.format_maze(board)
    np.testing.assert_array_equal(maze_text.parse_maze(text, "x"), board)
    lines = "\r\n".join(text[i : i + 7] for i in range(0, 49, 7)) + "\n"
    np.testing.assert_array_equal(maze_text.parse_maze(lines, "x"), board)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S G", "x: found 3 cells, expected n x n of them"),
        ("SG  " * 4, "x: found 16 cells"),
        ("S" + " " * 23 + "q", "x: cell 25 (row 5, column 5): found 'q', expected one of '#', ' ', 'S', 'G'"),
        ("S" + " " * 24, "x: found 1 cells 'S' and 0 cells 'G', expected one of each"),
        ("SGG" + " " * 22, "x: found 1 cells 'S' and 2 cells 'G'"),
    ],
)
def test_bad_mazes_are_named(text: str, message: str):
    with pytest.raises(InputError) as caught:
        maze_text.parse_maze(text, "x")
    assert message in str(caught.value)


# CSV files

QUESTION = "S   #" + "### #" + "#   G" + "#####" + "     "
ANSWER = "Sooo#" + "###o#" + "#  oG" + "#####" + "     "
WALLED = QUESTION.replace("### #", "#####")
HEADER = "source,question,answer,rating\n"


def test_mazes_each_followed_by_its_answer(table: Table, tmp_path: Path):
    mazes = zip(table.questions[:3], table.answers[:3], strict=True)
    (tmp_path / "x.txt").write_text("".join(f"{maze_text.format_maze(b)}\n" for maze in mazes for b in maze))
    found = maze_text.read_table(tmp_path / "x.txt")
    np.testing.assert_array_equal(found.questions, table.questions[:3])
    np.testing.assert_array_equal(found.answers, table.answers[:3])


@pytest.mark.parametrize("name", ["mazes.csv", "mazes.csv.gz"])
def test_csv_round_trip(tmp_path: Path, name: str):
    mazes = list(generate_many(7, 5, seed=0))
    assert maze_text.write_csv(tmp_path / name, "test", mazes) == 5
    table = maze_text.read_table(tmp_path / name)
    for column, field in zip(table, zip(*mazes, strict=True), strict=True):
        np.testing.assert_array_equal(column, field)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(QUESTION, ANSWER[:-1], 6)], "row 2: answer: found 24 cells"),
        ([(QUESTION[:-1], ANSWER[:-1], 6)], "row 2: found 24 cells"),
        ([(QUESTION, ANSWER, 6), (QUESTION * 4, ANSWER * 4, 6)], "row 3: found 4 cells 'S'"),
        ([(QUESTION, ANSWER, 6), (QUESTION[:-1] + "o", ANSWER, 6)], "row 3: question: cell 25 (row 5, column 5)"),
        ([(QUESTION, ANSWER, 6), (QUESTION, ANSWER[:-1] + "é", 6)], "row 3: answer: cell 25 (row 5, column 5)"),
        ([(QUESTION, ANSWER, 6), (QUESTION.replace("S", " "), ANSWER, 6)], "row 3: question: found 0 cells 'S'"),
        ([(WALLED, WALLED, 6)], "row 2: question: found no way"),
        ([(QUESTION, QUESTION, 6)], "row 2: answer: found 0 cells 'o', expected a shortest path from S to G, of 6"),
        ([(QUESTION, ANSWER[:-1] + "#", 6)], "row 2: answer: cell 25 (row 5, column 5): found '#', expected ' ' as in"),
        ([(QUESTION, ANSWER[:4] + "o" + ANSWER[5:], 6)], "cell 5 (row 1, column 5): found 'o', expected '#' as in"),
        ([(QUESTION, ANSWER[:-1] + "o", 6)], "row 2: answer: found 6 cells 'o'"),
    ],
)  # fmt: skip
def test_bad_csv_names_file_and_row(rows: list[tuple[str, str, int]], message: str, tmp_path: Path):
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + "".join(f"x,{question},{answer},{rating}\n" for question, answer, rating in rows))
    with pytest.raises(InputError) as caught:
        maze_text.read_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


# Builder


@pytest.fixture(scope="module")
def table() -> Table:
    return Table(*(np.array(column) for column in zip(*generate_many(8, 12, seed=4), strict=True)))


@pytest.mark.parametrize("labels", ["recompute", "rotate"])
def test_a_group_is_a_maze_in_eight_orientations(table: Table, labels: maze_build.Labels):
    puzzles = maze_build.build_split("x", table, augment=True, labels=labels)
    arrays = puzzles.sets["all"]
    np.testing.assert_array_equal(arrays.group_indices, np.arange(13) * 8)
    boards, answers = (field.reshape(12, 8, 8, 8) for field in (arrays.inputs, arrays.labels))
    np.testing.assert_array_equal(boards[:, 0], table.questions)
    np.testing.assert_array_equal(answers[:, 0], table.answers)
    for t in range(TRANSFORMS):
        np.testing.assert_array_equal(boards[:, t], transform(table.questions, t))
        expected = maze_rules.shortest_path(boards[:, t]) if labels == "recompute" else transform(table.answers, t)
        np.testing.assert_array_equal(answers[:, t], expected)
        assert maze_rules.is_shortest_path(boards[:, t], answers[:, t]).all()
    assert puzzles.metadata.kind == "maze"
    assert (puzzles.metadata.seq_len, puzzles.metadata.vocab_size, puzzles.metadata.total_puzzles) == (64, 6, 12)


def test_recomputed_labels_follow_the_rule_even_unturned(table: Table):
    others = maze_rules.shortest_path(table.questions, np.random.default_rng(0))
    assert (others != table.answers).any()
    found = maze_build.build(table._replace(answers=others), augment=False, labels="recompute").labels
    np.testing.assert_array_equal(found.reshape(table.answers.shape), table.answers)


# Generator


def test_trials_are_those_of_the_published_procedure():
    n, count = 6, 40_000
    boards = boards_of(draw_trials(np.random.default_rng(0), n, count))
    assert ((boards == START).sum(axis=(1, 2)) == 1).all()
    assert ((boards == GOAL).sum(axis=(1, 2)) == 1).all()
    # A share uniform in 30 to 50 % of 36 cells, rounded: 10.8 to 18.
    walls = np.bincount((boards == WALL).sum(axis=(1, 2)), minlength=20)
    shares = np.zeros(20)
    shares[11:19] = [0.7, 1, 1, 1, 1, 1, 1, 0.5]
    expected = shares / shares.sum() * len(boards)
    assert walls[shares == 0].sum() == 0
    used = shares > 0
    assert ((walls - expected)[used] ** 2 / expected[used]).sum() < 30
    # Given their number, every cell is as likely as any other to hold a wall, the start, the goal; and two neighbours.
    for token in (WALL, START, GOAL):
        per_cell = (boards == token).sum(axis=0)
        mean = per_cell.mean()
        assert ((per_cell - mean) ** 2 / mean).sum() < 80
    both = ((boards[:, :, 1:] == WALL) & (boards[:, :, :-1] == WALL)).mean()
    k = np.arange(20)
    assert abs(both - (expected / len(boards) * k * (k - 1) / (36 * 35)).sum()) < 0.002


@pytest.mark.parametrize("min_moves", [0, 5, 16, 17, 20])
def test_no_long_maze_is_dropped_and_no_short_one_stays(min_moves: int):
    trials = draw_trials(np.random.default_rng(1), 8, 4_000)
    before, after = boards_of(trials), boards_of(drop_short(trials, min_moves))
    long = before[maze_rules.count_moves(before) > min_moves]
    moves = maze_rules.count_moves(after)
    np.testing.assert_array_equal(after[moves > min_moves], long)
    assert len(long) > 0
    assert (moves[moves >= 0] > min_moves).all()


@pytest.mark.parametrize("unique", [False, True])
def test_generated_mazes_are_long_and_all_different(unique: bool):
    mazes = list(generate_many(9, 40, seed=0, min_moves=14, unique=unique))
    questions, answers = (np.array(field) for field in list(zip(*mazes, strict=True))[:2])
    assert (maze_rules.count_moves(questions) == [m.rating for m in mazes]).all()
    assert all(m.rating > 14 for m in mazes)
    assert maze_rules.is_shortest_path(questions, answers).all()
    ways = maze_rules.count_shortest_paths(questions)
    assert (ways == 1).all() if unique else (ways > 1).any()
    if not unique:
        np.testing.assert_array_equal(answers, maze_rules.shortest_path(questions))
    assert len({min(transform(q, t).tobytes() for t in range(TRANSFORMS)) for q in questions}) == 40


def test_generator_is_a_function_of_its_seed_alone():
    one, two, other = (
        [m.question.tolist() for m in generate_many(12, 30, seed, processes=processes)]
        for seed, processes in ((5, 1), (5, 2), (6, 1))
    )
    assert one == two != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "--size: found 4, expected 5 to 32"),
        ({"size": 33}, "--size: found 33"),
        ({"size": 5, "min_moves": -1}, "--min-moves: found -1, expected 0 to 15"),
        ({"size": 5, "min_moves": 16}, "--min-moves: found 16"),
    ],
)
def test_generator_refuses_what_cannot_be(options: dict, message: str):
    with pytest.raises(InputError) as caught:
        next(generate_many(count=1, seed=0, **options))
    assert message in str(caught.value)


def test_generator_gives_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trm.puzzles.kinds.maze.generate.PATIENCE", 3)
    with pytest.raises(InputError, match="--min-moves: found 15, expected fewer: 49,152 trials gave no maze"):
        next(generate_many(5, 1, seed=0, min_moves=15))
    monkeypatch.setattr("trm.puzzles.kinds.maze.generate.REPEATS", 5)
    with pytest.raises(InputError, match="--count: found 1000000, expected at most about"):
        for _ in generate_many(5, 1_000_000, seed=0, min_moves=12):
            pass
