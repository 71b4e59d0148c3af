"""The fuzzer: its mutations keep a file's frame whole, it finds a reader's faults, and none in ours in a few inputs."""

import io
import json
import os
import pickle
import pickletools
import random
import re
import signal
import subprocess
import sys
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fuzz.coverage import parse_log
from fuzz.ending import Ending, ending_of
from fuzz.mutate import mutate
from fuzz.structure import change_structure
from fuzz.targets import TARGETS

from trm.errors import InputError
from trm.storage.safetensors import read_safetensors

ROOT = Path(__file__).parent.parent.parent
FUZZ = [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "fuzz")]


# Endings


def fails(path: Path) -> None:
    raise {b"key": KeyError("x"), b"memory": MemoryError}.get(path.read_bytes(), InputError("one line"))


def read_lines(path: Path) -> None:
    raise InputError("one line\nand another")


def test_endings(tmp_path: Path):
    assert ending_of(lambda path: path.read_bytes(), b"x", tmp_path) == Ending("read")
    assert ending_of(fails, b"", tmp_path) == Ending("InputError", "one line", "elsewhere")
    assert ending_of(fails, b"key", tmp_path).kind == "KeyError"
    assert ending_of(fails, b"memory", tmp_path).kind == "MemoryError"
    assert ending_of(read_lines, b"", tmp_path).kind == "lines"
    warned = ending_of(lambda path: warnings.warn("old", stacklevel=1), b"", tmp_path)
    assert (warned.kind, warned.is_fault) == ("Warning", True)
    assert ending_of(read_safetensors, b"{}", tmp_path).stage == "storage/safetensors.py read_safetensors"
    assert not list(tmp_path.iterdir())


def test_only_a_process_that_asks_for_limits_has_them(tmp_path: Path):
    """Others, such as that of these tests, would be ended by a timer that is still set."""
    timers = []
    ending_of(lambda _: timers.extend(map(signal.getitimer, (signal.ITIMER_PROF, signal.ITIMER_REAL))), b"", tmp_path)
    assert timers == [(0, 0), (0, 0)]


# Mutations


def keep(rng: random.Random, data: bytes) -> bytes:
    return data


def changes_of(data: bytes, number: int = 60) -> list[bytes]:
    """Return changes of the structure of a file, other than none at all."""
    made = [change_structure(random.Random(seed), data, keep) for seed in range(number)]
    return [changed for changed in made if changed not in (None, data)]  # pyright: ignore[reportReturnType]


