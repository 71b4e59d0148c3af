"""Validation puzzles and fingerprints of puzzle sets."""

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.identifiers import match_names
from trm.puzzles.identity import difference, fingerprint
from trm.puzzles.kinds.arc.build import Subset, build
from trm.puzzles.kinds.arc.draws import SeededDraws
from trm.puzzles.kinds.arc.sources import read_subset
from trm.puzzles.loader import TrainLoader, load_test_batches
from trm.puzzles.reading import read_puzzle_set, read_puzzle_sets
from trm.puzzles.validation import hold_back
from trm.puzzles.writing import write_puzzle_set


def groups_of(puzzles: PuzzleSet) -> list[list[bytes]]:
    """Return the inputs of every group, puzzle after puzzle."""
    groups = []
    for arrays in puzzles.sets.values():
        for first, end in zip(arrays.group_indices[:-1], arrays.group_indices[1:], strict=True):
            bounds = arrays.puzzle_indices[first], arrays.puzzle_indices[end]
            groups.append([row.tobytes() for row in tokens_of(arrays, "inputs")[slice(*bounds)]])
    return groups


def tokens_of(arrays: PuzzleArrays, field: str) -> np.ndarray:
    """Return the tokens of all examples in order."""
    sizes = np.diff(arrays.puzzle_indices)
    stored = arrays.stored_at(np.arange(arrays.examples), np.repeat(np.arange(len(sizes)), sizes))
    return getattr(arrays, field)[stored]


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
        assert isinstance(arrays.inputs, np.memmap)
        for row, label in zip(tokens_of(arrays, "inputs"), tokens_of(arrays, "labels"), strict=True):
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
    assert difference(after, before) == (f"other {differs} than expected" if differs else None)


def test_of_a_long_array_evenly_spaced_rows_count(puzzle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trm.puzzles.identity.MOST_TOKENS", 16 * 8)
    before = fingerprint([puzzle_dir], "train")
    changed = []
    for row in range(80):
        copy = shutil.copytree(puzzle_dir, tmp_path / str(row))
        inputs = np.load(copy / "train" / "all__inputs.npy")
        inputs[row, 3] += 1
        np.save(copy / "train" / "all__inputs.npy", inputs)
        if fingerprint([copy], "train") != before:
            changed.append(row)
    assert changed == [79 * i // 7 for i in range(8)]


@pytest.mark.parametrize("online", [False, True])
def test_an_epoch_draws_each_kept_group_once(puzzle_dir: Path, online: bool, tmp_path: Path):
    """A batch of as many examples as groups is an epoch; another number of processes holds back the same groups."""
    puzzles = read_puzzle_set(puzzle_dir, "train")
    kept, validation = hold_back(puzzles, 4, seed=3)
    group_of = {row: i for i, group in enumerate(groups_of(puzzles)) for row in group}
    expected = Counter(group_of[group[0]] for group in groups_of(kept))
    held = {group_of[group[0]] for group in groups_of(validation)}
    assert expected.total() == 16
    assert not held & expected.keys()
    if online:
        arrays = dataclasses.replace(puzzles.sets["all"], online_augmentation=True)
        metadata = dataclasses.replace(puzzles.metadata, online_augmentation=True)
        kept, validation = hold_back(dataclasses.replace(puzzles, metadata=metadata, sets={"all": arrays}), 4, seed=3)
        assert kept.metadata.online_augmentation
        assert not validation.metadata.online_augmentation
        loader = TrainLoader(kept, 16, seed=0)
        clues = Counter((loader.load(0).inputs > 1).sum(axis=1).tolist())
        assert clues == Counter(
            int((np.frombuffer(group[0], np.uint8) > 1).sum()) for group in groups_of(hold_back(puzzles, 4, seed=3)[0])
        )
    else:
        loader = TrainLoader(kept, 16, seed=0)
        for step in range(3):
            batch = loader.load(step)
            assert Counter(group_of[row.astype(np.uint8).tobytes()] for row in batch.inputs) == expected
    _, batch = next(load_test_batches(validation, 4))
    assert {group_of[row.astype(np.uint8).tobytes()] for row in batch.inputs} == held
    # Written to disk it is a puzzle set like any other.
    write_puzzle_set(tmp_path / "set", {"test": validation})
    assert groups_of(read_puzzle_set(tmp_path / "set", "test")) == groups_of(validation)


def test_what_would_never_be_trained_is_not_held_back(puzzle_dir: Path, tmp_path: Path):
    tasks = read_subset(str(GOLDEN / "arc_small" / "source" / "arc"), "evaluation")
    build(tmp_path / "set", [Subset("evaluation", tasks, True)], 2, SeededDraws(0), compact=True)
    with pytest.raises(InputError, match=r"data\.validation: found 1 with .*, expected 0: a task that is held back"):
        hold_back(read_puzzle_set(tmp_path / "set", "train"), 1, seed=0)
    puzzles = read_puzzle_set(puzzle_dir, "train")
    arrays = dataclasses.replace(puzzles.sets["all"], puzzle_identifiers=np.arange(80))
    named = dataclasses.replace(puzzles, sets={"all": arrays})
    with pytest.raises(InputError, match=r"data\.validation: found 2 with .*: puzzle identifier \d+ would never"):
        hold_back(named, 2, seed=0)
    # A model without puzzle embeddings does not look at them.
    assert hold_back(named, 2, seed=0, has_embeddings=False)[1].examples == 2


def test_names_are_matched():
    matched = match_names(["<blank>", "b", "x", "a"], ["<blank>", "a", "<blank>", "b"], "here")
    assert matched.tolist() == [0, 3, -1, 1]
    with pytest.raises(InputError, match="here: found the name 'a' as identifiers 0 and 1"):
        match_names(["a"], ["a", "a"], "here")
