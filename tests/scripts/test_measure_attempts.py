"""The measurement of attempts: its records count what a solver finds, and puzzles can be left out."""

import csv
import gzip
from pathlib import Path

import measure_attempts
import pytest
from records import read_records

import trm
from trm.errors import InputError

BUNDLED = Path(trm.__file__).parent / "puzzles" / "bundled" / "sudoku-6x6-test.csv.gz"


@pytest.fixture(scope="module")
def boards() -> list[str]:
    """Some 6x6 Sudokus, the last of which the bundled network cannot solve: no Sudoku has that answer."""
    with gzip.open(BUNDLED, "rt", encoding="utf-8") as lines:
        solvable = [line["question"] for line, _ in zip(csv.DictReader(lines), range(4), strict=False)]
    return [*solvable, "11" + "." * 34]


def measure(file: Path, out: Path, **options: int) -> None:
    values = {"puzzles": 64, "skip": 0, "attempts": 2, "guesses": 0} | options
    measure_attempts.main(
        "sudoku-6x6",
        file,
        name="boards",
        views=True,
        noise=0.0,
        noise_on="both",
        noise_at="start",
        json_out=out,
        **values,
    )


@pytest.mark.slow
def test_records_count_the_puzzles_that_are_solved(boards: list[str], tmp_path: Path):
    file, out = tmp_path / "boards.txt", tmp_path / "attempts.jsonl"
    file.write_text("\n".join(boards) + "\n", encoding="utf-8")
    measure(file, out)
    measure(file, out, skip=3)
    measure(file, out, puzzles=4)
    last = {(r.case.get("skip", 0), r.case["count"]): r for r in read_records(out)}
    solved = [trm.load("sudoku-6x6").solve(board, attempts=2).valid is True for board in boards[:4]]
    assert sum(solved) >= 3, "the bundled network solves nearly all of them"
    assert {key: record.figures["solved"] for key, record in last.items()} == {
        (0, 5): sum(solved),
        (3, 2): sum(solved[3:]),
        (0, 4): sum(solved),
    }
    assert all(record.case["attempts"] <= 2 for record in last.values())


def test_nothing_left_is_one_line(boards: list[str], tmp_path: Path):
    file = tmp_path / "boards.txt"
    file.write_text("\n".join(boards) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"boards\.txt: found no puzzle after the first 5, expected more"):
        measure(file, tmp_path / "attempts.jsonl", skip=5)
