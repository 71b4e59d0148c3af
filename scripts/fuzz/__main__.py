"""`python scripts/fuzz TARGET --inputs N`: read mutated inputs; each must be read or end in an InputError.

Counted as faults: another exception, a reader that dies, one that takes more than five seconds of the processor, or a
minute in all, and one that needs more than a gigabyte. A fault's input is kept in the folder `--keep`. With
`--coverage`, atheris mutates by coverage.
"""

import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer
from records import Recorder, cpu_hardware

from fuzz.mutate import mutate
from fuzz.targets import TARGETS, Target
from trm.errors import InputError

SECONDS = 5
"""Of the processor: other work on the machine makes no reader a slow one."""
WALL_SECONDS = 60
BYTES = 1 << 30


class Hang(BaseException):
    """A reader that takes too long. No reader may swallow it."""


def main(
    names: Annotated[list[str], typer.Argument(metavar="TARGET...", help=f"{', '.join(TARGETS)}, or all.")],
    inputs: Annotated[int, typer.Option(help="Inputs of each target.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the mutations.")] = 0,
    coverage: Annotated[bool, typer.Option(help="Mutate one target by coverage, with atheris.")] = False,
    keep: Annotated[Path, typer.Option(help="Folder for the inputs of faults.")] = Path("runs/fuzz"),
    json_out: Annotated[Path | None, typer.Option("--json", help="File that the records are appended to.")] = None,
) -> None:
    recorder = Recorder("fuzz", json_out, cpu_hardware())
    faults = 0
    for name in _all_targets() if names == ["all"] else names:
        if name not in TARGETS:
            raise InputError(f"TARGET: found {name!r}, expected all or one of {', '.join(TARGETS)}")
        if coverage:
            _with_atheris(name, TARGETS[name], inputs, keep)
            continue
        begin = time.perf_counter()
        counts = fuzz(TARGETS[name], inputs, seed, keep / name)
        seconds = time.perf_counter() - begin
        found = sum(count for ending, count in counts.items() if ending not in ("read", "InputError"))
        faults += found
        recorder.add({"inputs": inputs, "read": counts["read"], "refused": counts["InputError"], "faults": found,
                      "seconds": seconds}, seed=seed, target=name)  # fmt: skip
        print(f"{name}: {inputs} inputs in {seconds:.0f} s: {dict(counts)}", flush=True)
    raise typer.Exit(1 if faults else 0)


def _all_targets() -> list[str]:
    """Return the targets whose readers are installed: torch is an extra."""
    return [name for name in TARGETS if name != "torch" or find_spec("torch")]


def fuzz(target: Target, inputs: int, seed: int, keep: Path) -> Counter[str]:
    """Read mutated inputs; return how many ended in which way, and keep those of faults."""
    rng, seeds = random.Random(seed), target.seeds()
    counts: Counter[str] = Counter()
    _call_at_alarms(_hang)
    with tempfile.TemporaryDirectory() as folder:
        for data in seeds:
            # What is good is read; and what the readers need is imported before the memory is limited.
            _ = ending_of(target.read, data, Path(folder))
        _limit_memory()
        for number in range(inputs):
            data = mutate(rng, seeds)
            ending, told = ending_of(target.read, data, Path(folder))
            counts[ending] += 1
            if ending not in ("read", "InputError"):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed}-{number}").write_bytes(data)
                (keep / f"{seed}-{number}.txt").write_text(told, encoding="utf-8", errors="backslashreplace")
    return counts


def ending_of(read: Callable[[Path], object], data: bytes, folder: Path) -> tuple[str, str]:
    """Return how the reading of an input ends: read, InputError, or the name of the fault, with its traceback."""
    path = folder / "input"
    path.write_bytes(data)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WALL_SECONDS)
    try:
        read(path)
        ending, told = "read", ""
    except InputError as error:
        ending, told = "InputError", str(error)
        if "\n" in told.strip():
            ending = "lines"  # An error is one line.
    except (Exception, Hang) as error:  # All that a user must not see.
        ending, told = type(error).__name__, traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for left in folder.glob("input*"):
            left.unlink()
    return ending, told


def _call_at_alarms(handler: Callable[..., None]) -> None:
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, handler)


def _hang(*_: object) -> None:
    raise Hang


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.RLIM_INFINITY))


def _with_atheris(name: str, target: Target, inputs: int, keep: Path) -> None:
    import atheris  # pyright: ignore[reportMissingImports]

    atheris.instrument_all()  # pyright: ignore[reportAttributeAccessIssue]
    corpus = keep / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    folder = Path(tempfile.mkdtemp())

    def one_input(data: bytes) -> None:
        ending, told = ending_of(target.read, data, folder)
        if ending not in ("read", "InputError"):
            raise RuntimeError(told)

    _call_at_alarms(_hang)
    atheris.Setup(["fuzz", f"-runs={inputs}", f"-artifact_prefix={keep / name}/", str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
