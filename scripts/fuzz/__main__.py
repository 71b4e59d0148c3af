"""`python scripts/fuzz TARGET --inputs N`: read mutated inputs; each must be read or end in an InputError.

Counted as faults: another exception, a reader that dies, one that takes more than five seconds of the processor, or a
minute in all, one that needs more than a gigabyte, and one that warns. A fault's input is kept in the folder `--keep`,
and `--replay` reads it again. If the process itself ends, the input is left in a folder `reading-...` there. With
`--coverage`, atheris mutates by coverage.
"""

import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer
from records import Recorder, cpu_hardware
from starting import start

from fuzz.at_random import fuzz
from fuzz.coverage import fuzz_by_coverage
from fuzz.ending import ending_of, limit
from fuzz.targets import TARGETS
from trm.errors import InputError

_MOST_STAGES = 12


def main(
    names: Annotated[list[str], typer.Argument(metavar="TARGET...", help=f"{', '.join(TARGETS)}, or all.")],
    inputs: Annotated[int, typer.Option(help="Inputs of each target.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the mutations.")] = 0,
    processes: Annotated[int, typer.Option(help="Processes that share the inputs; not with --coverage.", min=1)] = 1,
    coverage: Annotated[bool, typer.Option(help="Mutate by coverage, with atheris.")] = False,
    seconds: Annotated[int, typer.Option(help="End each target after this time; with --coverage.", min=0)] = 0,
    stages: Annotated[bool, typer.Option(help="Print which functions refused how many inputs.")] = False,
    replay: Annotated[list[Path] | None, typer.Option(help="Read this kept input of the target again.")] = None,
    keep: Annotated[Path, typer.Option(help="Folder for the inputs of faults.")] = Path("runs/fuzz"),
    json_out: Annotated[Path | None, typer.Option("--json", help="File that the records are appended to.")] = None,
) -> None:
    chosen = _all_targets() if names == ["all"] else names
    for name in chosen:
        if name not in TARGETS:
            raise InputError(f"TARGET: found {name!r}, expected all or one of {', '.join(TARGETS)}")
    if replay:
        raise typer.Exit(_replay(chosen, replay))
    recorder = Recorder("fuzz-coverage" if coverage else "fuzz", json_out, cpu_hardware())
    faults = 0
    for name in chosen:
        if coverage:
            figures = fuzz_by_coverage(name, inputs, seconds, seed, keep / name)
            print(f"{name}: " + ", ".join(f"{key} {value:.0f}" for key, value in figures.items()), flush=True)
        else:
            figures = _fuzz_at_random(name, inputs, seed, processes, keep / name, stages)
        faults += figures["faults"]
        recorder.add(figures, seed=seed, target=name)
    raise typer.Exit(1 if faults else 0)


def _all_targets() -> list[str]:
    """Return the targets whose readers are installed: torch and yaml are extras."""
    return [name for name, target in TARGETS.items() if not target.needs or find_spec(target.needs)]


def _fuzz_at_random(name: str, inputs: int, seed: int, processes: int, keep: Path, stages: bool) -> dict[str, float]:
    """Read mutated inputs of a target; print and return what was counted."""
    begin = time.perf_counter()
    endings = fuzz(name, inputs, seed, keep, processes)
    seconds = time.perf_counter() - begin
    counts = Counter(ending.kind for ending in endings.elements())
    print(f"{name}: {inputs} inputs in {seconds:.0f} s: {dict(counts)}", flush=True)
    if stages:
        refused = Counter({ending.stage: count for ending, count in endings.items() if ending.stage})
        for stage, count in refused.most_common(_MOST_STAGES):
            print(f"    {100 * count / inputs:5.1f} %  {stage}", flush=True)
    found = sum(count for ending, count in endings.items() if ending.is_fault)
    read, refused_all = counts["read"], counts["InputError"]
    return {"inputs": inputs, "read": read, "refused": refused_all, "faults": found, "seconds": seconds}


def _replay(names: list[str], paths: list[Path]) -> int:
    """Read kept inputs with the reader of a target; print how each ends, and return the exit status."""
    if len(names) != 1:
        raise InputError(f"--replay: found {len(names)} targets, expected the one whose inputs these are")
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[names[0]]
        _ = ending_of(target.read, target.seeds()[0], Path(folder))
        limit()
        for path in paths:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InputError(f"{path}: cannot read: {error.strerror}") from error
            ending = ending_of(target.read, data, Path(folder))
            faults += ending.is_fault
            print(f"{path}: {ending.kind} {ending.told}".rstrip())
    return 1 if faults else 0


if __name__ == "__main__":
    start(main)
