"""ARC tasks in files: folders of JSON files, Kaggle's files, puzzle sets. Entry: `read_subset`, `parse_tasks`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trm.errors import InputError
from trm.puzzles.json_files import parse_json, read_json
from trm.puzzles.kinds.arc.grids import Grid, parse_grid

TEST_PUZZLES = "test_puzzles.json"
"""File of a puzzle set that holds the tasks to be solved."""


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
    values = parse_json(text, where)
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
        yield str(path), path.stem, read_json(path)


def _read_kaggle(prefix: str, subset: str, allow_missing_solutions: bool) -> Entries:
    path = _plain_or_gz(f"{prefix}_{subset}_challenges.json")
    challenges = _read_named(path)
    solutions_path = _plain_or_gz(f"{prefix}_{subset}_solutions.json")
    if allow_missing_solutions and not solutions_path.exists():
        yield from ((str(path), name, values) for name, values in challenges.items())
        return
    solutions = read_json(solutions_path)
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
    return _require_named(read_json(path), str(path))


def _require_named(tasks: Any, where: str) -> dict[str, Any]:
    if not isinstance(tasks, dict) or not tasks:
        raise InputError(f"{where}: found {tasks!r:.40}, expected an object with a task per name")
    return tasks


def _plain_or_gz(name: str) -> Path:
    plain, zipped = Path(name), Path(f"{name}.gz")
    return zipped if zipped.exists() and not plain.exists() else plain
