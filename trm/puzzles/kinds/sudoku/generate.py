"""A Sudoku solver, and a generator of puzzles with exactly one solution. Entry: `solve`, `generate_many`."""

import time
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import count as count_from
from typing import NamedTuple

import numpy as np

from trm.errors import InputError
from trm.puzzles.kinds.sudoku.rules import Board, units
from trm.puzzles.kinds.tables import Puzzle
from trm.puzzles.processes import process_pool
from trm.puzzles.streams import Purpose, random_stream

SIZES = (4, 6, 9)
"""Sides of the boards that the generator makes."""

# Solver


@cache
def _peers(n: int) -> tuple[tuple[int, ...], ...]:
    cells_of = units(n)
    return tuple(
        tuple(sorted({int(c) for unit in cells_of if cell in unit for c in unit} - {cell})) for cell in range(n * n)
    )


class Solutions(NamedTuple):
    """Result of a search."""

    boards: list[Board]
    guesses: int
    """Cells with more than one candidate that were tried before the search ended."""
    complete: bool = True
    """Whether the search ended by itself; false: its time was up."""


def solve(
    question: Board, limit: int = 2, rng: np.random.Generator | None = None, budget_seconds: float | None = None
) -> Solutions:
    """Search for up to `limit` solutions, always at the cell with the fewest candidates.

    Digits are tried in random order with `rng`, else from the smallest. `budget_seconds` limits the time of the search.
    """
    n = question.shape[0]
    peers = _peers(n)
    candidates = [(1 << n) - 1] * (n * n)
    cells = [0] * (n * n)
    found: list[Board] = []
    guesses = nodes = 0
    complete = True
    end = None if budget_seconds is None else time.monotonic() + budget_seconds

    def place(cell: int, bit: int) -> list[int] | None:
        """Place a digit; return the peers that lost it, or None (and change nothing) when one has no candidate left."""
        lost = []
        for peer in peers[cell]:
            if not cells[peer] and candidates[peer] & bit:
                candidates[peer] ^= bit
                lost.append(peer)
                if not candidates[peer]:
                    for p in lost:
                        candidates[p] |= bit
                    return None
        cells[cell] = bit
        return lost

    def search() -> None:
        nonlocal guesses, nodes, complete
        nodes += 1
        if end is not None and nodes % 64 == 0 and time.monotonic() > end:
            complete = False
            return
        best, fewest = -1, n + 1
        for cell in range(n * n):
            if not cells[cell] and (count := candidates[cell].bit_count()) < fewest:
                best, fewest = cell, count
                if count == 1:
                    break
        if best < 0:
            found.append(np.array([bit.bit_length() for bit in cells]).reshape(n, n))
            return
        guesses += fewest > 1
        bits = [1 << d for d in range(n) if candidates[best] >> d & 1]
        for bit in rng.permutation(bits).tolist() if rng is not None else bits:
            lost = place(best, bit)
            if lost is not None:
                search()
                for peer in lost:
                    candidates[peer] |= bit
                cells[best] = 0
                if len(found) >= limit or not complete:
                    return

    for cell, digit in enumerate(question.ravel().tolist()):
        if digit:
            bit = 1 << (digit - 1)
            if not candidates[cell] & bit or place(cell, bit) is None:
                return Solutions([], 0)
    search()
    return Solutions(found, guesses, complete)


# Generator


def generate(size: int, seed: int, index: int, keep_clues: int = 0) -> Puzzle:
    """Make puzzle `index` of a seed: a random solved board, from which clues are removed while the solution stays
    unique.

    Ends at `keep_clues` clues, or when every clue is necessary. The rating is the number of guesses of `solve`.
    """
    rng = random_stream(seed, Purpose.SUDOKU, size, index)
    answer = solve(np.zeros((size, size), dtype=np.int64), limit=1, rng=rng).boards[0]
    question = answer.copy()
    for cell in rng.permutation(size * size).tolist():
        if np.count_nonzero(question) <= keep_clues:
            break
        row, column = divmod(cell, size)
        question[row, column] = 0
        if len(solve(question).boards) > 1:
            question[row, column] = answer[row, column]
    return Puzzle(question, answer, solve(question, limit=1).guesses)


def generate_many(size: int, count: int, seed: int, keep_clues: int = 0, processes: int = 1) -> Iterator[Puzzle]:
    """Yield `count` different puzzles, the same for any number of processes."""
    if size not in SIZES:
        raise InputError(f"--size: found {size}, expected one of {', '.join(map(str, SIZES))}")
    seen: set[bytes] = set()
    make = partial(generate, size, seed, keep_clues=keep_clues)

    repeats = 0

    def different(puzzles: Iterable[Puzzle]) -> Iterator[Puzzle]:
        nonlocal repeats
        for puzzle in puzzles:
            if len(seen) == count:
                return
            code = puzzle.question.astype(np.uint8).tobytes()
            repeats = repeats + 1 if code in seen else 0
            if repeats > 1_000:
                raise InputError(f"--count: found {count}, expected at most about {len(seen)}: no new puzzle was found")
            if code not in seen:
                seen.add(code)
                yield puzzle

    if processes == 1:
        yield from different(map(make, count_from()))
        return
    with process_pool(processes) as pool:
        start, chunk = 0, max(64, min(1024, count // processes))
        while len(seen) < count:
            yield from different(pool.map(make, range(start, start + chunk), chunksize=16))
            start += chunk
