"""Puzzle sets and batches, exactly: our code is driven by the random draws of the original, which are replayed here."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.maze import build as maze_build
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import symmetries as sudoku_symmetries
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.tables import select
from trm.puzzles.loader import HostBatch, load_test_batches, pack, read_examples
from trm.puzzles.metadata import FIELDS, Metadata
from trm.puzzles.reading import read_puzzle_set

from .case import Case, Comparison


def hash_int32(array: np.ndarray) -> str:
    """Hash the values of an array, whatever its integer type."""
    return hashlib.sha256(np.ascontiguousarray(array, "<i4").tobytes()).hexdigest()


# Puzzle sets


Rebuild = Callable[[Path, str, Mapping[str, Any], np.random.RandomState], PuzzleSet]
"""Builds a split from its CSV file: path, split, options, draws of the original."""


def check_builds(case: Case, rebuild: Rebuild) -> Iterator[Comparison]:
    """Check reading every recorded puzzle set, and building it again from its source."""
    for build in case.values["builds"]:
        folder = case.folder / build["folder"]
        read = Comparison(f"read {build['folder']}")
        rebuilt = Comparison(f"build {build['folder']}")
        draws = np.random.RandomState(build["np_random_seed_before_build"])
        identifiers = read_identifiers(folder)
        for split, recorded in build["splits"].items():
            puzzles = read_puzzle_set(folder, split)
            compare_set(read, f"{split}: ", puzzles, recorded)
            built = rebuild(case.folder / "source" / f"{split}.csv", split, build["options"], draws)
            compare_set(rebuilt, f"{split}: ", built, recorded)
            for name, arrays in puzzles.sets.items():
                for field in FIELDS:
                    same = getattr(built.sets[name], field)
                    rebuilt.equal(f"{split}: {name}__{field}", same, getattr(arrays, field))
            read.equal(f"{split}: identifiers", len(identifiers), puzzles.metadata.num_puzzle_identifiers)
        yield read
        yield rebuilt


def compare_set(comparison: Comparison, where: str, puzzles: PuzzleSet, recorded: Mapping[str, Any]) -> None:
    """Compare metadata and arrays with the recorded metadata, shapes and hashes."""
    # What the puzzles are, only we write down.
    metadata = dataclasses.replace(puzzles.metadata, kind=None)
    comparison.equal(f"{where}metadata", metadata, Metadata(**recorded["metadata"]))
    for file, description in recorded["arrays"].items():
        name, field = Path(file).stem.split("__")
        array = getattr(puzzles.sets[name], field)
        comparison.equal(f"{where}{file}: shape", array.shape, description["shape"])
        comparison.equal(f"{where}{file}: hash", hash_int32(array), description["sha256_int32"])


# Sudoku


def check_sudoku(case: Case) -> Iterator[Comparison]:
    """Check Sudoku puzzle sets, and single symmetries."""
    yield from check_builds(case, rebuild_sudoku)
    if entries := case.values.get("shuffle"):
        comparison = Comparison("shuffle")
        for entry in entries:
            compare_symmetry(case, entry, comparison)
        yield comparison


def rebuild_sudoku(path: Path, split: str, options: Mapping[str, Any], draws: np.random.RandomState) -> PuzzleSet:
    """Build a split from its CSV file with the draws of the original; only its training split is drawn from."""
    options = options if split == "train" else {key: options[key] for key in options if key == "min_difficulty"}
    table = select(
        sudoku_text.read_table(path), str(path), options.get("min_difficulty"), options.get("subsample_size"), draws
    )
    arrays = sudoku_build.build(
        table, options.get("num_aug", 0), lambda boards: sudoku_symmetries.on_tokens(replay_symmetries(draws, boards))
    )
    count, n, _ = table.questions.shape
    return PuzzleSet(split, sudoku_build.metadata_of(count, n), {"all": arrays})


def replay_symmetries(draws: np.random.RandomState, boards: int) -> sudoku_symmetries.SudokuSymmetries:
    """Draw as the original does, board by board: digits, transposition, bands and rows, stacks and columns."""

    def lines() -> np.ndarray:
        return np.concatenate([3 * band + draws.permutation(3) for band in draws.permutation(3)])

    def symmetry() -> tuple:
        return np.concatenate([[0], draws.permutation(np.arange(1, 10))]), draws.rand() < 0.5, lines(), lines()

    return sudoku_symmetries.SudokuSymmetries(*map(np.array, zip(*(symmetry() for _ in range(boards)), strict=True)))


def compare_symmetry(case: Case, entry: Mapping[str, Any], comparison: Comparison) -> None:
    """Compare one board's symmetry: its draws, and what it makes of question and answer."""
    where = f"{entry['index']}: "
    symmetry = sudoku_symmetries.SudokuSymmetries(
        *(np.array([entry[key]]) for key in ("digit_map_1_to_9", "transpose", "row_perm", "col_perm"))
    )
    symmetry = symmetry._replace(digits=np.insert(symmetry.digits, 0, 0, axis=1))
    for name, drawn, recorded in zip(
        symmetry._fields, replay_symmetries(np.random.RandomState(entry["np_random_seed"]), 1), symmetry, strict=True
    ):
        comparison.equal(where + name, drawn, recorded)
    for board in ("question", "answer"):
        tokens = case.tensors[f"shuffle/{board}"].reshape(1, -1) + 1
        found = sudoku_symmetries.on_tokens(symmetry).apply(tokens).reshape(9, 9) - 1
        comparison.equal(where + board, found, case.tensors[f"shuffle/{entry['index']}/{board}"])


