"""ARC, exactly: grids, frames and augmentations, and a whole set built from the random draws of the original."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trm.errors import InputError
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.json_files import read_json
from trm.puzzles.kinds.arc import augmentations as arc_augmentations
from trm.puzzles.kinds.arc import frames as arc_frames
from trm.puzzles.kinds.arc import grids as arc_grids
from trm.puzzles.kinds.arc import sources as arc_sources
from trm.puzzles.kinds.arc.augmentations import Augmentation, Augmentations
from trm.puzzles.kinds.arc.build import Subset, build
from trm.puzzles.kinds.arc.choose import Signatures
from trm.puzzles.kinds.arc.draws import OriginalDraws
from trm.puzzles.kinds.arc.tasks import Pair, Task
from trm.puzzles.kinds.arc.write import augment_grid
from trm.puzzles.kinds.dihedral import INVERSE, inverse, transform
from trm.puzzles.metadata import FIELDS
from trm.puzzles.reading import read_puzzle_set

from .case import Case, Comparison
from .data import compare_set

# Functions


def check_arc_functions(case: Case) -> Iterator[Comparison]:
    """Check what is done to single grids."""
    values = case.values
    grids = {name: np.array(grid, np.uint8) for name, grid in values["grids"].items()}
    for check in (_check_reading, _check_transforms, _check_augmentations, _check_frames, _check_crops):
        comparison = Comparison(check.__name__.removeprefix("_check_"))
        check(case, grids, comparison)
        yield comparison
    comparison = Comparison("duplicates")
    entries = values["puzzle_hash"]
    signatures = [_signature([[grids[g] for g in p] for pairs in e["splits"].values() for p in pairs]) for e in entries]
    for (i, a), (j, b) in itertools.combinations(enumerate(entries), 2):
        comparison.equal(f"{i} and {j}", signatures[i] == signatures[j], a["hash"] == b["hash"])
    yield comparison


REJECTED = {
    "too_tall": [[0]] * 31,
    "too_wide": [[0] * 31],
    "ten": [[10]],
    "negative": [[-1]],
    "flat": [1, 2],
    "empty": [],
}


def _check_reading(case: Case, grids: dict[str, np.ndarray], comparison: Comparison) -> None:
    for name, grid in case.values["grids"].items():
        comparison.equal(name, arc_grids.parse_grid(grid, name), grids[name])
    for name in case.values["arc_grid_to_np_rejects"]:
        try:
            arc_grids.parse_grid(REJECTED[name], name)
        except InputError:
            rejected = True
        else:
            rejected = False
        comparison.equal(f"{name} is rejected", rejected, True)


def _check_transforms(case: Case, grids: dict[str, np.ndarray], comparison: Comparison) -> None:
    comparison.equal("inverse table", INVERSE, case.values["dihedral_inverse_table"])
    for kind, change in (("dihedral", transform), ("inverse_dihedral", inverse)):
        for key, expected in case.under(kind).items():
            name, t = key.split("/")
            comparison.equal(f"{kind}/{key}", change(grids[name], int(t)), expected)


def _check_augmentations(case: Case, grids: dict[str, np.ndarray], comparison: Comparison) -> None:
    for i, entry in enumerate(case.values["aug"]):
        drawn = OriginalDraws(entry["np_random_seed"]).augmentations(0, 0)(1)
        augmentation = Augmentation(int(drawn.transforms[0]), drawn.colors[0])
        name = arc_augmentations.name_augmentation(entry["name"], augmentation)
        comparison.equal(f"aug/{i}/name", name, entry["aug_name"])
        comparison.equal(f"aug/{i}/task", arc_augmentations.parse_name(name)[0], entry["inverse_name"])
        for grid, expected in case.under(f"aug/{i}").items():
            comparison.equal(f"aug/{i}/{grid}", augmentation.apply(grids[grid]), expected)
    recorded = case.values["inverse_aug"]
    for entry in recorded["cases"]:
        task, augmentation = arc_augmentations.parse_name(entry["name"])
        comparison.equal(f"{entry['name']}: task", task, entry["orig"])
        undone = augmentation.undo(grids[recorded["applied_to"]])
        comparison.equal(entry["name"], undone, case.tensors[f"inverse_aug/{entry['name']}"])


def _check_frames(case: Case, grids: dict[str, np.ndarray], comparison: Comparison) -> None:
    def compare(key: str, grid: str, offset: tuple[int, int]) -> None:
        expected = case.tensors[key]
        comparison.equal(key, arc_frames.to_frame(grids[grid], *offset), expected)
        itself = Augmentations(np.zeros(1, np.uint8), arc_augmentations.IDENTITY.colors[None])
        comparison.equal(f"{key}, many", augment_grid(grids[grid], itself, np.array([offset]))[0], expected)

    for key in case.under("seq"):
        names, side = key.split("/")
        compare(f"seq/{key}", names.split("|")[side == "output"], (0, 0))
    for entry in case.values["seq_translated"]:
        pair = [grids[entry[side]] for side in ("input", "output")]
        room = 31 - np.max([grid.shape for grid in pair], axis=0)
        draws = np.random.RandomState(entry["np_random_seed"])
        offset = int(draws.randint(room[0])), int(draws.randint(room[1]))
        comparison.equal(f"seq_translated/{entry['index']}", offset, (entry["pad_r"], entry["pad_c"]))
        for side in ("input", "output"):
            compare(f"seq_translated/{entry['index']}/{side}", entry[side], offset)


def _check_crops(case: Case, grids: dict[str, np.ndarray], comparison: Comparison) -> None:
    for name, shape in case.values["crop_shapes"].items():
        tokens = case.tensors[f"crop_in/{name}"]
        comparison.equal(name, arc_frames.crop(tokens).shape, shape)
        if np.prod(shape):
            comparison.equal(name, arc_frames.crop(tokens), case.tensors[f"crop_out/{name}"])


def _signature(pairs: list[list[np.ndarray]]) -> int:
    """Tell pairs apart as the builder does: as augmentations of a task that are no more than the task itself."""
    task = Task("", [Pair(first, second, is_test=False) for first, second in pairs], {})
    itself = Augmentations(np.zeros(1, np.uint8), arc_augmentations.IDENTITY.colors[None])
    return int(Signatures(task)(itself)[0])


# Sets


def check_arc_set(case: Case) -> Iterator[Comparison]:
    """Check reading the recorded set and building it again from its source."""
    config, folder = case.values["build_config"], case.folder / case.values["build_config"]["output_dir"]
    read, rebuilt = Comparison("read"), Comparison("build")
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "set"
        source = str(case.folder / config["input_file_prefix"])
        subsets = [
            Subset(n, arc_sources.read_subset(source, n), n == config["test_set_name"]) for n in config["subsets"]
        ]
        build(built, subsets, config["num_aug"], OriginalDraws(config["seed"]))
        for split, recorded in case.values["splits"].items():
            puzzles, again = read_puzzle_set(folder, split), read_puzzle_set(built, split)
            compare_set(read, f"{split}: ", puzzles, recorded)
            compare_set(rebuilt, f"{split}: ", again, recorded)
            for name, arrays in puzzles.sets.items():
                for field in FIELDS:
                    rebuilt.equal(f"{split}: {name}__{field}", getattr(again.sets[name], field), getattr(arrays, field))
        names = read_identifiers(folder)
        read.equal("identifiers", len(names), read_puzzle_set(folder, "train").metadata.num_puzzle_identifiers)
        rebuilt.equal("identifiers", read_identifiers(built), names)
        tasks = "test_puzzles.json"
        rebuilt.equal(tasks, read_json(built / tasks), read_json(folder / tasks))
    yield read
    yield rebuilt
