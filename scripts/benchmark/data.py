"""Time, memory and disk of the puzzle-set builders, and the speed of the loader. Entry: `data_command`.

Every builder runs as a command of its own. Its peak memory is the sum of the resident memory of the command and its
child processes, as Linux counts it. With `--original`, a clone of the original builds the same sets right after ours;
it needs its own packages (argdantic, pydantic, tqdm, huggingface_hub).
"""

import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from records import Recorder, cpu_hardware

from benchmark.options import JsonOut
from benchmark.printing import console, print_table
from trm.errors import InputError
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.tables import Puzzle
from trm.puzzles.loader import TrainLoader
from trm.puzzles.reading import read_puzzle_set

ARC = {
    "ARC-1": ("training,evaluation,concept", "evaluation"),
    "ARC-2": ("training2,evaluation2,concept", "evaluation2"),
}
"""Subsets of each set, and the subset whose test pairs are the test split."""


class BuilderFigures(NamedTuple):
    """Figures of one build."""

    builder: str
    seconds: float
    peak_memory_mb: float
    disk_mb: float
    examples: int
    """Examples of both splits, augmentations included."""
    examples_per_second: float


class LoaderFigures(NamedTuple):
    """Figures of a loader on one core."""

    loader: str
    batch_size: int
    open_milliseconds: float
    batches_per_second: float


def data_command(
    arc: Annotated[str | None, typer.Option(help="Prefix of ARC's Kaggle files.", show_default="no ARC")] = None,
    original: Annotated[Path | None, typer.Option(help="Clone of the original, measured after ours.")] = None,
    num_aug: Annotated[int, typer.Option(help="Augmentations of each puzzle.", min=1)] = 1000,
    puzzles: Annotated[int, typer.Option(help="Sudokus.", min=1)] = 1000,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch of the loader.", min=1)] = 768,
    batches: Annotated[int, typer.Option(help="Timed batches.", min=1)] = 200,
    json_out: JsonOut = None,
) -> None:
    """Time the builders on the bundled 9x9 Sudokus and on ARC, and the loader on the sets they built."""
    if original and not (original / "dataset" / "build_arc_dataset.py").is_file():
        raise InputError(f"--original: {original}: found no dataset/build_arc_dataset.py, expected a clone")
    results = _Results(Recorder("data", json_out, cpu_hardware()), num_aug)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def build_original(name: str, command: list[str]) -> None:
            out = folder / "original"
            try:
                results.add(_build(f"{name}, original", out, command))
            except InputError as error:  # It may need more memory than there is; ours is measured nevertheless.
                console.print(f"{name}, original: {error}")
            shutil.rmtree(out, ignore_errors=True)

        sudokus = ["trm", "data", "sudoku", "--subsample-size", str(puzzles)]
        stored, online = folder / "sudoku", folder / "sudoku-online"
        results.add(_build("Sudoku", stored, [*sudokus, str(stored), "--num-aug", str(num_aug)]))
        if original:
            build_original("Sudoku", _original_sudoku(original, folder / "original", puzzles, num_aug))
        results.add(_build("Sudoku, online", online, [*sudokus, str(online), "--online-aug"]))
        for name, path in (("Sudoku", stored), ("Sudoku, online", online)):
            results.add(_load(name, path, batch_size, batches))
        for name, (subsets, test_set) in ARC.items():
            if arc is None:
                continue
            stored, compact = folder / "arc", folder / "arc-compact"
            ours = ["trm", "data", "arc", arc, "--subsets", subsets, "--test-set", test_set, "--num-aug", str(num_aug)]
            results.add(_build(name, stored, [*ours[:3], str(stored), *ours[3:]]))
            results.add(_load(name, stored, batch_size, batches))
            shutil.rmtree(stored)
            if original:
                build_original(name, _original_arc(original, folder, arc, subsets, test_set, num_aug))
            results.add(_build(f"{name}, compact", compact, [*ours[:3], str(compact), *ours[3:], "--compact"]))
            results.add(_load(f"{name}, compact", compact, batch_size, batches))
            shutil.rmtree(compact)
    for kind in (BuilderFigures, LoaderFigures):
        rows = [figures for figures in results.all if isinstance(figures, kind)]
        print_table(
            [name.replace("_", " ") for name in kind._fields],
            [[value if isinstance(value, str) else f"{value:,.1f}" for value in row] for row in rows],
        )


