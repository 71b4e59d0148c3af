"""Validation puzzles and fingerprints of puzzle sets."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.identity import fingerprint
from trm.puzzles.reading import read_puzzle_set, read_puzzle_sets
from trm.puzzles.validation import hold_back


def groups_of(puzzles: PuzzleSet) -> list[list[bytes]]:
    """Return the inputs of every group, puzzle after puzzle."""
    groups = []
    for arrays in puzzles.sets.values():
        for first, end in zip(arrays.group_indices[:-1], arrays.group_indices[1:], strict=True):
            rows = arrays.inputs[arrays.puzzle_indices[first] : arrays.puzzle_indices[end]]
            groups.append([row.tobytes() for row in rows])
    return groups


@pytest.mark.parametrize("sets", [1, 2])
def test_groups_are_trained_on_or_held_back(puzzle_dir: Path, sets: int):
    puzzles = read_puzzle_sets([puzzle_dir] * sets, "train")
    everything = groups_of(puzzles)
    kept, validation = hold_back(puzzles, 6, seed=1)
    # Each group once: whole where it is trained on, its original where it is held back.
    originals = {group[0]: group for group in everything}
    held = groups_of(validation)
    assert len(held) == 6
    assert all(len(group) == 1 for group in held)
    expected = groups_of(kept) + [originals[group[0]] for group in held]
    assert sorted(expected) == sorted(everything)
    assert kept.metadata.total_groups == 20 * sets - 6
    assert kept.metadata.examples_per_epoch == 20 * sets - 6
    assert validation.examples == 6
    # By chance, and by the seed alone.
    assert groups_of(hold_back(puzzles, 6, seed=1)[1]) == held
    assert groups_of(hold_back(puzzles, 6, seed=2)[1]) != held
    with pytest.raises(InputError, match=rf"data\.validation: found {20 * sets}, expected fewer than the {20 * sets}"):
        hold_back(puzzles, 20 * sets, seed=1)


def test_labels_ratings_and_identifiers_go_with_their_puzzles(puzzle_dir: Path):
    puzzles = read_puzzle_set(puzzle_dir, "train")
    whole = puzzles.sets["all"]
    labels = {
        bytes(np.ascontiguousarray(i)): bytes(np.ascontiguousarray(o))
        for i, o in zip(whole.inputs, whole.labels, strict=True)
    }
    assert whole.ratings is not None
    ratings = {group[0]: rating for group, rating in zip(groups_of(puzzles), whole.ratings.tolist(), strict=True)}
    for part in hold_back(puzzles, 7, seed=0):
        arrays = part.sets["all"]
        for row, label in zip(arrays.inputs, arrays.labels, strict=True):
            assert labels[row.tobytes()] == label.tobytes()
        assert arrays.ratings is not None
        assert [ratings[group[0]] for group in groups_of(part)] == arrays.ratings.tolist()
        assert len(arrays.puzzle_identifiers) == len(arrays.puzzle_indices) - 1


@pytest.mark.parametrize(
    ("file", "differs"),
    [
        ("train/all__inputs.npy", "examples"),
        ("train/all__labels.npy", "examples"),
        ("train/all__group_indices.npy", "indices"),
        ("identifiers.json", "identifiers"),
        ("test/all__inputs.npy", None),
    ],
)
def test_a_fingerprint_tells_what_differs(puzzle_dir: Path, file: str, differs: str | None, tmp_path: Path):
    copy = shutil.copytree(puzzle_dir, tmp_path / "copy")
    before = fingerprint([puzzle_dir], "train")
    assert fingerprint([copy], "train") == before
    if file.endswith("json"):
        (copy / file).write_text('["another"]')
    else:
        array = np.load(copy / file)
        # Another number type alone makes no other puzzle set.
        np.save(copy / file, array.astype(np.int32))
        assert fingerprint([copy], "train") == before
        array.flat[1] += 1
        np.save(copy / file, array)
    after = fingerprint([copy], "train")
    assert [name for name in before if before[name] != after[name]] == ([differs] if differs else [])
