"""`python scripts/measure_start.py`: processor seconds of short commands, from the shell to the answer."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from records import Recorder, cpu_hardware, spread

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
COMMANDS = {
    "trm --help": ["--help"],
    "trm info sudoku": ["info", "sudoku"],
    "trm solve sudoku PUZZLE": ["solve", "sudoku", PUZZLE, "--format", "plain"],
}


def main(
    repeats: Annotated[int, typer.Option(help="Runs of each command, in turns.", min=1)] = 7,
    json_out: Annotated[Path | None, typer.Option("--json", help="File that the records are appended to.")] = None,
) -> None:
    recorder = Recorder("start", json_out, cpu_hardware())
    seconds = {name: [] for name in COMMANDS}
    processor = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as programs:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": programs}
        # The first run of each compiles its programs.
        for number in range(repeats + 1):
            for name, arguments in COMMANDS.items():
                before, begin = _children(), time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "trm", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True
                )
                if number:
                    seconds[name].append(time.perf_counter() - begin)
                    processor[name].append(_children() - before)
    for name in COMMANDS:
        figures = {"seconds": spread(seconds[name]), "processor_seconds": spread(processor[name])}
        recorder.add(figures, called=name)
        print(
            f"{name}: {figures['seconds']['median']:.2f} s, {figures['processor_seconds']['median']:.2f} of processor"
        )


def _children() -> float:
    """Return the processor seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    typer.run(main)