def test_mutations_are_many_and_repeatable():
    seeds = TARGETS["arc"].seeds()
    first, again = ([mutate(random.Random(i), seeds) for i in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 40
    assert not set(first) <= set(seeds)


def test_changed_archives_are_whole():
    """Names, order and content change; a reader of archives finds no wrong checksum."""
    file = io.BytesIO()
    np.savez(file, a=np.arange(4), b=np.ones((2, 3)))
    changed = changes_of(file.getvalue())
    assert len(changed) > 40
    names = set()
    for data in changed:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            names.add(tuple(archive.namelist()))
    assert {("a.npy",), ("a.npy", "b.npy", "b.npy")} & names
    assert ("a.npy", "b.npy") in names


def test_changed_headers_of_arrays_have_their_length():
    file = io.BytesIO()
    np.save(file, np.arange(6).reshape(2, 3))
    shapes = set()
    for data in changes_of(file.getvalue()):
        length = int.from_bytes(data[8:10], "little")
        assert data[9 + length : 10 + length] == b"\n"
        assert data[10 + length :] == np.arange(6).tobytes()
        shapes |= set(re.findall(rb"'shape': (\([^)]*\))", data[:200]))
    assert len(shapes) > 3


def test_changed_safetensors_are_signed(tmp_path: Path):
    """Many get past length and checksum of the header, and are refused, if at all, for what it says."""
    whole, _, foreign = TARGETS["safetensors"].seeds()
    target = TARGETS["safetensors"].read
    stages = [ending_of(target, data, tmp_path) for data in changes_of(whole, 100)]
    described = [ending for ending in stages if ending.stage.startswith(("checkpoints/description.py _parse", "conf"))]
    assert len(described) >= 3
    for data in changes_of(foreign):
        assert int.from_bytes(data[:8], "little") <= len(data) - 8
        json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_changed_pickles_are_pickles():
    """Most are: one that lost its last opcode, or a mark, is none."""
    whole = pickle.dumps({"a": [1, 2.5, None, "text"], "step": 3}, 2)
    changed = changes_of(whole, 200)
    parsed = 0
    for data in changed:
        try:
            parsed += bool(list(pickletools.genops(data)))
        except ValueError:
            continue
    assert parsed > 0.8 * len(changed) > 100
    assert changes_of(b"\x80\x02") == []


def test_mutated_checkpoints_are_read(tmp_path: Path):
    """What the mutations are for: not every one ends in the first check of an archive."""
    pytest.importorskip("torch")
    rng, seeds = random.Random(0), TARGETS["torch"].seeds()
    endings = [ending_of(TARGETS["torch"].read, mutate(rng, seeds), tmp_path) for _ in range(100)]
    assert sum(ending.kind == "read" for ending in endings) >= 5
    assert len({ending.stage for ending in endings}) >= 4


# Readers


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs_are_read(name: str, tmp_path: Path):
    if TARGETS[name].needs:
        pytest.importorskip(TARGETS[name].needs)
    endings = [ending_of(TARGETS[name].read, data, tmp_path) for data in TARGETS[name].seeds()]
    # Settings may contradict the defaults.
    if name != "settings":
        assert not [ending for ending in endings if ending.kind != "read"]
    assert {ending.kind for ending in endings} <= {"read", "InputError"}


@pytest.mark.slow
@pytest.mark.processes
def test_a_few_inputs_of_every_reader(tmp_path: Path):
    """In a process of its own: the memory is limited for good."""
    command = [*FUZZ, "all", "--inputs", "60", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    told = [path.read_text() for path in tmp_path.rglob("*.txt")]
    assert done.returncode == 0, (done.stdout, done.stderr, told)
    expected = [name for name, target in TARGETS.items() if not target.needs or find_spec(target.needs)]
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == expected
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.processes
def test_a_kept_input_is_read_again(tmp_path: Path):
    (tmp_path / "good").write_bytes(TARGETS["arc"].seeds()[0])
    (tmp_path / "bad").write_bytes(b"{")
    files = [argument for name in ("good", "bad") for argument in ("--replay", str(tmp_path / name))]
    done = subprocess.run([*FUZZ, "arc", *files], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    good, bad = done.stdout.splitlines()
    assert good == f"{tmp_path / 'good'}: read"
    assert bad.startswith(f"{tmp_path / 'bad'}: InputError ")


DYING = """
import os
from pathlib import Path
from fuzz.at_random import fuzz
from fuzz.targets import TARGETS, Target

def read(path):
    if b"x" in path.read_bytes():
        os._exit(3)

TARGETS["planted"] = Target(lambda: [b"x"[:0], b"a"], read)

if __name__ == "__main__":
    fuzz("planted", 4000, 1, Path("kept"), processes=2)
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_process_that_dies_leaves_its_input(tmp_path: Path):
    (tmp_path / "dying.py").write_text(DYING)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])}
    command = [sys.executable, "dying.py"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "InputError: planted: found a process that died, expected none; it read one of kept/reading-" in done.stderr
    assert any(b"x" in path.read_bytes() for path in tmp_path.glob("kept/reading-*/input"))


# Coverage


LOG = """FUNCTIONS 12
#5	INITED cov: 133 ft: 229 corp: 4/826b exec/s: 0 rss: 198Mb
#300	NEW    cov: 141 ft: 239 corp: 5/1223b lim: 4892 exec/s: 50 rss: 198Mb L: 397/398 MS: 1 Custom-
"""


def test_the_log_of_libfuzzer():
    """Without statistics at its end the process has died: the last line counts."""
    covered = {"functions": 12, "covered_by_seeds": 133, "covered": 141}
    assert parse_log(LOG) == covered | {"inputs": 300}
    statistics = "stat::number_of_executed_units: 321\nstat::average_exec_per_sec:     53\n"
    assert parse_log(LOG + statistics) == covered | {"inputs": 321, "inputs_per_second": 53}
    assert parse_log("ModuleNotFoundError") == {}


PLANTED = """
import os, sys
from pathlib import Path
from fuzz import coverage
from fuzz.targets import TARGETS, Target

def read(path):
    if path.read_bytes()[:1] == b"[":
        {ending}

TARGETS["planted"] = Target(lambda: [b'{"a": 1}', b'"x"'], read)
coverage._main("planted", Path(sys.argv[1]), ["-runs=300", "-seed=1"])
"""


@pytest.mark.processes
@pytest.mark.parametrize("ending", ["raise KeyError('planted')", "os.abort()", "os._exit(3)"])
def test_a_planted_fault_is_found_and_kept(ending: str, tmp_path: Path):
    """An exception with its traceback; a process that dies leaves its input."""
    pytest.importorskip("atheris")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])}
    command = [sys.executable, "-c", PLANTED.replace("{ending}", ending), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "corpus" not in str(path)}
    if "raise" in ending:
        assert done.returncode == 0
        (traceback,) = (text for path, text in kept.items() if path.suffix == ".txt")
        assert b"KeyError: 'planted'" in traceback
        assert [data[:1] for path, data in kept.items() if path.suffix != ".txt"] == [b"["] * (len(kept) - 1)
    else:
        assert done.returncode != 0
        assert b"[" in {data[:1] for data in kept.values()}


@pytest.mark.processes
def test_coverage_of_a_reader(tmp_path: Path):
    pytest.importorskip("atheris")
    command = [*FUZZ, "arc", "--coverage", "--inputs", "400", "--keep", str(tmp_path), "--json", str(tmp_path / "r")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout, done.stderr)
    figures = json.loads((tmp_path / "r").read_text())["figures"]
    assert figures["inputs"] == 400
    assert figures["covered"] > figures["covered_by_seeds"] > 50
    assert figures["faults"] == 0
    assert len(list((tmp_path / "arc" / "corpus").iterdir())) > len(TARGETS["arc"].seeds())
