"""Building ARC sets: their content, equality of compact and stored sets, and no remains of a failed build."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, run_trm

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.check import check_puzzle_set
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.arc import augmentations as arc_augmentations
from trm.puzzles.kinds.arc import choose as arc_choose
from trm.puzzles.kinds.arc import frames as arc_frames
from trm.puzzles.kinds.arc import grids as arc_grids
from trm.puzzles.kinds.arc import sources as arc_sources
from trm.puzzles.kinds.arc.augmentations import IDENTITY, Augmentation, Augmentations
from trm.puzzles.kinds.arc.build import Subset, build, find_leaks
from trm.puzzles.kinds.arc.choose import choose_augmentations
from trm.puzzles.kinds.arc.draws import SeededDraws
from trm.puzzles.kinds.arc.tasks import Pair, Task
from trm.puzzles.loader import HostBatch, TrainLoader, read_examples
from trm.puzzles.processes import process_pool
from trm.puzzles.reading import read_puzzle_set

KAGGLE = str(GOLDEN / "arc_small" / "source" / "arc")
NUM_AUG = 20


@pytest.fixture(scope="module")
def subsets() -> list[Subset]:
    return [
        Subset(n, arc_sources.read_subset(KAGGLE, n), n == "evaluation") for n in ("training", "evaluation", "concept")
    ]


@pytest.fixture(scope="module")
def stored(subsets: list[Subset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a set with stored augmentations."""
    out = tmp_path_factory.mktemp("arc") / "stored"
    build(out, subsets, NUM_AUG, SeededDraws(0))
    return out


