"""Online augmentation: the distribution of stored augmentation, as a function of seed and step."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import rules as sudoku_rules
from trm.puzzles.kinds.tables import Table
from trm.puzzles.loader import HostBatch, TrainLoader
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import write_puzzle_set

SOLVED = np.array([[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]])
ONE_CLUE = np.where(np.arange(16).reshape(4, 4) == 0, SOLVED, 0)


def one_puzzle() -> PuzzleSet:
    table = Table(ONE_CLUE[None], SOLVED[None], np.array([0]))
    return sudoku_build.build_split("x", table, np.random.default_rng(0), online_augmentation=True)


def draw_rows(puzzles: PuzzleSet, batches: int) -> Counter[bytes]:
    loader = TrainLoader(puzzles, 100, seed=0)
    drawn = [loader.load(step) for step in range(batches)]
    return Counter(row.tobytes() for batch in drawn for row in np.concatenate([batch.inputs, batch.labels], axis=1))


def all_rearrangements() -> Counter[bytes]:
    """Apply every symmetry of a 4x4 board, one after the other."""
    lines = [
        [2 * band + line for band, order in zip(bands, orders, strict=True) for line in order]
        for bands in ((0, 1), (1, 0))
        for orders in itertools.product(((0, 1), (1, 0)), repeat=2)
    ]
    found: Counter[bytes] = Counter()
    for digits in itertools.permutations(range(1, 5)):
        new = np.array([0, *digits])
        for transposed, rows, columns in itertools.product((False, True), lines, lines):
            boards = [board.T if transposed else board for board in (ONE_CLUE, SOLVED)]
            tokens = [new[board][rows][:, columns].ravel() + 1 for board in boards]
            found[np.concatenate(tokens).astype(np.int32).tobytes()] += 1
    return found


@pytest.mark.slow
def test_all_symmetries_are_drawn_equally_often():
    """That is what a stored set comes to when it has endlessly many augmentations."""
    expected, found = all_rearrangements(), draw_rows(one_puzzle(), batches=400)
    assert found.keys() == expected.keys()
    draws, symmetries = found.total(), expected.total()
    mean = {board: draws * count / symmetries for board, count in expected.items()}
    # A chi-squared test, at five standard deviations.
    statistic = sum((found[board] - mean[board]) ** 2 / mean[board] for board in expected)
    freedom = len(expected) - 1
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


def test_question_and_answer_move_together(tables: dict[str, Table]):
    puzzles = sudoku_build.build_split("x", tables["train"], np.random.default_rng(0), online_augmentation=True)
    batch = TrainLoader(puzzles, 64, seed=0).load(0)
    boards = (tokens.reshape(-1, 4, 4) - 1 for tokens in (batch.inputs, batch.labels))
    assert sudoku_rules.obeys_rules(*boards).all()
    assert len({row.tobytes() for row in batch.inputs}) > 40


def test_processes_see_slices_of_one_batch(tables: dict[str, Table]):
    puzzles = sudoku_build.build_split("x", tables["train"], np.random.default_rng(0), online_augmentation=True)
    whole = TrainLoader(puzzles, 6, seed=0)
    parts = [TrainLoader(puzzles, 6, seed=0, process=i, processes=3) for i in range(3)]
    for step in (0, 1, 7):
        joined = HostBatch(*(np.concatenate(f) for f in zip(*(p.load(step) for p in parts), strict=True)))
        for a, b in zip(whole.load(step), joined, strict=True):
            np.testing.assert_array_equal(a, b)
    again = TrainLoader(puzzles, 6, seed=0).load(7)
    np.testing.assert_array_equal(whole.load(7).inputs, again.inputs)


def test_a_set_on_disk_says_so(tmp_path: Path):
    write_puzzle_set(tmp_path / "set", {"train": one_puzzle()})
    read = read_puzzle_set(tmp_path / "set", "train")
    assert read.metadata.online_augmentation
    assert len(draw_rows(read, 1)) > 50


def test_padding_on_a_board_stays_padding():
    puzzles = one_puzzle()
    arrays = puzzles.sets["all"]
    padded = dataclasses.replace(arrays, inputs=np.zeros_like(arrays.inputs))
    batch = TrainLoader(dataclasses.replace(puzzles, sets={"all": padded}), 8, seed=0).load(0)
    assert (batch.inputs == 0).all()
    assert sudoku_rules.obeys_rules(np.zeros((8, 4, 4), int), batch.labels.reshape(-1, 4, 4) - 1).all()
