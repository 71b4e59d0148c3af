"""A generator of hard mazes. Entry: `generate_many`.

The published procedure: the share of walls is uniform in 30 to 50 %, the walls are uniform over the cells, start and
goal over the free ones, and a maze is kept when its shortest path has more than a given number of moves. With 30 x 30
cells and 110 moves that is one trial in 75,000: many boards are searched at once, each row of a board in the bits of a
word.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import cache, partial
from itertools import count as count_from
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from trm.errors import InputError
from trm.puzzles.kinds.dihedral import TRANSFORMS, transform
from trm.puzzles.kinds.maze.rules import (
    FREE,
    GOAL,
    PATH,
    START,
    WALL,
    Boards,
    count_moves,
    distances,
    shortest_path,
)
from trm.puzzles.kinds.tables import Puzzle
from trm.puzzles.processes import process_pool
from trm.puzzles.streams import Purpose, seed_sequence

SIZES = range(5, 33)
"""Sides of the boards that the generator makes: a row fits into a word."""
WALL_SHARE = 0.3, 0.5

BLOCK = 16_384
"""Boards drawn from one stream of random numbers: many, because every call of NumPy has a fixed cost."""
PATIENCE = 5_000
"""Blocks without a new maze after which the generator gives up; about a minute on one core."""
REPEATS = 1_000
"""Repeated mazes in a row after which the generator gives up."""

# Trials

Bits = Integer[np.ndarray, "rows trials"]
"""Boards as bits, one in each column: bit j of word i is the cell in row i, column j."""


class Trials(NamedTuple):
    """Random boards, some of which may be mazes."""

    free: Bits
    """Cells without a wall, start and goal among them."""
    starts: Bits
    goals: Bits


def draw_trials(rng: np.random.Generator, n: int, count: int) -> Trials:
    """Draw an even number of boards and drop some, so that the rest have the distribution of the published procedure.

    Start and goal are drawn before the walls of the other cells, which does not change the distribution. Every cell is
    a wall with the same probability, so all arrangements of a given number of walls are equally likely. A board is
    dropped with a probability that depends on its number of walls, which gives that number the right distribution.
    """
    first = rng.integers(n * n, size=count)
    second = (first + rng.integers(1, n * n, size=count)) % (n * n)
    starts, goals = (np.zeros((n, count), np.uint32) for _ in range(2))
    for bits, cells in ((starts, first), (goals, second)):
        bits[cells // n, np.arange(count)] = np.uint32(1) << (cells % n).astype(np.uint32)

    # Every cell draws a number of a few bits and is a wall if it is below the board's threshold. From the lowest bit
    # to the highest, for a row at a time: where only the threshold has a bit the number is below, where only the number
    # has it, it is not. `drawn` holds the opposite of the number's bits, which are as random.
    walls = np.zeros((n, count), np.uint32)
    thresholds = rng.choice(_THRESHOLDS, count)
    # Two words at a time: NumPy draws 64 bits as fast as 32.
    drawn_bits = rng.integers(2**64, size=(_BITS, n, count // 2), dtype=np.uint64).view(np.uint32)
    for bit, drawn in enumerate(drawn_bits):
        below = walls | drawn
        below &= np.where(thresholds >> bit & 1, ~np.uint32(0), np.uint32(0))
        walls &= drawn
        walls |= below

    free = ~walls & np.uint32(2**n - 1) | starts | goals
    free_cells = np.bitwise_count(free).sum(axis=0, dtype=np.intp)
    kept = rng.random(count) < _keep_probability(n)[n * n - free_cells]
    return Trials(*(bits.compress(kept, axis=1) for bits in (free, starts, goals)))


_BITS = 5
_THRESHOLDS = np.arange(9, 18)
"""Probabilities of a wall, in units of 2 ** -_BITS: together they make 30 to 50 % about equally likely."""


@cache
def _keep_probability(n: int) -> Float[np.ndarray, " counts"]:
    """Return the probability of keeping a board, by its number of walls, that makes the share of walls uniform."""
    cells = n * n - 2
    walls = np.arange(cells + 1)
    log_factorial = np.array([math.lgamma(k + 1) for k in walls])
    log_arrangements = log_factorial[-1] - log_factorial - log_factorial[::-1]
    p = _THRESHOLDS[:, None] / 2**_BITS
    drawn = np.exp(log_arrangements + walls * np.log(p) + (cells - walls) * np.log1p(-p)).sum(axis=0)
    low, high = (share * n * n for share in WALL_SHARE)
    wanted = np.maximum(np.minimum(walls + 0.5, high) - np.maximum(walls - 0.5, low), 0)
    ratio = np.divide(wanted, drawn, out=np.zeros(len(walls)), where=wanted > 0)
    return ratio / ratio.max()


def drop_short(trials: Trials, min_moves: int) -> Trials:
    """Drop boards whose goal is reached in `min_moves` moves, and most of those where it is out of reach.

    A move changes the parity of a cell's row plus column. So the cells that 0, 2, 4, ... up to k moves reach have as
    free neighbours just those that 1, 3, 5, ... up to k + 1 moves reach: no record of visited cells is needed.
    """
    free, starts, goals = trials
    now, before, shifted = starts.copy(), np.zeros_like(starts), np.empty_like(starts)
    for moves in range(1, min_moves + 1):
        checked = moves % _CHECK_EVERY == 0 or moves == min_moves
        two_before = before.copy() if checked else before
        now, before = before, now
        np.left_shift(before, np.uint32(1), out=now)
        np.right_shift(before, np.uint32(1), out=shifted)
        now |= shifted
        now[1:] |= before[:-1]
        now[:-1] |= before[1:]
        now &= free
        if checked:
            grows = (now != two_before).any(axis=0)
            undecided = grows & ~((now | before) & goals).any(axis=0)
            free, starts, goals, now, before = (
                bits.compress(undecided, axis=1) for bits in (free, starts, goals, now, before)
            )
            shifted = np.empty_like(now)
    return Trials(free, starts, goals)


_CHECK_EVERY = 16


def boards_of(trials: Trials) -> Boards:
    """Return the boards as tokens."""
    n = len(trials.free)
    columns = np.arange(n, dtype=np.uint32)
    free, starts, goals = (bits.T[:, :, None] >> columns & 1 for bits in trials)
    return np.select([starts > 0, goals > 0, free > 0], [START, GOAL, FREE], WALL).astype(np.uint8)


# Mazes


def keep_one_path(questions: Boards, answers: Boards) -> Boards:
    """Put a wall on every cell of other shortest paths than the answer's, which leaves the answer's only."""
    there, back = distances(questions, START), distances(questions, GOAL)
    on_some_path = (there >= 0) & (there + back == count_moves(questions)[:, None, None])
    return np.where(on_some_path & (questions == FREE) & (answers != PATH), np.uint8(WALL), questions)


def generate(size: int, min_moves: int, unique: bool, seed: int, block: int) -> list[Puzzle]:
    """Make the mazes of one block of trials, perhaps none: a function of seed and block number."""
    rng = np.random.Generator(np.random.SFC64(seed_sequence(seed, Purpose.MAZE, size, block)))
    questions = boards_of(drop_short(draw_trials(rng, size, BLOCK), min_moves))
    moves = count_moves(questions)
    questions, moves = questions[moves > min_moves], moves[moves > min_moves]
    answers = shortest_path(questions, rng if unique else None)
    if unique:
        questions = keep_one_path(questions, answers)
        answers = np.where(answers == PATH, answers, questions)
    return [Puzzle(*maze) for maze in zip(questions, answers, moves.tolist(), strict=True)]


def generate_many(
    size: int, count: int, seed: int, min_moves: int | None = None, unique: bool = False, processes: int = 1
) -> Iterator[Puzzle]:
    """Yield `count` mazes, the same for any number of processes, no two equal up to rotation and reflection.

    Shortest paths have more than `min_moves` moves; default: 110 for 30 x 30, in proportion to the cells for other
    sizes. With `unique` one shortest path, drawn uniformly, is kept, and walls on the cells of the others make it the
    only one; without, the rule in `trm.puzzles.kinds.maze.rules` chooses the answer. The rating is the number of moves.

    Raises InputError for a size or number of moves out of range, and when no new maze is found.
    """
    if size not in SIZES:
        raise InputError(f"--size: found {size}, expected {SIZES[0]} to {SIZES[-1]}")
    if min_moves is None:
        min_moves = round(110 * (size / 30) ** 2)
    free_cells = size * size - int(np.flatnonzero(_keep_probability(size))[0])
    if not 0 <= min_moves <= free_cells - 2:
        raise InputError(f"--min-moves: found {min_moves}, expected 0 to {free_cells - 2} for --size {size}")
    seen: set[bytes] = set()
    repeats = fruitless = 0
    with closing(_in_order(partial(generate, size, min_moves, unique, seed), processes)) as blocks:
        while len(seen) < count:
            fruitless += 1
            for maze in next(blocks):
                code = min(transform(maze.question, t).tobytes() for t in range(TRANSFORMS))
                repeats = repeats + 1 if code in seen else 0
                if code not in seen:
                    seen.add(code)
                    fruitless = 0
                    yield maze
                if len(seen) == count:
                    return
            if fruitless == PATIENCE and not seen:
                raise InputError(
                    f"--min-moves: found {min_moves}, expected fewer: {PATIENCE * BLOCK:,} trials gave no maze"
                )
            if fruitless == PATIENCE or repeats > REPEATS:
                raise InputError(f"--count: found {count}, expected at most about {len(seen)}: no new maze was found")


def _in_order(make: Callable[[int], list[Puzzle]], processes: int) -> Generator[list[Puzzle], None, None]:
    """Yield `make(0)`, `make(1)`, `make(2)`, ... without end."""
    if processes == 1:
        yield from map(make, count_from())
    with process_pool(processes) as pool:
        jobs = (pool.submit(make, block) for block in count_from())
        ahead = deque(islice(jobs, 4 * processes))
        while True:
            ahead.append(next(jobs))
            yield ahead.popleft().result()
