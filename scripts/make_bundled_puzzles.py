"""Make the 6x6 Sudokus that come with the package, so that no test puzzle equals a training puzzle up to a symmetry.

    python scripts/make_bundled_puzzles.py OUT_DIR

Two puzzles are the same when a symmetry (digits, bands, rows, stacks, columns) maps one to the other. Every puzzle is
brought to a canonical form, the least of all 3,456 rearrangements with digits numbered in order of appearance, and only
one of each form is kept. The bundled files were made with the random numbers of revision d54c609.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.sudoku.symmetries import canonical_forms
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
        (form,) = map(bytes, canonical_forms(puzzle.question[None]))
        if form not in seen:
            seen.add(form)
            yield puzzle


if __name__ == "__main__":
    typer.run(main)