# Mazes


def check_mazes(case: Case) -> Iterator[Comparison]:
    """Check maze puzzle sets, with labels that are turned with their mazes."""
    yield from check_builds(case, rebuild_mazes)


def rebuild_mazes(path: Path, split: str, options: Mapping[str, Any], draws: np.random.RandomState) -> PuzzleSet:
    """Build a split from its CSV file; only the training split is augmented and subsampled."""
    options = options if split == "train" else {}
    table = select(maze_text.read_table(path), str(path), None, options.get("subsample_size"), draws)
    return maze_build.build_split(split, table, options.get("aug", False), "rotate")


# Batches


def check_batches(case: Case) -> Iterator[Comparison]:
    """Check the batches of one process, in test order or drawn for training."""
    for run in case.values["runs"]:
        comparison = Comparison(run["name"])
        if len(run["dataset"]) != 1:
            raise InputError(f"run {run['name']}: unknown kind of run: {len(run['dataset'])} puzzle sets")
        # Paths begin where the case folders lie.
        puzzles = read_puzzle_set(case.folder.resolve().parent / run["dataset"][0], run["split"])
        comparison.equal("metadata", puzzles.metadata, Metadata(**run["metadata"]))
        batches = list((replay_test if run["test_set_mode"] else replay_training)(puzzles, run))
        comparison.equal("number of batches", len(batches), len(run["batches"]))
        for recorded, (iteration, name, examples, batch) in zip(run["batches"], batches, strict=False):
            where = f"batch{recorded['index']}/"
            found = {"iteration": iteration, "set": name, "effective_global_batch_size": examples}
            found |= {"shape": batch.inputs.shape} | batch._asdict()
            for key in ("iteration", "set", "effective_global_batch_size", "shape"):
                comparison.equal(where + key, found[key], recorded[key])
            for field, expected in recorded["sha256"].items():
                comparison.equal(f"{where}{field}: hash", hash_int32(found[field]), expected)
            for field, expected in case.under(f"{run['name']}/batch{recorded['index']}").items():
                comparison.equal(where + field, found[field], expected)
        yield comparison


Batches = Iterator[tuple[int, str, int, HostBatch]]
"""Iteration of the original's reader, set, examples over all processes, and the slice of one process."""


def replay_test(puzzles: PuzzleSet, run: Mapping[str, Any]) -> Batches:
    """Load test batches; nothing is drawn."""
    size, pad = run["global_batch_size"], puzzles.metadata.pad_id
    whole = load_test_batches(puzzles, size)
    sliced = load_test_batches(puzzles, size, run["rank"], run["num_replicas"])
    for (_, everything), (name, batch) in zip(whole, sliced, strict=True):
        yield 0, name, int((everything.inputs != pad).any(axis=1).sum()), batch


def replay_training(puzzles: PuzzleSet, run: Mapping[str, Any]) -> Batches:
    """Pack training batches from the draws of the original, which starts anew with every iteration of its reader."""
    size, local = run["global_batch_size"], run["global_batch_size"] // run["num_replicas"]
    mine = slice(run["rank"] * local, (run["rank"] + 1) * local)
    choices = np.random.RandomState(run["np_seed"])
    seed = run["seed"]
    for iteration in range(run.get("iterations", 1)):
        for name, arrays in puzzles.sets.items():
            seed += 1
            rng = np.random.Generator(np.random.Philox(seed))
            limits, count = arrays.group_indices, len(arrays.group_indices) - 1
            groups = np.concatenate([rng.permutation(count) for _ in range(run["epochs_per_iter"])])
            # One call for each: an array of bounds would draw other numbers.
            upcoming = np.array([rng.integers(limits[group], limits[group + 1]) for group in groups])
            while len(upcoming):
                packed, used = pack(
                    upcoming, arrays.puzzle_indices, size, lambda n, k: choices.choice(n, k, replace=False)
                )
                if len(packed.examples) < size:
                    break
                upcoming = upcoming[used:]
                yield iteration, name, size, read_examples(puzzles, arrays, packed.examples[mine], packed.puzzles[mine])
