"""ARC tasks in files, their names, frames and crops; single grids are also compared with the original's."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN

from trm.errors import InputError
from trm.puzzles.kinds.arc import augmentations as arc_augmentations
from trm.puzzles.kinds.arc import frames as arc_frames
from trm.puzzles.kinds.arc import sources as arc_sources
from trm.puzzles.kinds.arc import tasks as arc_tasks
from trm.puzzles.kinds.arc.augmentations import Augmentation

KAGGLE = str(GOLDEN / "arc_small" / "source" / "arc")
PAIR = {"input": [[1, 2]], "output": [[3]]}
TASK = {"train": [PAIR], "test": [PAIR]}


def write_kaggle(folder: Path, challenges: Any, solutions: Any = None, name: str = "a_x") -> str:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_challenges.json").write_text(json.dumps(challenges))
    if solutions is not None:
        (folder / f"{name}_solutions.json").write_text(json.dumps(solutions))
    return str(folder / "a")


def same(first: list[arc_tasks.Task], second: list[arc_tasks.Task]) -> bool:
    def plain(tasks: list[arc_tasks.Task]) -> list:
        return [(t.name, [(p.input.tolist(), p.output.tolist(), p.is_test) for p in t.pairs]) for t in tasks]

    return plain(first) == plain(second)


def test_both_layouts_say_the_same(tmp_path: Path):
    kaggle = arc_sources.read_subset(KAGGLE, "evaluation")
    assert {p.is_test for task in kaggle for p in task.pairs} == {False, True}
    (tmp_path / "evaluation" / "deeper").mkdir(parents=True)
    for i, task in enumerate(kaggle):
        folder = tmp_path / "evaluation" / ("deeper" if i % 2 else "")
        (folder / f"{task.name}.json").write_text(json.dumps({"name": task.name} | task.source))
    official = arc_sources.read_subset(str(tmp_path), "evaluation")
    assert same(sorted(official, key=lambda t: t.name), sorted(kaggle, key=lambda t: t.name))
    assert all(task.source == other.source for task in official for other in kaggle if task.name == other.name)


def test_gzip_files(tmp_path: Path):
    for path in Path(KAGGLE).parent.iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    zipped = arc_sources.read_subset(str(tmp_path / "arc"), "training")
    assert same(zipped, arc_sources.read_subset(KAGGLE, "training"))


UNSOLVED = {"train": [PAIR], "test": [{"input": [[1]]}]}


@pytest.mark.parametrize("solutions", [None, {}, {"t": [None]}])
def test_unknown_solutions_are_allowed_when_asked_for(tmp_path: Path, solutions: dict | None):
    source = write_kaggle(tmp_path, {"t": UNSOLVED}, solutions)
    (task,) = arc_sources.read_subset(source, "x", allow_missing_solutions=True)
    assert [p.output.tolist() for p in task.pairs if p.is_test] == [[[0]]]
    with pytest.raises(InputError, match=r"missing|cannot read"):
        arc_sources.read_subset(source, "x")


def task_with(side: str, grid: Any) -> dict:
    return {"t": {"train": [PAIR, PAIR | {side: grid}], "test": [{"input": [[1]]}]}}


SOLVED = {"t": [[[1]]]}


@pytest.mark.parametrize(
    ("challenges", "solutions", "message"),
    [
        ([], None, "a_x_challenges.json: found [], expected an object with a task per name"),
        ({"t": 3}, SOLVED, "a_x_challenges.json: task t: found 3, expected an object"),
        ({"t": {"train": [PAIR]}}, SOLVED, "a_x_challenges.json: task t: test: found no pairs"),
        ({"t": {"train": 1, "test": [PAIR]}}, SOLVED, "task t: train: found 1, expected a list of pairs"),
        ({"t": {"train": [[]], "test": [PAIR]}}, SOLVED, "task t: train pair 1: found [], expected an object"),
        ({"t": {"train": [{"input": [[1]]}], "test": [PAIR]}}, SOLVED, "task t: train pair 1: output: missing"),
        ({"t": UNSOLVED}, {}, "a_x_solutions.json: task t: missing"),
        ({"t": UNSOLVED}, [], "a_x_solutions.json: found [], expected an object"),
        ({"t": UNSOLVED}, {"t": [[[1]], [[2]]]}, "a_x_solutions.json: task t: found 2 outputs, expected 1"),
        ({"t": UNSOLVED}, {"t": 5}, "a_x_solutions.json: task t: found 5, expected 1"),
        ({"t": UNSOLVED}, {"t": [[[10]]]}, "task t: test pair 1: output: found 10, expected a colour from 0 to 9"),
        (task_with("input", [[-1]]), SOLVED, "task t: train pair 2: input: found -1, expected a colour from 0 to 9"),
        (task_with("input", [[1.5]]), SOLVED, "task t: train pair 2: input: found 1.5, expected a colour"),
        (task_with("output", [[1] * 31]), SOLVED, "task t: train pair 2: output: found 1 rows of 31 cells"),
        (task_with("output", [[1]] * 31), SOLVED, "task t: train pair 2: output: found 31 rows of 1 cells"),
        (task_with("output", [[1], [1, 2]]), SOLVED, "train pair 2: output: found 2 rows of 1 or 2 cells"),
        (task_with("output", [[]]), SOLVED, "train pair 2: output: found 1 rows of 0 cells"),
        (task_with("output", []), SOLVED, "train pair 2: output: found [], expected a list of rows"),
        (task_with("output", "x"), SOLVED, "train pair 2: output: found 'x', expected a list of rows"),
        (task_with("output", [1]), SOLVED, "train pair 2: output: found [1], expected a list of rows"),
    ],
)
def test_bad_tasks_are_named(challenges: Any, solutions: Any, message: str, tmp_path: Path):
    with pytest.raises(InputError) as caught:
        arc_sources.read_subset(write_kaggle(tmp_path, challenges, solutions), "x")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_bad_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"b: found no such file or folder, and no b_SUBSET_challenges\.json"):
        arc_sources.read_subset(str(tmp_path / "b"), "x")
    (tmp_path / "c_x_challenges.json").write_text('{"t": ')
    with pytest.raises(InputError, match=r"c_x_challenges\.json: not a JSON file"):
        arc_sources.read_subset(str(tmp_path / "c"), "x")
    (tmp_path / "d_x_challenges.json.gz").write_bytes(gzip.compress(b"{}")[:-5])
    with pytest.raises(InputError, match=r"d_x_challenges\.json\.gz: cannot read"):
        arc_sources.read_subset(str(tmp_path / "d"), "x")
    damaged = bytearray(gzip.compress(b"{}" * 100))
    damaged[10] ^= 255
    (tmp_path / "e_x_challenges.json.gz").write_bytes(damaged)
    with pytest.raises(InputError, match=r"e_x_challenges\.json\.gz: cannot read"):
        arc_sources.read_subset(str(tmp_path / "e"), "x")
    deep = "[" * 200_000
    (tmp_path / "f_x_challenges.json").write_text(deep)
    with pytest.raises(InputError, match=r"f_x_challenges\.json: not a JSON file"):
        arc_sources.read_subset(str(tmp_path / "f"), "x")
    with pytest.raises(InputError, match="puzzle: not a JSON file"):
        arc_tasks.parse_tasks(deep, "puzzle")
    with pytest.raises(InputError, match=r"found no subset 'training', expected .*: --subsets x$"):
        arc_sources.read_subset(str(tmp_path), "training")
    (tmp_path / "training").mkdir()
    with pytest.raises(InputError, match="training: found no JSON file, expected one per task"):
        arc_sources.read_subset(str(tmp_path), "training")
    for folder in ("training/a", "training/b"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "t.json").write_text(json.dumps(TASK))
    with pytest.raises(InputError, match=r"b/t.json: found task 't' again, expected it once, as in .*a/t.json"):
        arc_sources.read_subset(str(tmp_path), "training")


def test_names_undo_augmentations():
    rng = np.random.default_rng(0)
    for transform in range(8):
        augmentation = Augmentation(transform, np.r_[0, rng.permutation(np.arange(1, 10))].astype(np.uint8))
        name = arc_augmentations.name_augmentation("a|||b", augmentation)
        task, read = arc_augmentations.parse_name(f"task|||{name.split('|||', 2)[2]}")
        assert task == "task"
        grid = rng.integers(10, size=(5, 8)).astype(np.uint8)
        np.testing.assert_array_equal(read.undo(augmentation.apply(grid)), grid)
    assert arc_augmentations.parse_name("task") == ("task", arc_augmentations.IDENTITY)
    for wrong in ("task|||t8|||0123456789", "task|||t1", "task|||t1|||012345678", "task|||t1|||0123456788"):
        with pytest.raises(InputError, match=r"puzzle identifier: found 'task.*', expected TASK\|\|\|t0 to t7"):
            arc_augmentations.parse_name(wrong)


def test_tasks_to_be_solved():
    pair = {"input": [[1]], "output": [[2]]}
    task = {"train": [pair], "test": [{"input": [[3]]}]}
    (alone,) = arc_tasks.parse_tasks(json.dumps(task), "here", "name")
    assert alone.name == "name"
    assert [found.input.tolist() for found in alone.pairs if found.is_test] == [[[3]]]
    assert [found.name for found in arc_tasks.parse_tasks(json.dumps({"a": task, "b": task}), "here")] == ["a", "b"]
    for text, message in (
        ("{", "here: not a JSON file"),
        ("[]", "here: found [], expected an object with a task per name"),
        (json.dumps(task), "here: found a task without a name"),
        (json.dumps({"a": {"train": [pair]}}), "here: task a: test: found no pairs"),
        (json.dumps({"a": {"train": [pair], "test": [{"input": [[10]]}]}}), "found 10, expected a colour from 0 to 9"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            arc_tasks.parse_tasks(text, "here")


def test_a_frame_by_hand():
    frame = arc_frames.to_frame(np.array([[5, 6, 7], [8, 9, 0]], np.uint8), 1, 2).reshape(30, 30)
    np.testing.assert_array_equal(
        frame[:5, :7],
        [
            [0, 0, 0, 0, 0, 0, 0],
            [0, 0, 7, 8, 9, 1, 0],
            [0, 0, 10, 11, 2, 1, 0],
            [0, 0, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 0],
        ],
    )
    assert frame.sum() == frame[:5, :7].sum()
    # No room for markers where the grid touches the border.
    full = arc_frames.to_frame(np.zeros((30, 30), np.uint8))
    assert (full == 2).all()
    corner = arc_frames.to_frame(np.zeros((2, 2), np.uint8), 28, 28).reshape(30, 30)
    assert (corner[28:, 28:] == 2).all()
    assert corner.sum() == 8


def test_crop_takes_the_largest_rectangle_at_the_top_left():
    rng = np.random.default_rng(0)
    frames = rng.choice([0, 1, 2, 11], p=[0.1, 0.1, 0.4, 0.4], size=(50, 30, 30))
    frames[:25] = np.where(rng.random((25, 30, 30)) < 0.02, 0, 3)
    for frame, shape in zip(frames, arc_frames.crop_shapes(frames.reshape(50, 900)), strict=True):
        areas = {
            (rows, columns): rows * columns
            for rows in range(1, 31)
            for columns in range(1, 31)
            if (frame[:rows, :columns] >= 2).all()
        }
        largest = max(areas.values(), default=0)
        assert tuple(shape) == min((s for s, area in areas.items() if area == largest), default=(0, 0))


def test_augmented_frames_are_those_of_augmented_grids():
    rng = np.random.default_rng(0)
    batch, limit = 40, 31

    def draw_grid() -> np.ndarray:
        return rng.integers(10, size=rng.integers(1, limit, size=2)).astype(np.uint8)

    grids = [[draw_grid(), draw_grid()] for _ in range(batch)]
    inputs, labels = (np.array([arc_frames.to_frame(pair[side]) for pair in grids]) for side in (0, 1))
    transforms = rng.integers(8, size=batch).astype(np.uint8)
    colors = np.array([rng.permutation(10) for _ in range(batch)]).astype(np.uint8)
    rooms = []

    def draw(room: np.ndarray) -> np.ndarray:
        rooms.append(room)
        return room - 1

    found = arc_frames.augment_frames(inputs, labels, transforms, colors, draw)
    for i, pair in enumerate(grids):
        augmented = [Augmentation(int(transforms[i]), colors[i]).apply(grid) for grid in pair]
        room = limit - np.maximum(augmented[0].shape, augmented[1].shape)
        np.testing.assert_array_equal(rooms[0][i], room)
        for side, grid in zip(found, augmented, strict=True):
            np.testing.assert_array_equal(side[i], arc_frames.to_frame(grid, *(room - 1).tolist()))
