"""ARC: grids, their tokens, tasks in files, and augmentations.

A grid of up to 30 x 30 cells in ten colours lies somewhere in a frame of 30 x 30 tokens: 2 to 11 for the colours, 1 for
the end markers in the row below and the column right of the grid, 0 for everything else. Vocabulary 12.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.puzzles.kinds.dihedral import inverse, swaps_axes, transform
from trm.puzzles.metadata import ARC_COLORS, ARC_SIDE

PAD, END, TOKEN_OF_COLOR_0 = 0, 1, 2
SEQ_LEN = ARC_SIDE * ARC_SIDE
VOCAB_SIZE = TOKEN_OF_COLOR_0 + ARC_COLORS
TEST_PUZZLES = "test_puzzles.json"
"""File of a puzzle set that holds the tasks to be solved."""

Grid = Integer[np.ndarray, "rows columns"]
Frames = Integer[np.ndarray, "batch 900"]


# Tasks


class Pair(NamedTuple):
    """An input grid and the output grid that the task asks for."""

    input: Grid
    output: Grid
    is_test: bool
    """Whether it is to be solved, not a demonstration."""


class Task(NamedTuple):
    """One task."""

    name: str
    pairs: list[Pair]
    """In the order of the file."""
    source: dict[str, Any]
    """What the file says, outputs of the test pairs included."""


def read_subset(source: str, subset: str, allow_missing_solutions: bool = False) -> list[Task]:
    """Read the tasks of a subset.

    `source` is a directory with a folder for each subset that holds one JSON per task, as in the official repositories,
    or else the prefix of Kaggle's files, `PREFIX_{subset}_challenges.json` and `PREFIX_{subset}_solutions.json`, plain
    or .gz. With `allow_missing_solutions` an unknown output counts as the grid [[0]], as for a competition's test set.

    Raises InputError, naming file, task and field, for whatever is missing or malformed.
    """
    if Path(source).is_dir():
        entries = _read_folder(Path(source) / subset)
    else:
        entries = _read_kaggle(source, subset, allow_missing_solutions)
    return [_parse_task(where, name, values, allow_missing_solutions) for where, name, values in entries]


def parse_tasks(text: str, where: str, name: str | None = None) -> list[Task]:
    """Read tasks to be solved, whose outputs need not be known: one, or an object with a task per name, as Kaggle's.

    `name` is that of a task that stands alone. Raises InputError, naming task and field, for whatever is malformed, and
    for a task without a name.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    if isinstance(values, dict) and {"train", "test"} & values.keys():
        if name is None:
            raise InputError(f'{where}: found a task without a name, expected {{"NAME": ...}}')
        values = {name: values}
    return [_parse_task(where, name, task, True) for name, task in _require_named(values, where).items()]


def read_test_puzzles(directory: str | Path) -> list[Task]:
    """Read the tasks that a puzzle set is evaluated on, demonstrations and solutions included.

    Raises InputError, naming file, task and field, for whatever is missing or malformed.
    """
    path = Path(directory) / TEST_PUZZLES
    return [_parse_task(str(path), name, values, False) for name, values in _read_named(path).items()]


def parse_grid(values: Any, where: str) -> Grid:
    """Turn nested lists into a grid; raise InputError, beginning with `where`, for what is no grid of ten colours."""
    if not isinstance(values, list) or not values or not all(isinstance(row, list) for row in values):
        raise InputError(f"{where}: found {values!r:.40}, expected a list of rows")
    widths = {len(row) for row in values}
    if len(widths) > 1 or not 0 < max(widths) <= ARC_SIDE or len(values) > ARC_SIDE:
        found = f"{len(values)} rows of {' or '.join(map(str, sorted(widths)))} cells"
        raise InputError(f"{where}: found {found}, expected a rectangle of up to {ARC_SIDE}x{ARC_SIDE}")
    for row in values:
        for color in row:
            if type(color) is not int or not 0 <= color < ARC_COLORS:
                raise InputError(f"{where}: found {color!r}, expected a colour from 0 to {ARC_COLORS - 1}")
    return np.array(values, dtype=np.uint8)


Entries = Iterator[tuple[str, str, Any]]
"""File, name and JSON of each task."""


def _read_folder(folder: Path) -> Entries:
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise InputError(f"{folder}: found no JSON file, expected one per task")
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise InputError(f"{path}: found task {path.stem!r} again, expected it once, as in {seen[path.stem]}")
        seen[path.stem] = path
        yield str(path), path.stem, _read_json(path)


