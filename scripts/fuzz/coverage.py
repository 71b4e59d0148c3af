"""Mutations by coverage, with atheris: an input that reaches new code is kept and mutated further.

Entry: `fuzz_by_coverage`. libFuzzer ends its process, so each target gets a process of its own: this module, run with
the target's name, a folder and libFuzzer's options.
"""

import gc
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzz.ending import SECONDS, Ending, ending_of, keep_fault, limit
from fuzz.mutate import mutate_one
from fuzz.targets import TARGETS
from trm.errors import InputError

PARSERS = ("zipfile", "tomllib", "csv", "json", "numpy.lib._format_impl", "torch._weights_only_unpickler")
"""Modules of Python and of libraries whose code counts beside the package's: they read the bytes."""
_ARTIFACTS = ("crash-", "oom-", "timeout-", "leak-")
_SLOWER = 4
"""Times that instrumented code may take longer."""
_MOST_KEPT = 20
"""Inputs that are kept of faults of one kind."""


def fuzz_by_coverage(name: str, inputs: int, seconds: int, seed: int, keep: Path) -> dict[str, float]:
    """Read inputs until their number or the time is reached; return what was measured, and keep those of faults.

    `keep/corpus` stays: another call goes on from there. `keep/coverage.log` is libFuzzer's log.
    """
    if not find_spec("atheris"):
        raise InputError("--coverage: the package atheris is missing, expected `pip install atheris` (Python 3.11)")
    keep.mkdir(parents=True, exist_ok=True)
    before = _faults(keep)
    options = [f"-runs={inputs}", f"-max_total_time={seconds}", f"-seed={seed or 1}"]
    begin = time.perf_counter()
    with (keep / "coverage.log").open("w") as log:
        command = [sys.executable, "-W", "ignore", __file__, name, str(keep), *options]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if not code:
        for folder in keep.glob("reading-*"):
            shutil.rmtree(folder)
    text = (keep / "coverage.log").read_text(errors="backslashreplace")
    figures = parse_log(text)
    faults = len(_faults(keep) - before)
    if "inputs" not in figures or (code and not faults):
        last = text.strip().splitlines()[-1:] or ["no line"]
        raise InputError(f"{keep / 'coverage.log'}: found exit status {code}, expected 0: {last[0]:.200}")
    return figures | {"faults": faults, "seconds": time.perf_counter() - begin}


def parse_log(text: str) -> dict[str, float]:
    """Return inputs, inputs per second, and the edges that the seeds and all inputs cover, from libFuzzer's log."""
    figures: dict[str, float] = {}
    # A process that dies prints no statistics.
    if executed := re.findall(r"number_of_executed_units:\s+(\d+)", text) or re.findall(r"^#(\d+)", text, re.MULTILINE):
        figures["inputs"] = int(executed[-1])
    if speed := re.search(r"average_exec_per_sec:\s+(\d+)", text):
        figures["inputs_per_second"] = int(speed[1])
    if known := re.search(r"^FUNCTIONS (\d+)", text, re.MULTILINE):
        figures["functions"] = int(known[1])
    if covered := re.findall(r"^#\d+\s+(\w+)\s+cov: (\d+)", text, re.MULTILINE):
        figures["covered_by_seeds"] = next((int(edges) for kind, edges in covered if kind == "INITED"), 0)
        figures["covered"] = int(covered[-1][1])
    return figures


def _faults(folder: Path) -> set[str]:
    """Return the names of kept inputs: with a traceback beside them, of libFuzzer, and those that ended the process."""
    of_libfuzzer = {path.name for path in folder.iterdir() if path.name.startswith(_ARTIFACTS)}
    return {path.stem for path in folder.glob("*.txt")} | (of_libfuzzer or _left(folder))


def _left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.glob("reading-*/*")}


# In the process of one target


def _main(name: str, folder: Path, options: list[str]) -> None:
    import atheris  # pyright: ignore[reportMissingImports]

    target, reading = TARGETS[name], folder / f"reading-{os.getpid()}"
    seeds, kinds = target.seeds(), Counter[str]()
    reading.mkdir()

    def one_input(data: bytes) -> None:
        ending = ending_of(target.read, data, reading, _SLOWER * SECONDS)
        if ending.is_fault:
            kind = _kind(ending)
            kinds[kind] += 1
            if kinds[kind] <= _MOST_KEPT:
                keep_fault(folder, f"coverage-{time.time_ns()}", data, ending)

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            changed = mutate_one(rng, bytes(data), seeds)
            if len(changed) <= most:
                return changed
        return atheris.Mutate(data, most)

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
        # What the readers import when they are called is there before the instrumentation.
        _ = ending_of(target.read, data, reading)
    print("FUNCTIONS", _instrument(atheris), flush=True)
    limit()
    most = 2 * max(map(len, seeds)) + 4096
    fixed = [f"-max_len={most}", "-timeout=0", "-rss_limit_mb=0", "-print_final_stats=1", "-len_control=0"]
    atheris.Setup(
        ["fuzz", *options, *fixed, f"-artifact_prefix={folder}/", str(corpus)], one_input, custom_mutator=change
    )
    atheris.Fuzz()


def _kind(ending: Ending) -> str:
    """Return what faults of one kind have in common: the exception and the lines of code in its traceback."""
    return ending.kind + "".join(re.findall(r'File "[^"]*", line \d+', ending.told))


def _instrument(atheris: Any) -> int:
    """Instrument the functions of the package and of the parsers; return how many there are."""
    modules = ("trm", *PARSERS)
    functions = [
        found
        for found in gc.get_objects()
        if isinstance(found, FunctionType) and _is_in(str(found.__module__), modules)
    ]
    for function in functions:
        atheris.instrument_func(function)
    return len(functions)


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
