"""TensorBoard and Weights & Biases: their files, read by hand without their own readers."""

import importlib
import json
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import check_mistake, run_trm, tiny_config

from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.training.tracking.choose import make_trackers
from trm.training.tracking.measured import is_measured
from trm.training.tracking.tensorboard import TensorboardTracker
from trm.training.tracking.wandb import WandbTracker

Point = tuple[int, str]
"""Step and name."""


def fields_of(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of the fields of a protobuf message."""

    def varint(at: int) -> tuple[int, int]:
        value, shift = 0, 0
        while True:
            byte = data[at]
            value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                return value, at

    at = 0
    while at < len(data):
        key, at = varint(at)
        if key & 7 == 0:
            value, at = varint(at)
        elif key & 7 == 2:
            size, at = varint(at)
            value, at = data[at : at + size], at + size
        else:
            size = {1: 8, 5: 4}[key & 7]
            value, at = struct.unpack("<d" if size == 8 else "<f", data[at : at + size])[0], at + size
        yield key >> 3, value


def tensorboard_points(run: Path) -> list[tuple[Point, float]]:
    """Read the event files of a run by their format: records of an Event each."""
    points = []
    for path in sorted((run / "tensorboard").iterdir()):
        data = path.read_bytes()
        at = 0
        while at < len(data):
            size = struct.unpack_from("<Q", data, at)[0]
            event = dict(fields_of(data[at + 12 : at + 12 + size]))
            for number, value in fields_of(event.get(5, b"")):
                assert number == 1
                named = dict(fields_of(value))
                points.append(((event.get(2, 0), named[1].decode()), named[2]))
            at += size + 16
    return points


def written_points(run: Path) -> dict[Point, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        (line["step"], name): value for line in lines for name, value in line.items() if name not in ("step", "time")
    }


def assert_same_points(found: list[tuple[Point, float]], run: Path) -> None:
    """Compare with the metrics file: the same points, each once; what is measured of the machine may differ."""
    assert len(found) == len({point for point, _ in found})
    points = {point: value for point, value in found if not is_measured(point[1])}
    expected = {point: value for point, value in written_points(run).items() if not is_measured(point[1])}
    assert len(expected) > 15
    assert points == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def whole(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """Return the folder with a run of 15 steps with TensorBoard events, and its configuration."""
    folder = tmp_path_factory.mktemp("services")
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"checkpoint_interval_steps": 4})
    (folder / "tiny.toml").write_text(config_to_toml(config))
    return folder, config


def train(capsys: pytest.CaptureFixture, folder: Path, *options: str) -> None:
    arguments = ["train", folder / "tiny.toml", "-o", folder / "run", "--devices", 1, *options]
    code, _, err = run_trm(capsys, *arguments)
    assert code == 0, err


@pytest.mark.slow
def test_tensorboard_has_every_step_once_after_a_run_was_killed_and_resumed(
    whole: tuple[Path, Config], capsys: pytest.CaptureFixture, tmp_path: Path
):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    folder, _ = whole
    train(capsys, folder, "--track", "tensorboard")
    run = folder / "run"
    assert_same_points(tensorboard_points(run), run)
    # Killed in step 15, after a part of an event: the checkpoint at 12 is the newest.
    (run / "checkpoints" / "step_15.safetensors").unlink()
    (events,) = (run / "tensorboard").iterdir()
    with events.open("ab") as file:
        file.write(struct.pack("<Q", 100) + b"part")
    train(capsys, folder, "--track", "tensorboard", "--resume")
    assert len(list((run / "tensorboard").iterdir())) == 2
    assert_same_points(tensorboard_points(run), run)
    # As TensorBoard itself reads them.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    assert [event.step for event in reader.Scalars("train/lm_loss")] == list(range(1, 16))
    assert [event.step for event in reader.Scalars("all/exact_accuracy")] == [7, 15]


def lines(*steps: float) -> Iterator[dict[str, Any]]:
    """Yield a line for each step; a half is the evaluation, of two sets, after a step."""
    for step in steps:
        time = {"time": "2026-01-01T00:00:00+00:00"}
        if step == int(step):
            yield {"step": int(step), "train/lm_loss": step} | time
        else:
            yield {"step": int(step), "easy/accuracy": step} | time
            yield {"step": int(step), "hard/accuracy": step} | time


STARTS = {
    "killed": ((1, 2, 3), (3, 4)),
    "evaluation again": ((1, 2, 2.5), (2.5, 3)),
    "nothing again": ((1, 2), (3, 4)),
    "back in one process": ((1, 2, 3, 2, 3),),
    "back to an evaluation": ((1, 2, 2.5, 3, 2.5, 3),),
    "a new run": ((1, 2, 2.5), (1, 2)),
    "three times": ((1, 2), (2, 3), (2, 3, 3.5), (3.5, 4)),
}


@pytest.mark.parametrize("starts", STARTS.values(), ids=STARTS)
def test_no_step_is_double_in_tensorboard(starts: tuple[tuple[float, ...], ...], tmp_path: Path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    expected: list[tuple[float, Point]] = []
    for steps in starts:
        tracker = TensorboardTracker(tmp_path, tiny_config())
        for line in lines(*steps):
            tracker.log(line)
        tracker.close()
        for step in steps:
            names = ["train/lm_loss"] if step == int(step) else ["easy/accuracy", "hard/accuracy"]
            expected = [entry for entry in expected if entry[0] < step] + [(step, (int(step), name)) for name in names]
    assert sorted(point for point, _ in tensorboard_points(tmp_path)) == sorted(point for _, point in expected)


class FakeRun:
    def __init__(self, service: "FakeService", options: dict[str, Any]):
        self.service, self.options = service, options

    def log(self, values: dict[str, Any], step: int) -> None:
        self.service.logged += [(self.options["id"], step, name) for name in values if "/" in name]

    def finish(self) -> None:
        self.service.finished += 1


class FakeService:
    """Stands in for the package wandb."""

    def __init__(self):
        self.logged: list[tuple[str, int, str]] = []
        self.finished = 0

    def init(self, **options: Any) -> FakeRun:
        assert options["resume"] == "allow"
        return FakeRun(self, options)


@pytest.mark.parametrize("starts", STARTS.values(), ids=STARTS)
def test_no_step_is_double_in_wandb(
    starts: tuple[tuple[float, ...], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    service = FakeService()
    monkeypatch.setitem(sys.modules, "wandb", service)
    for steps in starts:
        tracker = WandbTracker(tmp_path, tiny_config())
        for line in lines(*steps):
            tracker.log(line)
        tracker.close()
    assert service.finished == len(starts)
    assert len(set(service.logged)) == len(service.logged)
    everything = [steps for start in starts for steps in lines(*start)]
    points = {(line["step"], name) for line in everything for name in line if "/" in name}
    assert {(step, name) for _, step, name in service.logged} == points
    fresh = sum(start[0] == 1 for start in starts)
    assert len({run for run, _, _ in service.logged}) == fresh


def wandb_points(run: Path) -> list[tuple[Point, float]]:
    """Read the logs of offline runs by their format: blocks of 32 KiB with parts of records."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")

    points = []
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        data, at, record = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            size, kind = struct.unpack_from("<HB", data, at + 4)
            record, at = record + data[at + 7 : at + 7 + size], at + 7 + size
            if kind in (1, 4):
                message = messages.Record.FromString(record)
                record = b""
                items = {item.key or "/".join(item.nested_key): item.value_json for item in message.history.item}
                step = items.get("_step") or message.history.step.num
                points += [((int(step), name), json.loads(v)) for name, v in items.items() if "/" in name]
    return points


