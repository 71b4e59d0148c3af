"""Writing puzzle sets: from arrays, a few rows at a time, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import TokenFiles, new_puzzle_set, write_puzzle_set

INPUTS = np.arange(12).reshape(6, 2) % 5
LABELS = (INPUTS + 1) % 5


def test_arrays_become_a_puzzle_set(tmp_path: Path):
    split = PuzzleSet.from_arrays(
        INPUTS,
        LABELS,
        vocab_size=5,
        puzzles=np.array([0, 0, 1, 2, 2, 3]),
        groups=np.array([0, 0, 1, 1]),
        puzzle_identifiers=np.array([3, 4, 5, 6]),
        ratings=np.array([7, 300]),
    )
    write_puzzle_set(tmp_path / "set", {"train": split}, [f"name {i}" for i in range(7)])
    read = read_puzzle_set(tmp_path / "set", "train")
    assert read.metadata == split.metadata
    assert read.metadata.kind == "other"
    assert (read.metadata.num_puzzle_identifiers, read.metadata.mean_puzzle_examples) == (7, 1.5)
    arrays = read.sets["all"]
    assert arrays.puzzle_indices.tolist() == [0, 2, 3, 5, 6]
    assert arrays.group_indices.tolist() == [0, 2, 4]
    assert np.asarray(arrays.ratings).tolist() == [7, 300]
    np.testing.assert_array_equal(arrays.inputs, INPUTS)
    np.testing.assert_array_equal(arrays.labels, LABELS)


def test_every_example_is_a_puzzle_where_nothing_is_said():
    arrays = PuzzleSet.from_arrays(INPUTS, LABELS, vocab_size=5).sets["all"]
    assert arrays.puzzle_indices.tolist() == arrays.group_indices.tolist() == list(range(7))
    assert arrays.puzzle_identifiers.tolist() == [0] * 6
    assert arrays.ratings is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS[:5]}, "inputs and labels: found shapes (6, 2) and (5, 2)"),
        ({"inputs": INPUTS[:0], "labels": LABELS[:0]}, "inputs and labels: found shapes (0, 2) and (0, 2)"),
        ({"vocab_size": 4}, "inputs: example 2: found token 4, expected 0 to 3"),
        ({"vocab_size": 300}, "vocab_size: found 300, expected 2 to 256"),
        ({"inputs": INPUTS + 0.7}, "inputs: found float64, expected integers"),
        ({"labels": LABELS - 1}, "labels: example 2: found token -1, expected 0 to 4"),
        ({"puzzles": np.array([0, 1])}, "puzzles: found shape (2,), expected (6,)"),
        ({"puzzles": np.array([0, 0, 2, 2, 3, 3])}, "puzzles: row 2: found 2 after 0"),
        ({"puzzles": np.array([1, 1, 1, 1, 1, 1])}, "puzzles: row 0: found 1 after nothing"),
        ({"puzzles": np.array([-1, 0, 0, 0, 0, 0])}, "puzzles: row 0: found -1 after nothing"),
        ({"groups": np.array([0, 1, 0, 1, 2, 3])}, "groups: row 2: found 0 after 1"),
        ({"puzzle_identifiers": np.array([1])}, "puzzle_identifiers: found 1, expected 6"),
        ({"ratings": np.full(6, 0.5)}, "ratings: found float64, expected integers"),
        ({"ratings": np.array([1])}, "ratings: found shape (1,), expected (6,)"),
        ({"puzzle_identifiers": np.array([1] * 6), "num_puzzle_identifiers": 1}, "found 1 to 1, expected 0 to 0"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict, message: str):
    with pytest.raises(InputError) as caught:
        PuzzleSet.from_arrays(**{"inputs": INPUTS, "labels": LABELS, "vocab_size": 5} | changes)
    assert message in str(caught.value)


def test_rows_can_be_written_in_any_order(tmp_path: Path):
    files = TokenFiles.create(tmp_path / "train", "all", 6, 2)
    files.write(4, INPUTS[4:], LABELS[4:])
    files.write(0, INPUTS[:4], LABELS[:4])
    np.testing.assert_array_equal(np.load(tmp_path / "train" / "all__inputs.npy"), INPUTS)
    np.testing.assert_array_equal(np.load(tmp_path / "train" / "all__labels.npy"), LABELS)


def test_nothing_is_left_when_a_streamed_set_fails(tmp_path: Path):
    def fill_the_disk() -> None:
        with new_puzzle_set(tmp_path / "set") as folder:
            files = TokenFiles.create(folder / "train", "all", 6, 2)
            files.write(0, INPUTS, LABELS)
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="cannot write: No space left on device"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def test_only_what_the_original_knows_is_said_where_nothing_else_is_to_say(tmp_path: Path):
    """The original's format, field by field."""
    split = PuzzleSet.from_arrays(INPUTS, LABELS, vocab_size=5)
    write_puzzle_set(tmp_path / "set", {"train": split})
    written = json.loads((tmp_path / "set" / "train" / "dataset.json").read_text())
    assert written == {
        "pad_id": 0,
        "ignore_label_id": 0,
        "blank_identifier_id": 0,
        "vocab_size": 5,
        "seq_len": 2,
        "num_puzzle_identifiers": 1,
        "total_groups": 6,
        "mean_puzzle_examples": 1.0,
        "total_puzzles": 6,
        "sets": ["all"],
        "kind": "other",
    }
    assert json.loads((tmp_path / "set" / "identifiers.json").read_text()) == ["<blank>"]
