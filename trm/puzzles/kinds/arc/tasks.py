"""ARC tasks as JSON: one or several, in the formats of known collections. Entry: `parse_tasks`, `parse_task`.

A task is an object with `train` and `test` pairs; or `examples`, or a list of pairs alone, of which the last is the
one to be solved, as in BARC and RE-ARC. `trm.puzzles.kinds.arc.sources` finds their files.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trm.errors import InputError
from trm.puzzles.json_files import parse_json, read_json
from trm.puzzles.kinds.arc.grids import Grid, is_blank, parse_grid

TEST_PUZZLES = "test_puzzles.json"
"""File of a puzzle set that holds the tasks to be solved."""
UNKNOWN = "unknown"
"""Key that marks a pair of that file whose output is not known and is written as [[0]]."""

_NAMES = ("name", "id", "task_id", "uid")
"""Keys of a task that may hold its name."""


class Pair(NamedTuple):
    """An input grid and the output grid that the task asks for."""

    input: Grid
    output: Grid
    is_test: bool
    """Whether the pair is to be solved; false: it is a demonstration."""
    known: bool = True
    """Whether the output is known; else it is the grid [[0]]."""


class Task(NamedTuple):
    """One task."""

    name: str
    pairs: list[Pair]
    """Pairs in the order of the file."""
    source: dict[str, Any]
    """JSON of the task, outputs of the test pairs included."""


class Entry(NamedTuple):
    """The JSON of a task."""

    where: str
    """File, and line or place in it, for messages."""
    name: str
    values: Any


OnExtra = Callable[[str, int], object]
"""Called with the key and the number of a task's pairs that are neither train nor test."""


def task_name(path: str | Path) -> str:
    """Return the name of the only task of a file: the file's, without .json, .jsonl and .gz."""
    name = Path(path).name
    for ending in (".gz", ".json", ".jsonl"):
        name = name.removesuffix(ending)
    return name


def parse_tasks(text: str | bytes, where: str, name: str | None = None) -> list[Task]:
    """Read tasks to be solved, whose outputs need not be known: one, an object with a task per name, or JSON lines.

    `name` is that of a single task. Raises InputError, naming task and field, for anything malformed, and for a task
    without a name.
    """
    entries = list(split_entries(parse_json_lines(text, where), where, name))
    return [parse_task(entry, allow_missing_solutions=True) for entry in entries]


def parse_json_lines(text: str | bytes, where: str) -> Any:
    """Parse JSON, or JSON lines as a list; raise InputError, beginning with `where`, for text that is neither."""
    try:
        return parse_json(text, where)
    except InputError:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            first = json.loads(lines[0]) if len(lines) > 1 else None
        except (ValueError, RecursionError):
            first = None
        if not isinstance(first, dict | list):
            raise
        return [parse_json(line, f"{where}: line {number}") for number, line in enumerate(lines, start=1)]


def split_entries(values: Any, where: str, name: str | None) -> Iterator[Entry]:
    """Yield the tasks in the JSON of a file; raise InputError for JSON without tasks, and for a task without a name."""
    if _is_task(values) or _is_pairs(values):
        named = name or _name_in(values)
        if named is None:
            raise InputError(f'{where}: found a task without a name, expected {{"NAME": ...}}')
        yield Entry(where, named, values)
    elif isinstance(values, list) and values and all(map(_is_task, values)):
        for number, task in enumerate(values, start=1):
            yield Entry(where, _name_in(task) or f"{name or 'task'}-{number}", task)
    elif (
        isinstance(values, list)
        and values
        and all(isinstance(v, dict) and any(map(_is_task, v.values())) for v in values)
    ):
        for named in values:
            yield from split_entries(named, where, name)
    elif isinstance(values, dict) and len(values) == 1 and _holds_tasks(*values.values()):
        yield from split_entries(next(iter(values.values())), where, name)
    elif isinstance(values, dict) and values:
        for key, task in values.items():
            yield Entry(where, key, task)
    else:
        raise InputError(f"{where}: found {values!r:.40}, expected an object with a task per name")