def _read_kaggle(prefix: str, subset: str, allow_missing_solutions: bool) -> Entries:
    path = _plain_or_gz(f"{prefix}_{subset}_challenges.json")
    challenges = _read_named(path)
    solutions_path = _plain_or_gz(f"{prefix}_{subset}_solutions.json")
    if allow_missing_solutions and not solutions_path.exists():
        yield from ((str(path), name, values) for name, values in challenges.items())
        return
    solutions = _read_json(solutions_path)
    if not isinstance(solutions, dict):
        raise InputError(f"{solutions_path}: found {solutions!r:.40}, expected an object with outputs per task")
    for name, values in challenges.items():
        tests = values.get("test") if isinstance(values, dict) else None
        outputs = solutions.get(name)
        if isinstance(tests, list) and all(isinstance(test, dict) for test in tests):
            if outputs is None and not allow_missing_solutions:
                raise InputError(f"{solutions_path}: task {name}: missing")
            if outputs is not None:
                if not isinstance(outputs, list) or len(outputs) != len(tests):
                    found = f"{len(outputs)} outputs" if isinstance(outputs, list) else repr(outputs)[:40]
                    raise InputError(f"{solutions_path}: task {name}: found {found}, expected {len(tests)}")
                tests = [test | {"output": output} for test, output in zip(tests, outputs, strict=True)]
                values = values | {"test": tests}
        yield str(path), name, values


def _parse_task(where: str, name: str, values: Any, allow_missing_solutions: bool) -> Task:
    where = f"{where}: task {name}"
    if not isinstance(values, dict):
        raise InputError(f"{where}: found {values!r:.40}, expected an object with train and test pairs")
    pairs, source = [], {}
    for kind in values:
        # Other keys, such as a task's name, say nothing about its grids.
        if kind not in ("train", "test"):
            continue
        if not isinstance(values[kind], list):
            raise InputError(f"{where}: {kind}: found {values[kind]!r:.40}, expected a list of pairs")
        source[kind] = []
        for number, pair in enumerate(values[kind], start=1):
            place = f"{where}: {kind} pair {number}"
            if not isinstance(pair, dict) or "input" not in pair:
                raise InputError(f"{place}: found {pair!r:.40}, expected an object with input and output")
            if pair.get("output") is None:
                if kind == "train" or not allow_missing_solutions:
                    raise InputError(f"{place}: output: missing")
                pair = pair | {"output": [[0]]}
            grids = [parse_grid(pair[side], f"{place}: {side}") for side in ("input", "output")]
            pairs.append(Pair(*grids, is_test=kind == "test"))
            source[kind].append(pair)
    for kind in ("train", "test"):
        if not source.get(kind):
            raise InputError(f"{where}: {kind}: found no pairs, expected at least one")
    return Task(name, pairs, source)


def _read_named(path: Path) -> dict[str, Any]:
    """Read the JSON of each task of a file that names them."""
    return _require_named(_read_json(path), str(path))


def _require_named(tasks: Any, where: str) -> dict[str, Any]:
    if not isinstance(tasks, dict) or not tasks:
        raise InputError(f"{where}: found {tasks!r:.40}, expected an object with a task per name")
    return tasks


def _plain_or_gz(name: str) -> Path:
    plain, zipped = Path(name), Path(f"{name}.gz")
    return zipped if zipped.exists() and not plain.exists() else plain


def _read_json(path: Path) -> Any:
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from error


# Augmentations

SEPARATOR = "|||"


class Augmentation(NamedTuple):
    """New colours, then a rotation or reflection."""

    transform: int
    """Number of a dihedral transform."""
    colors: Integer[np.ndarray, " colors"]
    """New colour of each colour."""

    def apply(self, grid: Grid) -> Integer[np.ndarray, "new_rows new_columns"]:
        """Augment a grid."""
        return transform(self.colors[grid], self.transform)

    def undo(self, grid: Grid) -> Integer[np.ndarray, "new_rows new_columns"]:
        """Undo it."""
        return np.argsort(self.colors).astype(np.uint8)[inverse(grid, self.transform)]


IDENTITY = Augmentation(0, np.arange(ARC_COLORS, dtype=np.uint8))


def name_augmentation(task: str, augmentation: Augmentation) -> str:
    """Name an augmentation of a task: its name, the transform, the ten new colours."""
    digits = "".join(map(str, augmentation.colors.tolist()))
    return f"{task}{SEPARATOR}t{augmentation.transform}{SEPARATOR}{digits}"


