"""Kill a training run with signal 9 at random moments, and compare its files with those of an uninterrupted run.

Entry: `python scripts/kill_many.py OUT`. Run it every night; 50 kills take a quarter of an hour. A kill comes at a
random time after a process has begun to train, or, one in five, while it starts; kills therefore hit steps, evaluations
and saves in proportion to their time. When a run comes to its end before all kills are done, it is compared and another
one begins.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from records import Recorder, cpu_hardware
from rich.console import Console
from starting import start
from tiny import tiny_config

from trm.configuration.reading import config_to_toml
from trm.errors import InputError
from trm.training.checkpoints import list_checkpoints
from trm.training.tracking.measured import is_measured

console = Console(soft_wrap=True, highlight=False)

TRAIN = "import sys; from trm.__main__ import main; sys.argv[0] = 'trm'; main()"
EVAL_STEPS, CHECKPOINT_STEPS = 50, 7


def main(
    out: Annotated[Path, typer.Argument(help="Folder for puzzles and runs.")],
    kills: Annotated[int, typer.Option(help="Kills altogether.", min=1)] = 50,
    steps: Annotated[int, typer.Option(help="Steps of a run.", min=100)] = 3000,
    seconds: Annotated[float, typer.Option(help="Longest time that a process trains before a kill.", min=0)] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Append the result, as a line of JSON.")
    ] = None,
) -> None:
    """Kill runs and compare their ends; exit with 1 where a byte differs."""
    recorder, moments = Recorder("kills", json_out, cpu_hardware()), random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    config = out / "tiny.toml"
    config.write_text(config_to_toml(tiny_config(out / "data", steps, EVAL_STEPS, CHECKPOINT_STEPS)))
    whole = out / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    _finish(_start(config, whole, out), whole)
    done, runs, hit = 0, 0, Counter()
    while done < kills or not runs:
        run = out / f"run-{runs}"
        shutil.rmtree(run, ignore_errors=True)
        while done < kills:
            while_starting = moments.random() < 0.2
            process = _start(config, run, out)
            if not while_starting:
                _wait_for_a_step(process, run)
            delay = moments.uniform(0, 5 if while_starting else seconds)
            time.sleep(delay)
            if process.poll() is not None:
                # It came to its end before.
                _finish(process, run)
                break
            process.kill()
            process.communicate()
            done += 1
            where = "starting" if while_starting else _where(run)
            hit[where] += 1
            console.print(f"kill {done}: {where}, {_newest_line(run)}")
        _finish(_start(config, run, out), run)
        differences = compare(run, whole)
        runs += 1
        console.print(f"run {runs}: {', '.join(differences) or 'the same bytes'}")
        if differences:
            sys.exit(1)
    figures = {"kills": done, "runs": runs, "steps": steps, "differences": 0} | {
        f"kills_{k}": n for k, n in hit.items()
    }
    recorder.add(figures, seed=seed)


def compare(run: Path, whole: Path) -> list[str]:
    """Return what differs between two runs but for what is measured of the machine."""
    files = [
        "weights.safetensors",
        "best.safetensors",
        *(f"checkpoints/{path.name}" for path in list_checkpoints(whole)),
    ]
    differences = [name for name in files if not _same_bytes(run / name, whole / name)]
    if _numbers(run) != _numbers(whole):
        differences.append("metrics.jsonl")
    if left := [path.name for path in run.rglob(".*") if path.name != ".lock"]:
        differences.append(f"leftovers {', '.join(left)}")
    if list_checkpoints(run)[0].name != list_checkpoints(whole)[0].name:
        differences.append("other checkpoints")
    return differences


def _same_bytes(one: Path, other: Path) -> bool:
    return one.exists() and one.read_bytes() == other.read_bytes()


def _numbers(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not is_measured(name)} for line in lines]


def _start(config: Path, run: Path, out: Path) -> subprocess.Popen:
    environment = os.environ | {
        # Compiled once for all.
        "JAX_COMPILATION_CACHE_DIR": str((out / "programs").absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-c", TRAIN, "train", str(config), "--out", str(run), "--resume", "--devices", "1"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _finish(process: subprocess.Popen, run: Path) -> None:
    _, err = process.communicate()
    if process.returncode:
        raise InputError(f"{run}: the run ended with {process.returncode}: {err}")


def _wait_for_a_step(process: subprocess.Popen, run: Path) -> None:
    """Wait until the process writes metrics: it opens the file anew when it has started."""
    path = run / "metrics.jsonl"
    before = path.stat().st_ino if path.exists() else 0
    while process.poll() is None:
        # The file is first replaced, without the lines to be written again, and then grows.
        if path.exists() and path.stat().st_ino != before:
            size = path.stat().st_size
            while process.poll() is None and path.stat().st_size == size:
                time.sleep(0.001)
            return
        time.sleep(0.001)


def _newest_line(run: Path) -> str:
    lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
    return f"{len(lines)} lines of metrics"


def _where(run: Path) -> str:
    """Return what a killed process was doing, from what it left."""
    if any(run.rglob(".*.tmp")):
        return "saving"
    newest = [line for line in (run / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]
    last = json.loads(newest[-1])["step"] if newest else 0
    evaluated = any(json.loads(line)["step"] == last and "train/lm_loss" not in line for line in newest[-3:])
    return "evaluating" if last and last % EVAL_STEPS == 0 and not evaluated else "training"


if __name__ == "__main__":
    start(main)