def parse_task(
    entry: Entry, allow_missing_solutions: bool, on_extra: OnExtra = lambda key, count: None, unsolved: bool = False
) -> Task:
    """Convert the JSON of a task to a task; `unsolved`: a test output of [[0]] counts as unknown.

    Raises InputError, naming task and field, for anything missing or malformed.
    """
    where, values = f"{entry.where}: task {entry.name}", _as_object(entry.values)
    if not isinstance(values, dict):
        raise InputError(f"{where}: found {values!r:.40}, expected an object with train and test pairs")
    pairs, source = [], {}
    for kind, listed in values.items():
        # Other keys, such as a task's name, hold no grids.
        if kind not in ("train", "test"):
            if _is_pairs(listed):
                on_extra(kind, len(listed))
            continue
        if _is_pair(listed) and isinstance(listed, dict):
            listed = [listed]
        if not isinstance(listed, list):
            raise InputError(f"{where}: {kind}: found {listed!r:.40}, expected a list of pairs")
        source[kind] = []
        for number, pair in enumerate(listed, start=1):
            place = f"{where}: {kind} pair {number}"
            if isinstance(pair, list) and len(pair) == 2:
                pair = {"input": pair[0], "output": pair[1]}
            if not isinstance(pair, dict) or "input" not in pair:
                raise InputError(f"{place}: found {pair!r:.40}, expected an object with input and output")
            known = not (pair.get(UNKNOWN) is True or is_blank(pair.get("output")))
            if not known and (kind == "train" or not (allow_missing_solutions or UNKNOWN in pair)):
                raise InputError(f"{place}: output: missing{_hint(kind)}")
            output = parse_grid(pair["output"], f"{place}: output") if known else parse_grid([[0]], place)
            known &= not (unsolved and kind == "test" and output.tolist() == [[0]])
            grids = {"input": parse_grid(pair["input"], f"{place}: input"), "output": output}
            pairs.append(Pair(**grids, is_test=kind == "test", known=known))
            plain = {side: grid.tolist() for side, grid in grids.items()}
            source[kind].append(pair | plain | ({} if known else {UNKNOWN: True}))
    for kind in ("train", "test"):
        if not source.get(kind):
            raise InputError(f"{where}: {kind}: found no pairs, expected at least one")
    return Task(entry.name, pairs, source)


def join_tasks(tasks: Iterable[Task]) -> list[Task]:
    """Return one task of each name: a later one adds the test inputs that those before it do not have.

    ARC-AGI-2 has tasks of ARC-AGI-1, some of them with other test inputs.
    """
    joined: dict[str, Task] = {}
    for task in tasks:
        first = joined.setdefault(task.name, task)
        if first is task:
            continue
        known = {(pair.input.shape, pair.input.tobytes()) for pair in first.pairs if pair.is_test}
        tests = [pair for pair in task.pairs if pair.is_test]
        new = [i for i, pair in enumerate(tests) if (pair.input.shape, pair.input.tobytes()) not in known]
        source = first.source | {"test": [*first.source["test"], *(task.source["test"][i] for i in new)]}
        joined[task.name] = Task(task.name, [*first.pairs, *(tests[i] for i in new)], source)
    return list(joined.values())


def read_test_puzzles(directory: str | Path) -> list[Task]:
    """Read the tasks that a puzzle set is evaluated on, demonstrations and solutions included.

    Raises InputError, naming file, task and field, for anything missing or malformed.
    """
    path = Path(directory) / TEST_PUZZLES
    values = read_json(path)
    if not isinstance(values, dict) or not values:
        raise InputError(f"{path}: found {values!r:.40}, expected an object with a task per name")
    tasks = [parse_task(Entry(str(path), name, task), False) for name, task in values.items()]
    tests = [pair for task in tasks for pair in task.pairs if pair.is_test]
    if len(tests) > 1 and all(pair.known and pair.output.tolist() == [[0]] for pair in tests):
        # The original writes [[0]] for solutions that it does not have.
        return [parse_task(Entry(str(path), name, task), False, unsolved=True) for name, task in values.items()]
    return tasks


def _hint(kind: str) -> str:
    return " (--allow-missing-solutions accepts it)" if kind == "test" else ""


def _is_task(values: Any) -> bool:
    return isinstance(values, dict) and any(isinstance(values.get(key), list) for key in ("train", "test", "examples"))


def _holds_tasks(values: Any) -> bool:
    """Return whether JSON is a list of tasks, or an object with a task per name, as under a key `tasks`."""
    inner = values.values() if isinstance(values, dict) and not _is_task(values) else values
    return isinstance(values, dict | list) and bool(values) and all(map(_is_task, inner))


def _is_pairs(values: Any) -> bool:
    """Return whether JSON is a list of pairs: objects with input and output, or lists of two grids."""
    return isinstance(values, list) and bool(values) and all(map(_is_pair, values))


def _is_pair(value: Any) -> bool:
    if isinstance(value, dict):
        return {"input", "output"} <= value.keys()
    # A row of a grid is a list of numbers.
    return isinstance(value, list) and len(value) == 2 and all(map(_looks_like_grid, value))


def _looks_like_grid(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def _as_object(values: Any) -> Any:
    """Return a task as an object with train and test pairs."""
    pairs: Any = values
    if isinstance(values, dict) and not {"train", "test"} & values.keys():
        pairs = values.get("examples")
    if not _is_pairs(pairs):
        return values
    return {"train": pairs[:-1], "test": pairs[-1:]}


def _name_in(task: Any) -> str | None:
    names = (task.get(key) for key in _NAMES) if isinstance(task, dict) else ()
    return next((str(name) for name in names if isinstance(name, str | int) and str(name)), None)
