"""Make the 6x6 Sudokus that come with the package, so that no test puzzle is a training puzzle in disguise.

    python scripts/make_bundled_puzzles.py OUT_DIR

Two puzzles are the same when a symmetry (digits, bands, rows, stacks, columns) takes one to the other. Every puzzle is
brought to a canonical form, the least of all 3,456 rearrangements with digits renamed in order of appearance, and only
one of each form is kept.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku import rules as sudoku_rules
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.tables import Puzzle

SIZE, CLUES, SEED, TRAIN, TEST = 6, 16, 1, 1000, 500


def main(out: Annotated[Path, typer.Argument(help="Directory to write to.")]) -> None:
    """Write sudoku-6x6-train.csv.gz and sudoku-6x6-test.csv.gz."""
    puzzles = list(itertools.islice(different_puzzles(), TRAIN + TEST))
    for split, part in (("train", puzzles[:TRAIN]), ("test", puzzles[TRAIN:])):
        sudoku_text.write_csv(out / f"sudoku-6x6-{split}.csv.gz", "generated", part)


def different_puzzles() -> Iterator[Puzzle]:
    """Yield puzzles of which no two are the same up to a symmetry."""
    seen: set[bytes] = set()
    for puzzle in sudoku_generator.generate_many(SIZE, 100 * (TRAIN + TEST), SEED, CLUES):
        form = canonical_form(puzzle.question)
        if form not in seen:
            seen.add(form)
            yield puzzle


def canonical_form(question: sudoku_rules.Board) -> bytes:
    """Return what all puzzles that are the same up to a symmetry have in common."""
    rows, columns = line_orders(*sudoku_rules.box_shape(SIZE))
    boards = question[rows][:, :, columns].transpose(0, 2, 1, 3).reshape(-1, SIZE * SIZE)
    renamed = np.zeros_like(boards)
    names = np.zeros((len(boards), SIZE + 1), dtype=boards.dtype)
    next_name = np.ones(len(boards), dtype=boards.dtype)
    every = np.arange(len(boards))
    for cell in range(SIZE * SIZE):
        digits = boards[:, cell]
        new = (digits > 0) & (names[every, digits] == 0)
        names[every[new], digits[new]] = next_name[new]
        next_name[new] += 1
        renamed[:, cell] = names[every, digits]
    least = np.lexsort(renamed.T[::-1])[0]
    return renamed[least].astype(np.uint8).tobytes()


def line_orders(box_rows: int, box_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every order of the rows, and of the columns, that permutes bands and the lines within them."""

    def orders(per_band: int) -> np.ndarray:
        bands = SIZE // per_band
        within = list(itertools.permutations(range(per_band)))
        return np.array(
            [
                [band * per_band + line for band, lines in zip(order, choice, strict=True) for line in lines]
                for order in itertools.permutations(range(bands))
                for choice in itertools.product(within, repeat=bands)
            ]
        )

    return orders(box_rows), orders(box_columns)


if __name__ == "__main__":
    typer.run(main)
