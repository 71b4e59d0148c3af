"""The live view of a run: what it shows, where it is not shown, and what it leaves behind on the terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_config
from rich.console import Console

from trm.configuration.reading import config_to_toml
from trm.training.tracking import record
from trm.training.tracking.progress import Progress, Show
from trm.training.tracking.record import Record

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def terminal(**options: Any) -> tuple[Console, StringIO]:
    file = StringIO()
    environment = {"TERM": "xterm"} | options.pop("environment", {})
    return Console(file=file, force_terminal=True, width=100, height=30, _environ=environment, **options), file


def plain(text: str) -> str:
    """Return text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def train_line(step: int, **values: float) -> dict[str, Any]:
    names = {"lm_loss": 0.5, "q_halt_loss": 0.25, "exact_accuracy": 0.125, "steps": 3.0, "lr": 1e-4}
    speed = {"steps_per_second": 2.0, "puzzles_per_second": 16.0, "device_memory_bytes": 3e9, "share_of_peak": 0.375}
    return {"step": step} | {f"train/{name}": value for name, value in (names | speed | values).items()}


def test_the_view_shows_the_newest_values_below_what_is_printed():
    console, file = terminal()
    progress = Progress(console, "sudoku")
    progress.start(2000, 0)
    assert "compiling" in plain(file.getvalue())
    for step in range(1, 1001):
        progress.log(train_line(step))
    # Three evaluations: the second is the best.
    for step, exact in ((250, 0.25), (500, 0.75), (1000, 0.5)):
        progress.log({"step": step, "validation/all/exact_accuracy": exact, "validation/all/accuracy": 0.9})
    progress.saved(1000)
    progress.print("a line")
    progress.close()
    shown = plain(file.getvalue()).split("a line")[-1]
    rows = {line.split(" ")[0]: line for line in shown.splitlines() if line.strip()}
    assert re.search(r"1,000 / 2,000 +50% +0:08:20 left", rows["sudoku"])
    assert rows["loss"].split() == "loss tokens 0.5000 halting 0.2500".split()
    exact = "exact train 0.125 validation 0.500 at step 1,000 (best 0.750 at 500)"
    assert rows["exact"].split() == exact.split()
    assert rows["halting"].split() == "halting after 3.0 steps learning rate 0.0001".split()
    assert rows["speed"].split() == "speed 2.0 steps/s 16 puzzles/s 38% of peak 3.0 GB of device memory".split()
    assert rows["saved"].split()[:3] == ["saved", "step", "1,000"]
    assert file.getvalue().rindex(SHOW) > file.getvalue().rindex(HIDE)


def test_a_narrower_terminal_is_drawn_anew_from_where_the_view_begins():
    console, file = terminal()
    progress = Progress(console, "sudoku")
    progress.start(2000, 0)
    progress.log(train_line(1))
    progress.print("first")
    before = len(file.getvalue())
    lines = plain(file.getvalue()).split("first")[-1].strip("\n").splitlines()
    console.width = 30
    progress.print("second")
    drawn = file.getvalue()[before:]
    # As a terminal of 30 columns has broken the lines: it is that many lines up to the first.
    broken = sum(-(-len(line.rstrip()) // 30) for line in lines)
    assert broken > len(lines) == 6
    assert drawn[: drawn.index("sudoku")].count("\x1b[1A") == broken - 1
    assert max(map(len, plain(drawn).splitlines())) <= 30
    progress.close()


@pytest.mark.parametrize(
    ("show", "environment"),
    [("plain", {}), ("live", {"NO_COLOR": "1"}), ("live", {"TERM": "dumb"}), ("quiet", {})],
    ids=["--plain", "NO_COLOR", "TERM=dumb", "--quiet"],
)
def test_where_there_are_plain_lines(show: Show, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trm.training.tracking.progress.PLAIN_LINE_SECONDS", 0)
    console, file = terminal(environment=environment)
    progress = Progress(console, "sudoku", show)
    progress.start(2000, 0)
    progress.log(train_line(1))
    progress.print("resuming")
    progress.print("warning: the disk is full")
    progress.close()
    line = "step 1/2000: loss 0.500 exact 0.125 2.0 steps/s 16 puzzles/s 0:16:40 left\nresuming\n"
    assert file.getvalue() == ("" if show == "quiet" else line) + "warning: the disk is full\n"


def test_only_process_0_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record, "is_first", lambda: False)
    console, file = terminal()
    with Record(tmp_path / "metrics.jsonl", Progress(console, "sudoku"), [], 10, 0, False) as other:
        other.log(train_line(1))
        other.print("a line")
        other.doing("evaluating")
        other.saved(1)
    assert file.getvalue() == ""


@pytest.mark.slow
@pytest.mark.processes
def test_a_signal_and_an_error_leave_the_terminal_as_it_was(puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 100_000, "eval_interval": 100_000})
    (tmp_path / "tiny.toml").write_text(config_to_toml(config))
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        mine, its = pty.openpty()
        before = termios.tcgetattr(its)
        arguments = ["train", str(tmp_path / "tiny.toml"), "-o", str(tmp_path / number.name), "--devices", "1"]
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        environment.pop("NO_COLOR", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "trm", *arguments], stdin=its, stdout=its, stderr=its, env=environment
        )
        drawn, stopped, ends = "", False, time.monotonic() + 300
        while time.monotonic() < ends and (process.poll() is None or select.select([mine], [], [], 0.1)[0]):
            if select.select([mine], [], [], 0.1)[0]:
                drawn += os.read(mine, 65536).decode()
            if not stopped and "puzzles/s" in drawn:
                stopped = True
                process.send_signal(number)
        assert (stopped, process.wait(timeout=60)) == (True, code), drawn[-2000:]
        assert drawn.rindex(SHOW) > drawn.rindex(HIDE)
        assert termios.tcgetattr(its) == before
        assert f"stopped: {number.name} at step" in plain(drawn)
        os.close(mine)
        os.close(its)
