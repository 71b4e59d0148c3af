"""Sources of ARC tasks: repositories, folders, Kaggle's files, single files. Entry: `Source`, `read_subset`.

    SOURCE/{subset}/**.json, SOURCE/data/{subset}/**.json        the official repositories
    SOURCE/*_{subset}_challenges.json, *_solutions.json          Kaggle's folders, or PREFIX_... for a prefix
    SOURCE/{tasks,dataset,corpus,data}/**.json                   one collection: RE-ARC, 1D-ARC, ConceptARC, Mini-ARC
    a file                                                       one task, several by name, JSON lines, or challenges

Each plain or .gz. A collection without subsets is the subset `all`.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from trm.errors import InputError
from trm.puzzles.json_files import read_json, unpack
from trm.puzzles.kinds.arc.tasks import Entry, OnExtra, Task, parse_json_lines, parse_task, split_entries, task_name

ALL = "all"
"""Name of the only subset of a collection without subsets."""

FIRST = "training,evaluation,concept"
"""Default subsets of a puzzle set, in the order in which they are used."""

_CHALLENGES = re.compile(r"(?P<prefix>.*?)[_-]?(?P<subset>[^_-]+)(?P<between>[_-])challenges\.json(\.gz)?")
_COLLECTIONS = ("tasks", "dataset", "corpus", "data")
_ENDINGS = (".json", ".json.gz", ".jsonl", ".jsonl.gz")

OnBad = Callable[[InputError], object]
"""Called with the error of a task that is skipped."""


def read_subset(
    source: str | Path,
    subset: str,
    allow_missing_solutions: bool = False,
    on_bad: OnBad | None = None,
    on_extra: OnExtra = lambda key, count: None,
) -> list[Task]:
    """Read the tasks of a subset.

    With `allow_missing_solutions` an unknown output counts as the grid [[0]], as for a competition's test set. A task
    that is malformed is an error, or, with `on_bad`, left out.

    Raises InputError, naming file, task and field, for anything missing or malformed.
    """
    tasks: list[Task] = []
    for entry in _entries(str(source), subset, allow_missing_solutions, on_bad):
        try:
            tasks.append(parse_task(entry, allow_missing_solutions, on_extra))
        except InputError as error:
            if on_bad is None:
                raise
            on_bad(error)
    return tasks


def list_subsets(source: str | Path) -> list[str]:
    """Return the names of the subsets in a source, as far as its folders and files show them.

    Raises InputError where there is no such source.
    """
    path = _inside(Path(source))
    if path.is_file():
        named = _CHALLENGES.fullmatch(path.name)
        return [named["subset"]] if named else [ALL]
    if not path.is_dir():
        found = {match["subset"] for match, _ in _kaggle_files(path.parent) if _is_of(match, path.name)}
        if found:
            return sorted(found)
        what = "folder" if not path.parent.is_dir() else f"{path.name}_SUBSET_challenges.json beside it"
        raise InputError(f"{source}: found no such file or folder, and no {what}, expected ARC tasks")
    if kaggle := sorted({match["subset"] for match, _ in _kaggle_files(path)}):
        return kaggle
    for folder in (path, path / "data"):
        if folder.is_dir():
            names = sorted(inner.name for inner in folder.iterdir() if inner.is_dir() and _has_tasks(inner))
            if {"training", "evaluation"} & set(names):
                return names
    return [ALL]


def _entries(source: str, subset: str, allow_missing_solutions: bool, on_bad: OnBad | None) -> Iterator[Entry]:
    path = _inside(Path(source))
    if path.is_file():
        match = _CHALLENGES.fullmatch(path.name)
        if match is None:
            yield from _read_file(path)
        elif subset != match["subset"]:
            raise _unknown(source, subset)
        else:
            yield from _read_kaggle(path, _solutions_of(path, match), allow_missing_solutions, on_bad)
        return
    if not path.is_dir():
        challenges = _plain_or_gz(f"{source}_{subset}_challenges.json")
        if not challenges.exists() and subset not in (known := list_subsets(source)) and known != [ALL]:
            raise _unknown(source, subset)
        solutions = _plain_or_gz(f"{source}_{subset}_solutions.json")
        yield from _read_kaggle(challenges, solutions, allow_missing_solutions, on_bad)
        return
    of_subset = [(match, file) for match, file in _kaggle_files(path) if match["subset"] == subset]
    if len(prefixes := sorted({match["prefix"].rstrip("_-") for match, _ in of_subset})) > 1:
        choice = " or ".join(str(path / prefix) for prefix in prefixes)
        raise InputError(f"{source}: found files of several collections with subset {subset!r}, expected {choice}")
    if of_subset:
        match, file = of_subset[0]
        yield from _read_kaggle(file, _solutions_of(file, match), allow_missing_solutions, on_bad)
        return
    folders = [path / subset, path / "data" / subset]
    if subset == ALL:
        folders += [path / name for name in _COLLECTIONS] + [path]
    if subset == "concept":
        folders.append(path / "corpus")
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise _unknown(source, subset)
    yield from _read_folder(folder, on_bad)


def _inside(path: Path) -> Path:
    """Return a folder, or, where it holds nothing but one folder, as an unpacked archive does, that one."""
    while path.is_dir():
        inner = [entry for entry in path.iterdir() if not _is_hidden(entry, path)]
        if len(inner) != 1 or not inner[0].is_dir() or not (_kaggle_files(inner[0]) or _has_data(inner[0])):
            return path
        path = inner[0]
    return path


def _has_data(folder: Path) -> bool:
    return any(
        _has_tasks(folder / name / "training") for name in (".", "data") if (folder / name / "training").is_dir()
    )


def _is_hidden(path: Path, folder: Path) -> bool:
    """Return whether a file is one that a system or an editor hides: `.ipynb_checkpoints`, `__MACOSX`."""
    return any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)


def _unknown(source: str, subset: str) -> InputError:
    known = ",".join(sorted(list_subsets(source), key=lambda name: (name not in FIRST, FIRST.find(name), name)))
    return InputError(f"{source}: found no subset {subset!r}, expected one of the source's: --subsets {known}")


def _read_folder(folder: Path, on_bad: OnBad | None) -> Iterator[Entry]:
    paths = sorted(
        path for path in folder.rglob("*.json*") if path.name.endswith(_ENDINGS) and not _is_hidden(path, folder)
    )
    if not paths:
        raise InputError(f"{folder}: found no JSON file, expected one per task")
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            entries = list(_read_file(path))
        except InputError as error:
            _leave_out(error, on_bad)
            continue
        for entry in entries:
            if entry.name in seen:
                first = seen[entry.name]
                again = InputError(f"{path}: found task {entry.name!r} again, expected it once, as in {first}")
                _leave_out(again, on_bad)
                continue
            seen[entry.name] = path
            yield entry


def _leave_out(error: InputError, on_bad: OnBad | None) -> None:
    """Pass an error on; raise it where nothing may be left out."""
    if on_bad is None:
        raise error
    on_bad(error)


def _read_file(path: Path) -> Iterator[Entry]:
    yield from split_entries(parse_json_lines(unpack(path), str(path)), str(path), task_name(path))


def _read_kaggle(
    path: Path, solutions_path: Path, allow_missing_solutions: bool, on_bad: OnBad | None
) -> Iterator[Entry]:
    challenges = read_json(path)
    if not isinstance(challenges, dict) or not challenges:
        raise InputError(f"{path}: found {challenges!r:.40}, expected an object with a task per name")
    if allow_missing_solutions and not solutions_path.exists():
        yield from (Entry(str(path), name, values) for name, values in challenges.items())
        return
    solutions = read_json(solutions_path)
    if not isinstance(solutions, dict):
        raise InputError(f"{solutions_path}: found {solutions!r:.40}, expected an object with outputs per task")
    for name, values in challenges.items():
        tests = values.get("test") if isinstance(values, dict) else None
        outputs = solutions.get(name)
        if isinstance(tests, list) and all(isinstance(test, dict) for test in tests):
            if outputs is None and not allow_missing_solutions:
                _leave_out(InputError(f"{solutions_path}: task {name}: missing"), on_bad)
                continue
            if outputs is not None:
                if not isinstance(outputs, list) or len(outputs) != len(tests):
                    found = f"{len(outputs)} outputs" if isinstance(outputs, list) else repr(outputs)[:40]
                    wrong = f"{solutions_path}: task {name}: found {found}, expected {len(tests)}"
                    _leave_out(InputError(wrong), on_bad)
                    continue
                tests = [test | {"output": output} for test, output in zip(tests, outputs, strict=True)]
                values = values | {"test": tests}
        yield Entry(str(path), name, values)


def _kaggle_files(folder: Path) -> list[tuple[re.Match[str], Path]]:
    """Return the files of challenges in a folder, the plain one before the same as .gz."""
    if not folder.is_dir():
        return []
    matches = ((_CHALLENGES.fullmatch(path.name), path) for path in sorted(folder.iterdir()))
    return [(match, path) for match, path in matches if match]


def _is_of(match: re.Match[str], prefix: str) -> bool:
    return match["prefix"].rstrip("_-") == prefix


def _solutions_of(challenges: Path, match: re.Match[str]) -> Path:
    name = challenges.name[: match.end("between")] + "solutions.json"
    return _plain_or_gz(str(challenges.parent / name))


def _has_tasks(folder: Path) -> bool:
    return any(path.name.endswith(_ENDINGS) for path in folder.iterdir())


def _plain_or_gz(name: str) -> Path:
    plain, zipped = Path(name), Path(f"{name}.gz")
    return zipped if zipped.exists() and not plain.exists() else plain