class _Results:
    """Keeps results for the tables, and records each at once: the original takes long, and may take all memory."""

    def __init__(self, recorder: Recorder, num_aug: int):
        self.all: list[BuilderFigures | LoaderFigures] = []
        self._recorder, self._num_aug = recorder, num_aug

    def add(self, figures: BuilderFigures | LoaderFigures) -> None:
        self.all.append(figures)
        what, *numbers = figures._fields
        about = {what: figures[0], "num_aug": self._num_aug}
        self._recorder.add({name: getattr(figures, name) for name in numbers}, seed=0, **about)
        console.print(", ".join(f"{name}: {value}" for name, value in figures._asdict().items()))


def _build(name: str, out: Path, command: list[str]) -> BuilderFigures:
    if command[0] == "trm":
        command = [sys.executable, "-m", *command]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        peak = _watch_memory(process)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            raise InputError(f"{name}: found exit code {process.returncode}: {output.read().strip()[-500:]}")
    disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    examples = sum(read_puzzle_set(out, split).examples for split in ("train", "test"))
    return BuilderFigures(name, seconds, peak / 1e6, disk / 1e6, examples, examples / seconds)


def _watch_memory(process: subprocess.Popen) -> int:
    """Wait for a process; return the peak resident bytes of it and its descendants."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, sum(_resident_bytes(pid) for pid in _family(process.pid)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    process.wait()
    done.set()
    thread.join()
    return peak


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # It has just ended.
    return found


def _resident_bytes(pid: int) -> int:
    try:
        # Shared pages count once for each process: counting them exactly is slow enough to slow the builder down.
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0  # It has just ended.


# The original


def _original_sudoku(clone: Path, out: Path, puzzles: int, num_aug: int) -> list[str]:
    """Return a command that runs the original's builder on local files instead of the hub's."""
    files = out.parent / "source"
    files.mkdir()
    for split in ("train", "test"):
        table = sudoku_text.read_table(bundled_csv(f"sudoku-9x9-{split}.csv.gz"))
        sudoku_text.write_csv(files / f"{split}.csv", "bundled", (Puzzle(*row) for row in zip(*table, strict=True)))
    arguments = ["--output-dir", str(out), "--subsample-size", str(puzzles), "--num-aug", str(num_aug)]
    script = (
        "import huggingface_hub, runpy, sys; "
        f"huggingface_hub.hf_hub_download = lambda repo, name, **_: {str(files)!r} + '/' + name; "
        f"sys.argv = ['build_sudoku_dataset.py', *{arguments!r}]; sys.path.insert(0, {str(clone / 'dataset')!r}); "
        f"runpy.run_path({str(clone / 'dataset' / 'build_sudoku_dataset.py')!r}, run_name='__main__')"
    )
    return [sys.executable, "-c", script]


def _original_arc(clone: Path, folder: Path, prefix: str, subsets: str, test_set: str, num_aug: int) -> list[str]:
    plain = folder / "arc-source"
    plain.mkdir(exist_ok=True)
    for path in Path(prefix).parent.glob(f"{Path(prefix).name}_*.json*"):
        if path.suffix == ".gz":
            (plain / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, plain / path.name)
    arguments = [
        "--input-file-prefix", str(plain / Path(prefix).name), "--output-dir", str(folder / "original"),
        "--subsets", *subsets.split(","), "--test-set-name", test_set, "--num-aug", str(num_aug),
    ]  # fmt: skip
    script = (
        f"import runpy, sys; sys.argv = ['build_arc_dataset.py', *{arguments!r}]; "
        f"sys.path.insert(0, {str(clone)!r}); runpy.run_module('dataset.build_arc_dataset', run_name='__main__')"
    )
    return [sys.executable, "-c", script]


# The loader


def _load(name: str, directory: Path, batch_size: int, batches: int) -> LoaderFigures:
    seconds = []
    start = time.perf_counter()
    loader = TrainLoader(read_puzzle_set(directory, "train"), batch_size, seed=0)
    opened = time.perf_counter() - start
    for step in range(batches):
        start = time.perf_counter()
        loader.load(step)
        seconds.append(time.perf_counter() - start)
    return LoaderFigures(name, batch_size, 1e3 * opened, 1 / statistics.median(seconds))
