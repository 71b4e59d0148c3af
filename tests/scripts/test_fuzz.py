"""The fuzzer: it finds the faults of a reader, and none in ours among a few inputs."""

import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz.__main__ import ending_of
from fuzz.mutate import mutate
from fuzz.targets import TARGETS

from trm.errors import InputError

ROOT = Path(__file__).parent.parent.parent


def fails(path: Path) -> None:
    raise {b"key": KeyError("x"), b"memory": MemoryError}.get(path.read_bytes(), InputError("one line"))


def read_lines(path: Path) -> None:
    raise InputError("one line\nand another")


def test_endings(tmp_path: Path):
    assert ending_of(lambda path: path.read_bytes(), b"x", tmp_path) == ("read", "")
    assert ending_of(fails, b"", tmp_path) == ("InputError", "one line")
    assert ending_of(fails, b"key", tmp_path)[0] == "KeyError"
    assert ending_of(fails, b"memory", tmp_path)[0] == "MemoryError"
    assert ending_of(read_lines, b"", tmp_path)[0] == "lines"
    assert not list(tmp_path.iterdir())


@pytest.mark.processes
def test_a_few_inputs_of_every_reader(tmp_path: Path):
    """In a process of its own: the memory is limited for good."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "fuzz"), "all", "--inputs", "60"]
    done = subprocess.run([*command, "--keep", str(tmp_path)], capture_output=True, text=True, timeout=600)
    told = [path.read_text() for path in tmp_path.rglob("*.txt")]
    assert done.returncode == 0, (done.stdout, done.stderr, told)
    expected = [name for name in TARGETS if name != "torch" or find_spec("torch")]
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs_are_read(name: str, tmp_path: Path):
    if name == "torch":
        pytest.importorskip("torch")
    endings = [ending_of(TARGETS[name].read, data, tmp_path) for data in TARGETS[name].seeds()]
    # A few tensors are no model, and settings may contradict the defaults.
    if name not in ("torch", "settings"):
        assert not [told for ending, told in endings if ending != "read"]
    assert {ending for ending, _ in endings} <= {"read", "InputError"}


def test_mutations_are_many_and_repeatable():
    seeds = TARGETS["arc"].seeds()
    first, again = ([mutate(random.Random(i), seeds) for i in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 40
    assert not set(first) <= set(seeds)
