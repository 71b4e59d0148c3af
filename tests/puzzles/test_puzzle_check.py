"""Checking a puzzle set: a right one passes, and of a wrong one the first wrong row is named."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.check import check_puzzle_set, checksums, read_splits, token_histogram
from trm.puzzles.kinds.arc import sources as arc_sources
from trm.puzzles.kinds.arc.build import Subset, build
from trm.puzzles.kinds.arc.draws import SeededDraws
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import write_puzzle_set

ORIGINALS = ["sudoku_small/dataset", "maze_small/dataset", "maze_small/dataset_subsample", "arc_small/dataset"]


@pytest.mark.parametrize("folder", ORIGINALS)
def test_sets_that_the_original_wrote_are_right(folder: str):
    lines = list(check_puzzle_set(GOLDEN / folder))
    assert len(lines) == 4


def change_token(directory: Path, split: str, field: str, example: int, cell: int | slice, token: int) -> None:
    path = directory / split / f"all__{field}.npy"
    array = np.load(path)
    array[example, cell] = token
    np.save(path, array)


@pytest.mark.parametrize(
    ("folder", "field", "cell", "token", "message"),
    [
        ("sudoku_small/dataset", "inputs", 5, 11, "inputs: example 3: found token 11, expected 0 to 10"),
        (
            "sudoku_small/dataset",
            "inputs",
            5,
            0,
            "all: example 3: found an example that breaks the rules, expected a solved Sudoku",
        ),
        (
            "sudoku_small/dataset",
            "labels",
            80,
            1,
            "all: example 3: found an example that breaks the rules, expected a solved Sudoku",
        ),
        (
            "maze_small/dataset",
            "labels",
            0,
            5,
            "all: example 3: found an example that breaks the rules, expected a shortest path",
        ),
        (
            "arc_small/dataset",
            "inputs",
            899,
            2,
            "all: example 3: found an example that breaks the rules, expected one rectangle of colours",
        ),
        (
            "arc_small/dataset",
            "labels",
            899,
            1,
            "all: example 3: found an example that breaks the rules, expected one rectangle of colours",
        ),
        (
            "arc_small/dataset",
            "labels",
            slice(None),
            0,
            "all: example 3: found an example that breaks the rules, expected one rectangle of colours",
        ),
        ("arc_small/dataset", "labels", slice(None), 2, ""),
    ],
)
def test_a_wrong_token_is_named(folder: str, field: str, cell: int | slice, token: int, message: str, tmp_path: Path):
    target = shutil.copytree(GOLDEN / folder, tmp_path / "set")
    change_token(target, "train", field, 3, cell, token)
    if not message:
        # A grid that fills its frame needs no markers.
        assert list(check_puzzle_set(target))
        return
    with pytest.raises(InputError) as caught:
        list(check_puzzle_set(target))
    assert message in str(caught.value)
    assert str(target / "train") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_groups": 21}, "dataset.json: total_groups: found 21, expected 20"),
        ({"total_puzzles": 21}, "dataset.json: total_puzzles: found 21, expected 20 or 80"),
        ({"mean_puzzle_examples": 2.0}, "dataset.json: mean_puzzle_examples: found 2.0, expected 1.0"),
        ({"num_puzzle_identifiers": 3}, "identifiers.json: found 1 names, expected 3"),
    ],
)
def test_counts_that_do_not_fit_are_named(changes: dict, message: str, puzzle_dir: Path, tmp_path: Path):
    train = read_puzzle_set(puzzle_dir, "train")
    metadata = dataclasses.replace(train.metadata, **changes)
    write_puzzle_set(tmp_path / "set", {"train": dataclasses.replace(train, metadata=metadata)})
    with pytest.raises(InputError) as caught:
        list(check_puzzle_set(tmp_path / "set"))
    assert message in str(caught.value)


def test_histogram_and_checksums(tmp_path: Path):
    inputs, labels = np.array([[0, 1], [1, 2]]), np.array([[2, 2], [2, 2]])
    for name in ("a", "b"):
        write_puzzle_set(tmp_path / name, {"test": PuzzleSet.from_arrays(inputs, labels, vocab_size=4)})
    counts = token_histogram(read_splits(tmp_path / "a")[0])
    assert {field: count.tolist() for field, count in counts.items()} == {
        "inputs": [1, 2, 1, 0],
        "labels": [0, 0, 4, 0],
    }
    found = checksums(tmp_path / "a")
    assert found == checksums(tmp_path / "b")
    assert sorted(found)[:2] == ["identifiers.json", "test/all__group_indices.npy"]
    assert found["identifiers.json"][0] == len('["<blank>"]')
    assert list(check_puzzle_set(tmp_path / "a"))[-1].endswith("all lie in the vocabulary")


@pytest.mark.parametrize("token", [-100, 4])
def test_tokens_that_are_none_are_named(token: int, tmp_path: Path):
    write_puzzle_set(
        tmp_path, {"test": PuzzleSet.from_arrays(np.ones((2, 3), int), np.ones((2, 3), int), vocab_size=4)}
    )
    np.save(tmp_path / "test" / "all__labels.npy", np.array([[1, 1, 1], [1, token, 1]]))
    with pytest.raises(InputError, match=rf"test: labels: found token {token}, expected 0 to 3"):
        token_histogram(read_splits(tmp_path)[0])


def test_a_folder_without_a_split(tmp_path: Path):
    with pytest.raises(InputError, match="found neither train/ nor test/"):
        read_splits(tmp_path)


def test_names_that_say_something_else(tmp_path: Path):
    tasks = arc_sources.read_subset(str(GOLDEN / "arc_small" / "source" / "arc"), "evaluation")
    build(tmp_path / "set", [Subset("evaluation", tasks, True)], 3, SeededDraws(0), compact=True)
    assert len(list(check_puzzle_set(tmp_path / "set"))) == 4
    path = tmp_path / "set" / "test" / "all__colors.npy"
    colors = np.load(path)
    for row, wrong in ((0, [0, 2, 1, 3, 4, 5, 6, 7, 8, 9]), (2, colors[1]), (3, np.zeros(10))):
        changed = colors.copy()
        changed[row] = wrong
        np.save(path, changed)
        with pytest.raises(
            InputError, match=rf"test: all: puzzle {row}: found t\d\|\|\|\d+, expected the augmentation in its name"
        ):
            list(check_puzzle_set(tmp_path / "set"))