def parse_name(name: str) -> tuple[str, Augmentation]:
    """Return the task and the augmentation that a name says; a name without any is the task's own.

    Raises InputError for a name that says none, and not that it is the task's own.
    """
    task, *rest = name.split(SEPARATOR)
    if not rest:
        return task, IDENTITY
    said = re.fullmatch(r"t([0-7])", rest[-2]) if len(rest) > 1 else None
    if said is None or sorted(rest[-1]) != sorted("0123456789"):
        expected = SEPARATOR.join(["TASK", "t0 to t7", "the ten new colours"])
        raise InputError(f"puzzle identifier: found {name!r}, expected {expected}")
    return task, Augmentation(int(said[1]), np.array(list(rest[-1])).astype(np.uint8))


# Frames


def to_frame(grid: Grid, row: int = 0, column: int = 0) -> Integer[np.ndarray, " 900"]:
    """Put a grid into a frame with its first cell at a place, and its end markers beside it where there is room."""
    frame = np.full((ARC_SIDE, ARC_SIDE), PAD, dtype=np.uint8)
    rows, columns = grid.shape
    inside_rows, inside_columns = slice(row, row + rows), slice(column, column + columns)
    frame[row + rows : row + rows + 1, inside_columns] = END
    frame[inside_rows, column + columns : column + columns + 1] = END
    frame[inside_rows, inside_columns] = grid + TOKEN_OF_COLOR_0
    return frame.ravel()


def crop_shapes(tokens: Integer[np.ndarray, "*batch 900"]) -> Integer[np.ndarray, "*batch 2"]:
    """Return rows and columns of the largest rectangle of colours at the top left, of equal ones that of fewest rows.

    Tokens may be anything; (0, 0) where the first is no colour.
    """
    frames = tokens.reshape(*tokens.shape[:-1], ARC_SIDE, ARC_SIDE)
    colored = (frames >= TOKEN_OF_COLOR_0) & (frames < VOCAB_SIZE)
    widths = np.minimum.accumulate(np.logical_and.accumulate(colored, axis=-1).sum(axis=-1), axis=-1)
    areas = widths * np.arange(1, ARC_SIDE + 1)
    best = areas.argmax(axis=-1)
    columns = np.take_along_axis(widths, best[..., None], axis=-1)[..., 0]
    return np.stack([np.where(columns > 0, best + 1, 0), columns], axis=-1)


def crop(tokens: Integer[np.ndarray, " 900"]) -> Grid:
    """Return the grid of `crop_shapes`, which has no cells where the first token is no colour."""
    rows, columns = crop_shapes(tokens)
    frame = tokens.reshape(ARC_SIDE, ARC_SIDE)
    return (frame[:rows, :columns] - TOKEN_OF_COLOR_0).astype(np.uint8)


DrawOffsets = Callable[[Integer[np.ndarray, "batch 2"]], Integer[np.ndarray, "batch 2"]]
"""Given how many rows and columns each pair may begin at, says at which it begins."""


def augment_frames(
    inputs: Frames,
    labels: Frames,
    transforms: Integer[np.ndarray, " batch"],
    colors: Integer[np.ndarray, "batch 10"],
    draw_offsets: DrawOffsets | None = None,
) -> tuple[Frames, Frames]:
    """Augment pairs whose grids lie at the top left of their frames; move both grids of a pair by the same offset."""
    shapes = np.stack([_stored_shapes(frames) for frames in (inputs, labels)], axis=1)
    offsets = np.zeros((len(inputs), 2), dtype=np.int64)
    if draw_offsets is not None:
        offsets = draw_offsets(room(shapes.max(axis=1), transforms))
    augmented = np.empty((2, *inputs.shape), dtype=inputs.dtype)
    for i, (t, offset) in enumerate(zip(transforms.tolist(), offsets.tolist(), strict=True)):
        augmentation = Augmentation(t, colors[i])
        for side, frames in enumerate((inputs, labels)):
            rows, columns = shapes[i, side]
            grid = frames[i].reshape(ARC_SIDE, ARC_SIDE)[:rows, :columns] - TOKEN_OF_COLOR_0
            augmented[side, i] = to_frame(augmentation.apply(grid), *offset)
    return augmented[0], augmented[1]


def _stored_shapes(frames: Frames) -> Integer[np.ndarray, "batch 2"]:
    """Return rows and columns of grids at the top left of their frames."""
    boards = frames.reshape(-1, ARC_SIDE, ARC_SIDE)
    return np.stack([(edge >= TOKEN_OF_COLOR_0).sum(axis=1) for edge in (boards[:, :, 0], boards[:, 0])], axis=1)


def room(
    shapes: Integer[np.ndarray, "batch 2"], transforms: Integer[np.ndarray, " batch"]
) -> Integer[np.ndarray, "batch 2"]:
    """Count the rows, and the columns, at which a grid of a shape may begin after a transform."""
    return ARC_SIDE + 1 - np.where(swaps_axes(transforms)[:, None], shapes[:, ::-1], shapes)
