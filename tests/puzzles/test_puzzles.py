"""Puzzle sets on disk: written sets are read unchanged, and faults are named."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.joining import join_puzzle_sets
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import FIELDS, Metadata
from trm.puzzles.reading import read_puzzle_set, read_puzzle_sets
from trm.puzzles.writing import write_puzzle_set


def test_round_trip(puzzle_dir: Path, splits: dict[str, PuzzleSet]):
    for split, written in splits.items():
        read = read_puzzle_set(puzzle_dir, split)
        assert read.metadata == written.metadata
        for field in FIELDS:
            array = getattr(read.sets["all"], field)
            assert isinstance(array, np.memmap)
            assert array.dtype == (np.uint8 if field in ("inputs", "labels") else np.int32)
            np.testing.assert_array_equal(array, getattr(written.sets["all"], field))
    assert read_identifiers(puzzle_dir) == ["<blank>"]


@pytest.mark.parametrize(
    "missing",
    [
        ["total_puzzles"],  # As HRM's builders write it.
        ["total_puzzles", "total_groups", "mean_puzzle_examples", "num_puzzle_identifiers", "sets", "seq_len"],
    ],
)
def test_metadata_that_the_arrays_tell(missing: list[str], tmp_path: Path):
    """Two groups of three puzzles, of which each has two examples."""
    tokens = np.random.default_rng(0).integers(1, 6, size=(12, 16))
    puzzles = PuzzleSet.from_arrays(
        tokens,
        tokens,
        6,
        puzzle_identifiers=np.arange(1, 7),
        puzzles=np.repeat(np.arange(6), 2),
        groups=np.repeat(np.arange(2), 3),
        num_puzzle_identifiers=8,
    )
    write_puzzle_set(tmp_path / "set", {"train": puzzles}, ["<blank>", *"abcdefg"])
    expected = read_puzzle_set(tmp_path / "set", "train").metadata
    assert (expected.total_groups, expected.total_puzzles, expected.mean_puzzle_examples) == (2, 6, 2.0)
    path = tmp_path / "set" / "train" / "dataset.json"
    values = {name: value for name, value in json.loads(path.read_text()).items() if name not in missing}
    path.write_text(json.dumps(values))
    assert read_puzzle_set(tmp_path / "set", "train").metadata == expected


def test_nothing_is_overwritten_unasked(puzzle_dir: Path, splits: dict[str, PuzzleSet], tmp_path: Path):
    target = shutil.copytree(puzzle_dir, tmp_path / "set")
    with pytest.raises(InputError, match="already exists"):
        write_puzzle_set(target, splits, ["<blank>"])
    write_puzzle_set(target, {"test": splits["test"]}, ["other"], overwrite=True)
    assert read_identifiers(target) == ["other"]
    assert not (target / "train").exists()


def test_a_failed_write_leaves_nothing(splits: dict[str, PuzzleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", disk_full)
    with pytest.raises(InputError, match="cannot write: No space left on device"):
        write_puzzle_set(tmp_path / "set", splits, ["<blank>"])
    assert list(tmp_path.iterdir()) == []


def change_metadata(**changes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def change_array(field: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / f"all__{field}.npy"
        np.save(path, change(np.load(path)))

    return apply


def truncate(field: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / f"all__{field}.npy"
        path.write_bytes(path.read_bytes()[:-7])

    return apply


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda folder: (folder / "dataset.json").unlink(), "dataset.json: cannot read"),
        (lambda folder: (folder / "dataset.json").write_text("{"), "dataset.json: not a JSON file"),
        (lambda folder: (folder / "dataset.json").write_text("[]"), "dataset.json: found list"),
        (lambda folder: (folder / "dataset.json").write_text("{}"), "dataset.json: pad_id: missing"),
        (change_metadata(seq_len="16"), "dataset.json: seq_len: found '16', expected int"),
        (change_metadata(vocab_size=0), "dataset.json: vocab_size: found 0, expected more than 0"),
        (change_metadata(sets=[]), "dataset.json: sets: found none"),
        (
            change_metadata(online_augmentation=True, kind="maze"),
            "dataset.json: online_augmentation: found true of maze",
        ),
        (
            change_metadata(kind="arc"),
            "dataset.json: kind: found 'arc' of vocab_size 6 and seq_len 16, expected 'sudoku'",
        ),
        (change_metadata(sets=["../x"]), "dataset.json: sets: found '../x', expected a plain name"),
        (change_metadata(sets=["all", "more"]), "more__inputs.npy: cannot read"),
        (
            change_metadata(seq_len=15),
            "dataset.json: kind: found 'sudoku' of vocab_size 6 and seq_len 15, expected 'other'",
        ),
        (change_metadata(seq_len=15, kind="other"), "all__inputs.npy: found shape (80, 16), expected (80, 15)"),
        (lambda folder: (folder / "all__labels.npy").unlink(), "all__labels.npy: cannot read"),
        (lambda folder: (folder / "all__labels.npy").write_text("x"), "all__labels.npy: not a whole .npy file"),
        (truncate("inputs"), "all__inputs.npy: not a whole .npy file"),
        (truncate("group_indices"), "all__group_indices.npy: not a whole .npy file"),
        (change_array("labels", lambda a: a[:-1]), "all__labels.npy: found shape (79, 16), expected (80, 16)"),
        (change_array("inputs", lambda a: a.astype(float)), "all__inputs.npy: found dtype float64, expected integers"),
        (change_array("puzzle_indices", lambda a: a[:-1]), "all__puzzle_indices.npy: found 80 indices, expected 81"),
        (change_array("puzzle_indices", lambda a: a + 1), "all__puzzle_indices.npy: found 1 to 81, expected 0 to 80"),
        (change_array("group_indices", lambda a: a[::-1]), "all__group_indices.npy: found 80 to 0, expected 0 to 80"),
        (change_array("group_indices", lambda a: np.r_[a[:2], a[1], a[3:]]), "all__group_indices.npy: found index"),
        (change_array("ratings", lambda a: a[1:]), "all__ratings.npy: found shape (19,), expected (20,)"),
        (
            change_array("ratings", lambda a: a.astype(float)),
            "all__ratings.npy: found dtype float64, expected integers",
        ),
        (change_array("puzzle_identifiers", lambda a: a + 1), "all__puzzle_identifiers.npy: found 1, expected 0 to 0"),
    ],
)
def test_broken_sets_are_named(puzzle_dir: Path, tmp_path: Path, breakage: Callable[[Path], object], message: str):
    target = shutil.copytree(puzzle_dir, tmp_path / "set")
    breakage(target / "train")
    with pytest.raises(InputError) as caught:
        read_puzzle_set(target, "train")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_sets_are_one(puzzle_dir: Path, splits: dict[str, PuzzleSet], tmp_path: Path):
    train = splits["train"]
    larger = dataclasses.replace(train.metadata, num_puzzle_identifiers=5, mean_puzzle_examples=2.0)
    write_puzzle_set(tmp_path / "more", {"train": dataclasses.replace(train, metadata=larger)}, ["<blank>"] * 5)
    both = read_puzzle_sets([puzzle_dir, tmp_path / "more"], "train")
    assert list(both.sets) == both.metadata.sets == ["all", "all1"]
    assert both.examples == 2 * train.examples
    assert both.metadata.num_puzzle_identifiers == 5
    assert both.metadata.total_groups == 40
    assert both.metadata.examples_per_epoch == 20 + 2 * 20
    assert read_puzzle_sets([puzzle_dir], "train").metadata == train.metadata


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([["all", "all1"], ["all"]], ["all", "all1", "all2"]),
        ([["all"], ["all"], ["all1"]], ["all", "all2", "all1"]),
        ([["all", "b"], ["b", "all"]], ["all", "b", "b1", "all1"]),
    ],
)
def test_no_set_vanishes_where_names_are_the_same(splits: dict, parts: list[list[str]], expected: list[str]):
    train = splits["train"]
    originals = [dataclasses.replace(train.sets["all"]) for names in parts for _ in names]
    left = iter(originals)
    joined = join_puzzle_sets([dataclasses.replace(train, sets={name: next(left) for name in part}) for part in parts])
    assert list(joined.sets) == joined.metadata.sets == expected
    assert all(found is original for found, original in zip(joined.sets.values(), originals, strict=True))


def test_sets_that_do_not_go_together_are_named(puzzle_dir: Path, tmp_path: Path):
    target = shutil.copytree(puzzle_dir, tmp_path / "set")
    change_metadata(ignore_label_id=None)(target / "train")
    with pytest.raises(InputError, match=r"set/train: ignore_label_id: found None, expected 0, as in .*4x4/train"):
        read_puzzle_sets([puzzle_dir, target], "train")


@pytest.mark.parametrize(
    ("vocab_size", "seq_len", "kind"),
    [(11, 81, "sudoku"), (6, 16, "sudoku"), (6, 900, "maze"), (6, 81, "maze"), (12, 900, "arc"), (12, 81, "other")],
)
def test_what_the_puzzles_are_is_told_from_their_size(vocab_size: int, seq_len: int, kind: str):
    metadata = Metadata(0, 0, 0, vocab_size, seq_len, 1, 1, 1.0, 1, ["all"])
    assert kind_of(metadata).name == kind
    assert kind_of(dataclasses.replace(metadata, kind="other")).name == "other"
