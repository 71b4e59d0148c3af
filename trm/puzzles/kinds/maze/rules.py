"""Rules of mazes on a square board, and their labels. Entry: `is_shortest_path`, `shortest_path`, `find_wrong`.

A board is an (n, n) array of tokens: 1 to 5 for wall, free, start, goal and path, written `# SGo`; 0 is padding. A
question has one start, one goal and no path; its answer is the question with path on the inner cells of one shortest
path, in moves up, down, left and right. Random mazes have very many shortest paths: the label is the one that from the
start always takes the first of up, down, left, right that lies on a shortest path.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

MAZE_CHARACTERS = "# SGo"
"""Wall, free, start, goal, path: tokens 1 to 5."""
WALL, FREE, START, GOAL, PATH = range(1, len(MAZE_CHARACTERS) + 1)
SMALLEST = 5
"""Side of the smallest board; 4 x 4 has the size and vocabulary of a Sudoku."""

Board = Integer[np.ndarray, "n n"]
Boards = Integer[np.ndarray, "boards n n"]


# Paths
#
# All boards lie one after the other in one flat array, every row and every board followed by blocked cells: a step is
# an addition, and a step off a board ends on a blocked cell (off the first board, on the last cells of the array).


def _flatten(boards: Boards, outside: int) -> Integer[np.ndarray, " cells"]:
    return np.pad(boards, ((0, 0), (0, 1), (0, 1)), constant_values=outside).ravel()


def _unflatten(cells: Num[np.ndarray, " cells"], n: int) -> Num[np.ndarray, "boards n n"]:
    return cells.reshape(-1, n + 1, n + 1)[:, :n, :n]


def _steps(n: int) -> Integer[np.ndarray, "4"]:
    """Return what up, down, left and right add to the index of a cell."""
    return np.array([-(n + 1), n + 1, -1, 1])


def distances(boards: Boards, from_token: int) -> Boards:
    """Count the moves to each cell from the nearest one with a token; -1 where there is no way."""
    n = boards.shape[-1]
    unreached, blocked = -1, -2
    found = _flatten(np.where(boards > WALL, np.int32(unreached), np.int32(blocked)), blocked)
    front, moves = np.flatnonzero(_flatten(boards, WALL) == from_token), 0
    found[front] = moves
    while len(front):
        moves += 1
        waves = []
        # One direction after the other, so that no cell is entered twice.
        for step in _steps(n):
            cells = front + step
            cells = cells[found[cells] == unreached]
            found[cells] = moves
            waves.append(cells)
        front = np.concatenate(waves)
    return np.maximum(_unflatten(found, n), -1)


def count_moves(boards: Boards) -> Integer[np.ndarray, " boards"]:
    """Count the moves of a shortest path from start to goal on each board; -1 where there is none."""
    return np.where(boards == GOAL, distances(boards, START), -1).max(axis=(1, 2))


def _count_ways(moves: Integer[np.ndarray, " cells"], n: int) -> Float[np.ndarray, " cells"]:
    """Count the shortest paths to each cell from the cells at 0 moves."""
    order = np.argsort(moves, kind="stable")
    order = order[np.searchsorted(moves[order], 0) :]
    ways = np.zeros(len(moves))
    ends = np.flatnonzero(np.diff(moves[order], append=-1)) + 1
    for start, end in pairwise([0, *ends]):
        cells = order[start:end]
        before = cells[:, None] + _steps(n)
        nearer = moves[before] == moves[cells, None] - 1
        ways[cells] = np.where(nearer, ways[before], 0).sum(axis=1) if start else 1
    return ways


def count_shortest_paths(questions: Boards) -> Float[np.ndarray, " boards"]:
    """Count the shortest paths from start to goal of each maze; there may be more than 64-bit integers can count."""
    n = questions.shape[-1]
    ways = _count_ways(_flatten(distances(questions, START), -1), n)
    return np.where(questions == GOAL, _unflatten(ways, n), 0).sum(axis=(1, 2))


def shortest_path(questions: Boards, rng: np.random.Generator | None = None) -> Boards:
    """Answer mazes: from the start take always the first of up, down, left, right that lies on a shortest path.

    With `rng` take each shortest path with the same probability instead. A maze without any stays as it is.
    """
    n = questions.shape[-1]
    answers = _flatten(questions, WALL)
    ahead = _flatten(distances(questions, GOAL), -1)
    weights = np.ones(len(ahead)) if rng is None else _count_ways(ahead, n)
    cells = np.flatnonzero(answers == START)
    while len(cells := cells[ahead[cells] > 1]):
        choices = cells[:, None] + _steps(n)
        nearer = ahead[choices] == ahead[cells, None] - 1
        sums = np.cumsum(np.where(nearer, weights[choices], 0), axis=1)
        drawn = sums[:, -1] * (0 if rng is None else rng.random(len(cells)))
        cells = np.take_along_axis(choices, (sums > drawn[:, None]).argmax(axis=1)[:, None], axis=1)[:, 0]
        answers[cells] = PATH
    return _unflatten(answers, n)


def is_shortest_path(questions: Boards, answers: Boards) -> Bool[np.ndarray, " boards"]:
    """Return for each answer, whatever its tokens, whether it is the question with one of its shortest paths."""
    length = (answers == PATH).sum(axis=(1, 2)) + 1
    alone = np.where(answers >= START, answers, WALL)
    # Cells that connect start and goal, and are as few as that takes, are a path.
    return (
        ~misplaced(questions, answers).any(axis=(1, 2))
        & (count_moves(alone) == length)
        & (count_moves(questions) == length)
    )


def misplaced(questions: Boards, answers: Boards) -> Bool[np.ndarray, "boards n n"]:
    """Mark the cells where an answer differs from its question, other than by path on a free cell."""
    return (answers != questions) & ~((answers == PATH) & (questions == FREE))


def find_wrong(questions: Boards, answers: Boards) -> Bool[np.ndarray, "boards n n"]:
    """Mark misplaced cells of each answer, and path cells that lie on no shortest path."""
    through = distances(questions, START) + distances(questions, GOAL)
    astray = through != count_moves(questions)[:, None, None]
    return misplaced(questions, answers) | ((answers == PATH) & astray)