@pytest.fixture(scope="module")
def compact(subsets: list[Subset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the same set in the compact form."""
    out = tmp_path_factory.mktemp("arc") / "compact"
    build(out, subsets, NUM_AUG, SeededDraws(0), compact=True)
    return out


def read_all(puzzles: PuzzleSet) -> HostBatch:
    arrays = puzzles.sets["all"]
    examples = np.arange(arrays.examples)
    owners = np.searchsorted(arrays.puzzle_indices, examples, side="right") - 1
    return read_examples(puzzles, arrays, examples, owners)


def move_to_corner(frames: np.ndarray) -> np.ndarray:
    """Move pairs of frames (n, 2, 900) up and left until the first row and column are no padding."""
    boards = frames.reshape(-1, 2, 30, 30)
    moved = np.zeros_like(boards)
    for i, pair in enumerate(boards):
        row, column = np.argwhere(pair >= arc_grids.TOKEN_OF_COLOR_0)[:, 1:].min(axis=0)
        moved[i, :, : 30 - row, : 30 - column] = pair[:, row:, column:]
    # Where a grid touches the border there is no marker: leave them all out.
    return np.where(moved == arc_grids.END, arc_grids.PAD, moved).reshape(-1, 2, 900)


def test_every_example_is_what_its_name_says(stored: Path, subsets: list[Subset]):
    tasks = {task.name: task for subset in subsets for task in subset.tasks}
    names = read_identifiers(stored)
    assert names[0] == "<blank>"
    for split in ("train", "test"):
        puzzles = read_puzzle_set(stored, split)
        arrays = puzzles.sets["all"]
        for i, identifier in enumerate(arrays.puzzle_identifiers):
            name, augmentation = arc_augmentations.parse_name(names[identifier])
            here = slice(arrays.puzzle_indices[i], arrays.puzzle_indices[i + 1])
            found = move_to_corner(np.stack([arrays.inputs[here], arrays.labels[here]], axis=1))
            is_test_task = name in {task.name for task in subsets[1].tasks}
            pairs = [p for p in tasks[name].pairs if (p.is_test and is_test_task) == (split == "test")]
            expected = [[arc_frames.to_frame(augmentation.apply(grid)) for grid in pair[:2]] for pair in pairs]
            np.testing.assert_array_equal(found, move_to_corner(np.array(expected)))


def test_one_pair_of_each_puzzle_stays_and_the_others_go_anywhere(stored: Path):
    for split in ("train", "test"):
        arrays = read_puzzle_set(stored, split).sets["all"]
        at_corner = (arrays.inputs[:, 0] >= arc_grids.TOKEN_OF_COLOR_0) | (
            arrays.labels[:, 0] >= arc_grids.TOKEN_OF_COLOR_0
        )
        staying = np.add.reduceat(at_corner.astype(int), arrays.puzzle_indices[:-1])
        assert (staying >= 1).all()
        assert at_corner.all() == (split == "test")
        if split == "train":
            assert at_corner.mean() < 0.6


def test_a_group_is_a_task_and_its_augmentations(stored: Path, subsets: list[Subset]):
    names = read_identifiers(stored)
    train = read_puzzle_set(stored, "train")
    arrays = train.sets["all"]
    assert arrays.groups == train.metadata.total_groups == sum(len(s.tasks) for s in subsets)
    assert len(set(names)) == len(names) == train.metadata.num_puzzle_identifiers
    for start, end in itertools.pairwise(arrays.group_indices.tolist()):
        of_group = [names[i] for i in arrays.puzzle_identifiers[start:end]]
        assert "|||" not in of_group[0]
        assert {arc_augmentations.parse_name(name)[0] for name in of_group} == {of_group[0]}
        assert 1 < len(of_group) <= NUM_AUG + 1
    assert json.loads((stored / "test_puzzles.json").read_text()) == {t.name: t.source for t in subsets[1].tasks}


@pytest.mark.parametrize("form", ["stored", "compact"])
def test_sets_pass_the_check(form: str, request: pytest.FixtureRequest):
    assert len(list(check_puzzle_set(request.getfixturevalue(form)))) == 4


def test_the_compact_form_is_the_stored_one(stored: Path, compact: Path):
    assert read_identifiers(stored) == read_identifiers(compact)
    for split in ("train", "test"):
        a, b = read_puzzle_set(stored, split), read_puzzle_set(compact, split)
        assert dataclasses.replace(b.metadata, online_augmentation=False) == a.metadata
        for field in ("puzzle_identifiers", "puzzle_indices", "group_indices"):
            np.testing.assert_array_equal(getattr(a.sets["all"], field), getattr(b.sets["all"], field))
        assert len(b.sets["all"].inputs) < len(a.sets["all"].inputs) / 10
        first, second = read_all(a), read_all(b)
        np.testing.assert_array_equal(first.puzzle_identifiers, second.puzzle_identifiers)
        pairs = [np.stack([batch.inputs, np.maximum(batch.labels, 0)], axis=1) for batch in (first, second)]
        if split == "train":
            # There the loader places them anew whenever they are drawn.
            pairs = [move_to_corner(p) for p in pairs]
        np.testing.assert_array_equal(*pairs)


@pytest.mark.slow
def test_drawn_examples_go_everywhere_but_one_of_each_puzzle(compact: Path):
    puzzles = read_puzzle_set(compact, "train")
    loader = TrainLoader(puzzles, 64, seed=0)
    # By puzzle and by what the pair is, wherever it lies: the places where it was seen.
    places: dict[tuple[int, bytes], Counter] = {}
    for step in range(150):
        batch = loader.load(step)
        frames = np.stack([batch.inputs, np.maximum(batch.labels, 0)], axis=1)
        for identifier, pair, moved in zip(batch.puzzle_identifiers, frames, move_to_corner(frames), strict=True):
            cells = np.argwhere(pair.reshape(2, 30, 30) >= arc_grids.TOKEN_OF_COLOR_0)[:, 1:]
            first, last = cells.min(axis=0), cells.max(axis=0)
            # A large pair stays: there is no room to move.
            if (last - first < 25).all():
                places.setdefault((int(identifier), moved.tobytes()), Counter())[tuple(first.tolist())] += 1
    often = {key: found for key, found in places.items() if found.total() >= 5}
    staying = Counter(identifier for (identifier, _), found in often.items() if set(found) == {(0, 0)})
    moving = [found for found in often.values() if set(found) != {(0, 0)}]
    assert len(staying) > 20
    assert max(staying.values()) == 1
    assert sum(len(found) for found in moving) > 0.7 * sum(found.total() for found in moving)


def test_batches_of_the_compact_form_follow_from_seed_and_step(compact: Path):
    puzzles = read_puzzle_set(compact, "train")
    whole = TrainLoader(puzzles, 12, seed=3)
    parts = [TrainLoader(puzzles, 12, seed=3, process=i, processes=2) for i in range(2)]
    for step in (0, 4):
        joined = HostBatch(*(np.concatenate(f) for f in zip(*(p.load(step) for p in parts), strict=True)))
        for a, b in zip(whole.load(step), joined, strict=True):
            np.testing.assert_array_equal(a, b)


def test_sets_are_functions_of_the_seed_on_any_number_of_processes(stored: Path, subsets: list[Subset], tmp_path: Path):
    build(tmp_path / "two", subsets, NUM_AUG, SeededDraws(0), processes=2)
    build(tmp_path / "other", subsets, NUM_AUG, SeededDraws(1))
    files = sorted(path.relative_to(stored) for path in stored.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*.*"))
    assert all((stored / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    assert any((stored / file).read_bytes() != (tmp_path / "other" / file).read_bytes() for file in files)


@pytest.mark.parametrize("compact", [False, True])
def test_the_order_of_the_original(compact: bool, tmp_path: Path, capsys: pytest.CaptureFixture):
    """The recorded set of the original's builder, from the same files and options."""
    recorded = GOLDEN / "arc_small"
    config = json.loads((recorded / "case.json").read_text())["build_config"]
    command = ["data", "arc", tmp_path / "set", recorded / config["input_file_prefix"], "--order", "original"]
    command += ["--subsets", ",".join(config["subsets"]), "--test-set", config["test_set_name"]]
    command += ["--num-aug", config["num_aug"], "--seed", config["seed"], *(["--compact"] if compact else [])]
    code, _, err = run_trm(capsys, *command)
    assert code == 0, err
    theirs = recorded / config["output_dir"]
    assert read_identifiers(tmp_path / "set") == read_identifiers(theirs)
    for split in ("train", "test"):
        found, expected = (read_puzzle_set(d, split).sets["all"] for d in (tmp_path / "set", theirs))
        for field in (
            "puzzle_identifiers",
            "puzzle_indices",
            "group_indices",
            *([] if compact else ["inputs", "labels"]),
        ):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    code, _, err = run_trm(capsys, *command, "--processes", 2, "--overwrite")
    assert code == 2
    assert "--processes: found 2 with --order original, expected 1" in err


# Duplicates


def pairs_of(task: Task, augmentation: Augmentation) -> frozenset:
    grids = [tuple((g.shape, augmentation.apply(g).tobytes()) for g in pair[:2]) for pair in task.pairs]
    shapes = [tuple(augmentation.apply(g).shape for g in pair[:2]) for pair in task.pairs]
    return frozenset(Counter(zip(shapes, ((a[1], b[1]) for a, b in grids), strict=True)).items())


def test_signatures_agree_with_a_comparison_of_all_grids(subsets: list[Subset]):
    """On tasks that look alike from many sides, so that many augmentations are the same."""
    rng = np.random.default_rng(0)
    square = np.array([[1, 1], [1, 1]], np.uint8)
    stripes = np.array([[1, 2, 1], [1, 2, 1]], np.uint8)
    tasks = [
        Task("square", [Pair(square, square, False)], {}),
        Task("stripes", [Pair(stripes, square, False), Pair(square, stripes, True)], {}),
        Task("transposed", [Pair(stripes, square, False), Pair(stripes.T.copy(), square, True)], {}),
        subsets[0].tasks[0],
    ]
    for task in tasks:
        colors = np.tile(np.arange(10, dtype=np.uint8), (60, 1))
        colors[:, 1:4] = rng.permuted(colors[:, 1:4], axis=1)
        many = Augmentations(rng.integers(8, size=60, dtype=np.uint8), colors)
        signatures = arc_choose.Signatures(task)(many)
        exact = [pairs_of(task, Augmentation(int(t), c)) for t, c in zip(*many, strict=True)]
        for i, j in itertools.combinations(range(60), 2):
            assert (signatures[i] == signatures[j]) == (exact[i] == exact[j])


def test_few_different_augmentations_are_all_found():
    """A square of one colour has nine: its own and eight others."""
    task = Task("square", [Pair(np.full((2, 2), 4, np.uint8), np.full((1, 1), 4, np.uint8), False)], {})
    chosen = choose_augmentations(task, 100, SeededDraws(0).augmentations(0, 0))
    assert sorted(chosen.colors[:, 4].tolist()) == list(range(1, 10))
    assert (int(chosen.transforms[0]), chosen.colors[0].tolist()) == (0, IDENTITY.colors.tolist())


def test_draws_are_uniform():
    drawn = SeededDraws(0).augmentations(0, 0)(8000)
    assert (np.abs(np.bincount(drawn.transforms, minlength=8) - 1000) < 150).all()
    assert (drawn.colors[:, 0] == 0).all()
    for color in range(1, 10):
        assert (np.abs(np.bincount(drawn.colors[:, color], minlength=10)[1:] - 8000 / 9) < 150).all()


# Several subsets


def test_leaks_are_found(subsets: list[Subset]):
    assert find_leaks(subsets) == {}
    again = Subset("again", [*subsets[1].tasks[:2], *subsets[0].tasks], is_test=False)
    assert find_leaks([*subsets, again]) == {"evaluation": {"again": 2}}


def test_tasks_of_the_same_name_share_identifiers(subsets: list[Subset], tmp_path: Path):
    task = subsets[0].tasks[0]
    twice = [Subset("a", [task], False), Subset("b", [task], True)]
    build(tmp_path / "set", twice, 3, SeededDraws(0))
    names = read_identifiers(tmp_path / "set")
    arrays = read_puzzle_set(tmp_path / "set", "train").sets["all"]
    assert len(set(names)) == len(names)
    first, second = (arrays.puzzle_identifiers[s] for s in (slice(0, 4), slice(4, 8)))
    assert first[0] == second[0]
    assert len(list(check_puzzle_set(tmp_path / "set"))) == 4


def test_identifiers_may_start_later(subsets: list[Subset], tmp_path: Path):
    build(tmp_path / "set", subsets, 2, SeededDraws(0), identifiers_start=100)
    names = read_identifiers(tmp_path / "set")
    assert names[:100] == ["<blank>"] * 100
    assert read_puzzle_set(tmp_path / "set", "train").sets["all"].puzzle_identifiers.min() == 100


def test_no_subset_to_test_on(subsets: list[Subset], tmp_path: Path):
    with pytest.raises(InputError, match="found no test subset"):
        build(tmp_path / "set", subsets[:1], 2, SeededDraws(0))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_is_an_error_of_one_line():
    with pytest.raises(InputError, match="a process was killed"), process_pool(1) as pool:
        pool.submit(os._exit, 1).result()


@pytest.mark.processes
@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_stays_of_a_set_that_cannot_be_written(tmp_path: Path, processes: int):
    """Where the disk is full; a limit on the size of a file, in kilobytes, plays the full disk."""
    command = [
        "data",
        "arc",
        str(tmp_path / "set"),
        str(KAGGLE),
        "--num-aug",
        str(NUM_AUG),
        "--processes",
        str(processes),
    ]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 200; exec "$@"', "bash", sys.executable, "-m", "trm", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert list(tmp_path.iterdir()) == []