@pytest.mark.slow
@pytest.mark.processes
def test_wandb_offline(
    whole: tuple[Path, Config], capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("wandb", reason="the package wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    shutil.copy(whole[0] / "tiny.toml", tmp_path)
    train(capsys, tmp_path, "--track", "wandb")
    run = tmp_path / "run"
    assert_same_points(wandb_points(run), run)
    (run / "checkpoints" / "step_15.safetensors").unlink()
    train(capsys, tmp_path, "--track", "wandb", "--resume")
    assert len(list(run.glob("wandb/offline-run-*"))) == 2
    assert len({path.name.rpartition("-")[2] for path in run.glob("wandb/offline-run-*")}) == 1
    assert_same_points(wandb_points(run), run)


def test_a_tracker_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(
        "class Mine:\n"
        "    def __init__(self, run, config): self.run, self.config = run, config\n"
        "    def log(self, metrics): pass\n"
        "    def close(self): pass\n"
        "def nothing(run, config): return 5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tracker,) = make_trackers(["mine:Mine,mine:Mine"], tmp_path / "run", tiny_config())
    assert (type(tracker).__name__, vars(tracker)) == ("Mine", {"run": tmp_path / "run", "config": tiny_config()})
    with pytest.raises(InputError, match="--track: found 'mine:nothing', expected an object with"):
        make_trackers(["mine:nothing"], tmp_path, tiny_config())
    with pytest.raises(InputError, match="--track: found 'tensorbord', did you mean 'tensorboard'"):
        make_trackers(["tensorbord"], tmp_path, tiny_config())


def test_a_package_that_is_missing(
    whole: tuple[Path, Config], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    command = ["train", str(whole[0] / "tiny.toml"), "-o", str(whole[0] / "new"), "--track", "tensorboard"]
    check_mistake(capsys, command, "the package tensorboard is missing, expected `pip install 'trm[tensorboard]'`")
    assert not os.path.exists(whole[0] / "new")
