"""Trackers: the metrics that they get, and the effect of trackers that fail."""

import datetime
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_config
from rich.console import Console

from trm.model.flops import training_step_flops
from trm.parallel.mesh import make_mesh
from trm.training.run import train
from trm.training.tracking import progress
from trm.training.tracking.jsonl import JsonLines
from trm.training.tracking.progress import Progress
from trm.training.tracking.tracker import Trackers


class Failing:
    """A tracker whose service is away."""

    def __init__(self):
        self.lines, self.closed = 0, 0

    def log(self, metrics: dict[str, Any], /) -> None:
        self.lines += 1
        raise ConnectionError("no route to host")

    def close(self) -> None:
        self.closed += 1
        raise ConnectionError("no route to host")


def test_a_run_tells_time_speed_and_memory_and_goes_on_without_a_tracker(puzzle_dir: Path, tmp_path: Path):
    console = Console(file=StringIO(), width=1000)
    assert isinstance(console.file, StringIO)
    failing, lines = Failing(), []
    config = tiny_config(data={"path": str(puzzle_dir)})
    began = datetime.datetime.now(datetime.UTC)
    outcome = train(config, tmp_path, make_mesh(1), hooks=[failing, lines.append], console=console)
    ended = datetime.datetime.now(datetime.UTC)
    assert outcome.step == 15
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert written == lines
    # 15 steps and two evaluations, and one warning.
    assert (failing.lines, failing.closed) == (17, 1)
    warnings = [line for line in console.file.getvalue().splitlines() if "the run goes on" in line]
    assert warnings == ["warning: Failing: ConnectionError: no route to host; the run goes on without it"]

    times = [datetime.datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times)
    # They are written in milliseconds.
    assert began - datetime.timedelta(milliseconds=1) <= times[0] <= times[-1] <= ended
    steps = [line for line in lines if "train/lm_loss" in line]
    assert "train/steps_per_second" not in steps[0]
    for line in steps[1:]:
        assert line["train/puzzles_per_second"] == pytest.approx(8 * line["train/steps_per_second"])
        flops = training_step_flops(config, 6, 16, batch=8)
        assert line["train/flops_per_second"] == pytest.approx(flops * line["train/steps_per_second"])
    # Of 14 steps, each in the time between two lines, but for those after an evaluation.
    passed = sum(1 / line["train/steps_per_second"] for line in steps[1:])
    assert 0 < passed < (ended - began).total_seconds()
    memory = [line.get("train/host_memory_bytes") or line["train/device_memory_bytes"] for line in steps]
    assert min(memory) > 2**20


def line_of(step: int) -> dict[str, Any]:
    speed = {"train/steps_per_second": 2.0, "train/puzzles_per_second": 16.0}
    return {"step": step, "train/lm_loss": 1.25, "train/exact_accuracy": 0.5} | speed


def test_without_a_terminal_there_is_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch):
    clock = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    console = Console(file=StringIO(), width=1000)
    assert isinstance(console.file, StringIO)
    bar = Progress(console, "run")
    bar.start(steps=200, start=0)
    for step in range(1, 101):
        clock += 1
        bar.log(line_of(step))
    bar.close()
    expected = [
        f"step {step}/200: loss 1.250 exact 0.500 2.0 steps/s 16 puzzles/s {left} left"
        for step, left in ((30, "0:01:25"), (60, "0:01:10"), (90, "0:00:55"))
    ]
    assert console.file.getvalue().splitlines() == expected


class FullDisk:
    """A file on a disk that takes no more than some bytes of a line, for some lines."""

    def __init__(self, file: Any, lines: int):
        self.file, self.lines = file, lines

    def write(self, data: bytes) -> int:
        if self.lines:
            self.lines -= 1
            self.file.write(data[:5])
            raise OSError(28, "No space left on device")
        return self.file.write(data)

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


def test_lines_wait_while_the_disk_is_full(tmp_path: Path):
    path, warnings = tmp_path / "metrics.jsonl", []
    file: Any = JsonLines(path, start=0)
    with Trackers([file], warnings.append) as trackers:
        trackers.log({"step": 1})
        file._file = FullDisk(file._file, lines=2)
        for step in (2, 3, 4):
            trackers.log({"step": step})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]
    assert len(warnings) == 1
    assert "metrics.jsonl: cannot write: No space left on device" in warnings[0]


def test_lines_that_are_to_be_written_again_are_dropped(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 1, "train/lr": 1}, {"step": 2, "train/lr": 1}, {"step": 2, "all/accuracy": 1}, {"step": 3}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '[1]\n{"step": 4, "tr'
    for due, kept in ((False, lines[:3]), (True, lines[:2])):
        path.write_text(text)
        JsonLines(path, start=2, evaluation_due=due).close()
        assert [json.loads(line) for line in path.read_text().splitlines()] == kept
