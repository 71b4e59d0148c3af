"""Damaged puzzle sets: for any change of a file, reading and loading succeed or end in one line."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trm.errors import InputError
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.arc.build import Subset, build
from trm.puzzles.kinds.arc.draws import SeededDraws
from trm.puzzles.kinds.arc.sources import read_subset
from trm.puzzles.loader import TrainLoader, load_test_batches
from trm.puzzles.reading import read_puzzle_set


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a set of ARC tasks that are stored once."""
    directory = tmp_path_factory.mktemp("damaged") / "compact"
    tasks = read_subset(str(GOLDEN / "arc_small" / "source" / "arc"), "evaluation")
    build(directory, [Subset("evaluation", tasks, True)], 2, SeededDraws(0), compact=True)
    return directory


def use(directory: Path) -> None:
    puzzles = read_puzzle_set(directory, "train")
    read_identifiers(directory)
    TrainLoader(puzzles, 4, seed=0).load(1)
    next(load_test_batches(puzzles, 4))


def require_one_line(directory: Path) -> None:
    with warnings.catch_warnings():
        # NumPy warns of headers that Python 2 may have written.
        warnings.simplefilter("ignore")
        told = ""
        try:
            use(directory)
        except InputError as error:
            told = str(error)
        assert "\n" not in told


INSERTED = [b"", b"[" * 3000, b"9" * 400, b"'", b"(", b"\\", b"0x", b"{", b"-", b"1e999", b"L", b"\x00", b"|O", b"<f8"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_a_file(compact: Path, puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory, data):
    source = data.draw(st.sampled_from([compact, puzzle_dir]))
    files = sorted(
        path.relative_to(source) for path in source.rglob("*") if path.is_file() and "test" not in path.parts
    )
    name = data.draw(st.sampled_from(files))
    original = (source / name).read_bytes()
    # Headers and JSON are where it is interesting.
    at = data.draw(st.integers(0, min(len(original), 200)))
    length = data.draw(st.integers(0, 12))
    new = data.draw(st.one_of(st.sampled_from(INSERTED), st.binary(max_size=12)))
    target = tmp_path_factory.mktemp("changed") / "set"
    shutil.copytree(source, target)
    (target / name).write_bytes(original[:at] + new + original[at + length :])
    require_one_line(target)
    shutil.rmtree(target)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (",
        "{'descr': '|u1' 'x",
        "{'shape': (" + "9" * 400 + ",)}",
        "\\",
    ],
)
def test_headers_that_are_none(puzzle_dir: Path, tmp_path: Path, header: str):
    target = shutil.copytree(puzzle_dir, tmp_path / "set")
    path = target / "train" / "all__inputs.npy"
    text = header.encode().ljust(500) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(InputError, match=r"all__inputs.npy: not a whole .npy file"):
        read_puzzle_set(target, "train")


def test_a_grid_with_a_hole(compact: Path, tmp_path: Path):
    target = shutil.copytree(compact, tmp_path / "set")
    path = target / "train" / "all__inputs.npy"
    inputs = np.load(path)
    inputs[:, 31] = 0  # The second cell of the second row.
    np.save(path, inputs)
    with pytest.raises(InputError, match=r"set/train: inputs: example \d+: found no colour inside a grid"):
        use(target)


def test_numbers_without_a_sign(puzzle_dir: Path, tmp_path: Path):
    target = shutil.copytree(puzzle_dir, tmp_path / "set")
    path = target / "train" / "all__puzzle_indices.npy"
    np.save(path, np.load(path).astype(np.uint64))
    with pytest.raises(InputError, match="found dtype uint64, expected integers of at most 63 bits"):
        read_puzzle_set(target, "train")
