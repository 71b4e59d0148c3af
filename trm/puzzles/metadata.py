"""The puzzle set on disk, in the original's format: what enters is a directory, what leaves are memory-mapped arrays.

    DIR/identifiers.json               names of the puzzle identifiers; index 0 is "<blank>"
    DIR/{train,test}/dataset.json      the `Metadata`
    DIR/{train,test}/{set}__inputs.npy, __labels.npy                    (examples, seq_len) tokens
    DIR/{train,test}/{set}__puzzle_identifiers.npy                      (puzzles,)
    DIR/{train,test}/{set}__puzzle_indices.npy, __group_indices.npy     (puzzles + 1,), (groups + 1,)

Examples of puzzle i are `puzzle_indices[i]` to `puzzle_indices[i + 1]`, puzzles of group g likewise: a group is one
original puzzle with its augmentations. Both programs read and write these files. Where the source rates its puzzles,
the set does so too, for accuracy by difficulty; the original does not look for the file:

    DIR/{train,test}/{set}__ratings.npy    (groups,) difficulty of each original puzzle

A set may also leave augmentation to the loader; `dataset.json` then says `online_augmentation`, which the original does
not know. A Sudoku is rearranged at random whenever it is drawn. Of an ARC task only the original is stored, and each of
its augmentations is a puzzle that says how to make it:

    DIR/{train,test}/{set}__first_examples.npy    (puzzles,) where the examples of its original begin in the tokens
    DIR/{train,test}/{set}__transforms.npy        (puzzles,) dihedral transform, 0 to 7
    DIR/{train,test}/{set}__colors.npy            (puzzles, 10) new colour of each colour
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

import numpy as np
from beartype.door import is_bearable
from jaxtyping import Integer

from trm.errors import InputError

IGNORED_LABEL = -100
"""Label of a token that counts neither in the loss nor in a metric."""

BLANK = "<blank>"
"""Name of identifier 0, and of identifiers that a set leaves to others."""

TOKENS = ("inputs", "labels")
INDICES = ("puzzle_identifiers", "puzzle_indices", "group_indices")
FIELDS = TOKENS + INDICES
RATINGS = "ratings"
"""Field that a set may have or not."""
RECIPE = ("first_examples", "transforms", "colors")
"""Fields of a set that stores each ARC task once."""

Kind = Literal["sudoku", "maze", "arc", "other"]

MAZE_CHARACTERS = "# SGo"
"""Wall, free, start, goal, path: tokens 1 to 5."""
ARC_SIDE, ARC_COLORS = 30, 10
"""Side of the frame that holds a grid, and number of colours."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What `dataset.json` says of one split."""

    pad_id: int
    ignore_label_id: int | None
    """Label on disk that is to be ignored; unset: every label counts."""
    blank_identifier_id: int
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    total_groups: int
    mean_puzzle_examples: float
    total_puzzles: int
    sets: list[str]
    kind: Kind | None = None
    """What the puzzles are; unset, as in sets that the original wrote: told from vocabulary and length."""
    online_augmentation: bool = False
    """Whether the loader augments a puzzle when it draws it."""

    @property
    def puzzle_kind(self) -> Kind:
        """What the puzzles are, told from vocabulary and length where the set does not say."""
        if self.kind is not None:
            return self.kind
        side = self.side
        if side is None:
            return "other"
        if self.vocab_size == side + 2 and 4 <= side <= 9:
            return "sudoku"
        if self.vocab_size == len(MAZE_CHARACTERS) + 1:
            return "maze"
        return "arc" if (self.vocab_size, side) == (ARC_COLORS + 2, ARC_SIDE) else "other"

    @property
    def side(self) -> int | None:
        """Side of the board, if it is a square."""
        side = math.isqrt(self.seq_len)
        return side if side * side == self.seq_len else None

    @property
    def examples_per_epoch(self) -> float:
        """Examples that one pass over the groups trains on, on average."""
        return self.total_groups * self.mean_puzzle_examples


class Recipe(NamedTuple):
    """How to make the examples of each puzzle from those of its original, which alone are stored."""

    first_examples: Integer[np.ndarray, " puzzles"]
    """Where the examples of the original begin."""
    transforms: Integer[np.ndarray, " puzzles"]
    colors: Integer[np.ndarray, "puzzles 10"]


@dataclasses.dataclass(frozen=True)
class PuzzleArrays:
    """The arrays of one named set of a split."""

    inputs: Integer[np.ndarray, "stored seq_len"]
    labels: Integer[np.ndarray, "stored seq_len"]
    puzzle_identifiers: Integer[np.ndarray, " puzzles"]
    puzzle_indices: Integer[np.ndarray, " puzzle_bounds"]
    group_indices: Integer[np.ndarray, " group_bounds"]
    online_augmentation: bool = False
    """Whether the loader augments a puzzle when it draws it."""
    recipe: Recipe | None = None
    """How to make each puzzle's examples from stored ones; None: they are stored as they are."""
    ratings: Integer[np.ndarray, " groups"] | None = None
    """Difficulty of each original puzzle, in whatever its source rates; None: not known."""

    @property
    def examples(self) -> int:
        """Examples of all puzzles, stored or made when they are drawn."""
        return int(self.puzzle_indices[-1])

    @property
    def groups(self) -> int:
        return len(self.group_indices) - 1

    def example_ratings(self) -> Integer[np.ndarray, " examples"] | None:
        """Return the difficulty of each example, that of its original puzzle."""
        if self.ratings is None:
            return None
        return np.repeat(self.ratings, np.diff(np.asarray(self.puzzle_indices)[self.group_indices]))


@dataclasses.dataclass(frozen=True)
class PuzzleSet:
    """One split of a puzzle set."""

    name: str
    """Where it came from, for messages."""
    metadata: Metadata
    sets: Mapping[str, PuzzleArrays]

    @property
    def examples(self) -> int:
        return sum(arrays.examples for arrays in self.sets.values())


def read_puzzle_set(directory: str | Path, split: str) -> PuzzleSet:
    """Open a split of a puzzle set; tokens and indices stay on disk, memory-mapped.

    Raises InputError, naming the file, for whatever is missing, malformed or contradicts the metadata.
    """
    folder = Path(directory) / split
    metadata = _read_metadata(folder / "dataset.json")
    sets = {name: _read_arrays(folder, name, metadata) for name in metadata.sets}
    return PuzzleSet(str(folder), metadata, sets)


def read_puzzle_sets(directories: Sequence[str | Path], split: str) -> PuzzleSet:
    """Open one split of several puzzle sets as one, whose sets are named apart: `all`, `all1`, `all2`.

    They share the puzzle identifiers: build them with different `--puzzle-identifiers-start` where they must not.
    Raises InputError, naming directory and field, for sets that do not go together.
    """
    parts = [read_puzzle_set(directory, split) for directory in directories]
    if len(parts) == 1:
        return parts[0]
    first = parts[0].metadata
    sets: dict[str, PuzzleArrays] = {}
    for i, part in enumerate(parts):
        for field in ("seq_len", "vocab_size", "pad_id", "ignore_label_id", "blank_identifier_id", "puzzle_kind"):
            found, expected = getattr(part.metadata, field), getattr(first, field)
            if found != expected:
                raise InputError(f"{part.name}: {field}: found {found}, expected {expected}, as in {parts[0].name}")
        sets |= {f"{name}{i or ''}": arrays for name, arrays in part.sets.items()}
    groups = sum(part.metadata.total_groups for part in parts)
    metadata = dataclasses.replace(
        first,
        num_puzzle_identifiers=max(part.metadata.num_puzzle_identifiers for part in parts),
        total_groups=groups,
        mean_puzzle_examples=sum(part.metadata.examples_per_epoch for part in parts) / groups,
        total_puzzles=sum(part.metadata.total_puzzles for part in parts),
        sets=list(sets),
        online_augmentation=any(part.metadata.online_augmentation for part in parts),
    )
    return PuzzleSet(" + ".join(part.name for part in parts), metadata, sets)


def read_identifiers(directory: str | Path) -> list[str]:
    """Read the names of the puzzle identifiers; raise InputError when the file is missing or is not a list of names."""
    path = Path(directory) / "identifiers.json"
    names = read_json(path)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: found {names!s:.40}, expected a list of names")
    return names


def read_shared_identifiers(directories: Sequence[str | Path]) -> list[str]:
    """Read the names of the puzzle identifiers that several sets share: what one leaves blank another may name.

    Raises InputError when two sets call the same identifier by different names.
    """
    shared: list[str] = []
    named_in: list[str | Path] = []
    for directory in directories:
        names = read_identifiers(directory)
        more = len(names) - len(shared)
        shared += [BLANK] * more
        named_in += [directory] * more
        for identifier, name in enumerate(names):
            if shared[identifier] == BLANK:
                shared[identifier], named_in[identifier] = name, directory
            elif name not in (BLANK, shared[identifier]):
                raise InputError(
                    f"{directory}/identifiers.json: identifier {identifier}: found {name!r}, expected "
                    f"{shared[identifier]!r} as in {named_in[identifier]} (--puzzle-identifiers-start keeps them apart)"
                )
    return shared


def read_json(path: Path) -> Any:
    """Read a JSON file; raise InputError when it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from error


def _read_metadata(path: Path) -> Metadata:
    return check_metadata(read_json(path), str(path))


def check_metadata(values: Any, path: str) -> Metadata:
    """Turn what a JSON file says into metadata; raise InputError, naming file and field, for what is no metadata."""
    hints = get_type_hints(Metadata)
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected an object")
    values = dict(values)
    defaults = {f.name: f.default for f in dataclasses.fields(Metadata) if f.default is not dataclasses.MISSING}
    values = defaults | values
    for name, hint in hints.items():
        if name not in values:
            raise InputError(f"{path}: {name}: missing")
        if hint is float and type(values[name]) is int:
            values[name] = float(values[name])
        if not is_bearable(values[name], hint) or (type(values[name]) is bool and hint is not bool):
            raise InputError(f"{path}: {name}: found {values[name]!r}, expected {getattr(hint, '__name__', hint)}")
    metadata = Metadata(**{name: values[name] for name in hints})
    for name in "vocab_size seq_len num_puzzle_identifiers total_groups mean_puzzle_examples".split():
        if not 0 < getattr(metadata, name) < math.inf:
            raise InputError(f"{path}: {name}: found {getattr(metadata, name)}, expected more than 0")
    if metadata.online_augmentation and metadata.puzzle_kind not in ("sudoku", "arc"):
        raise InputError(
            f"{path}: online_augmentation: found true of {metadata.puzzle_kind}, expected of sudoku or arc"
        )
    told = dataclasses.replace(metadata, kind=None).puzzle_kind
    if metadata.kind not in (None, "other", told):
        found = f"{metadata.kind!r} of vocab_size {metadata.vocab_size} and seq_len {metadata.seq_len}"
        raise InputError(f"{path}: kind: found {found}, expected {told!r}")
    if not metadata.sets:
        raise InputError(f"{path}: sets: found none, expected at least one")
    for name in metadata.sets:
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(f"{path}: sets: found {name!r}, expected a plain name")
    return metadata


def _read_arrays(folder: Path, name: str, metadata: Metadata) -> PuzzleArrays:
    # A set of ARC tasks that are each stored once says how to make the rest.
    has_recipe = metadata.online_augmentation and metadata.puzzle_kind == "arc"
    paths = {field: folder / f"{name}__{field}.npy" for field in (*FIELDS, *(RECIPE if has_recipe else ()))}
    ratings_path = folder / f"{name}__{RATINGS}.npy"
    if ratings_path.exists():
        paths[RATINGS] = ratings_path
    arrays = {field: _map_array(path) for field, path in paths.items()}

    def require(holds: bool | np.bool, field: str, found: object, expected: object):
        if not holds:
            raise InputError(f"{paths[field]}: found {found}, expected {expected}")

    for field, array in arrays.items():
        require(array.ndim >= 1, field, f"shape {array.shape}", "an array of at least one axis")
        require(array.dtype.kind in "iu", field, f"dtype {array.dtype}", "integers")
    stored = len(arrays["inputs"])
    for field in TOKENS:
        shape = (stored, metadata.seq_len)
        require(arrays[field].shape == shape, field, f"shape {arrays[field].shape}", shape)
    require(stored > 0, "inputs", "no examples", "at least one")
    puzzles = len(arrays["puzzle_identifiers"])
    examples = None if has_recipe else stored
    for field, units, last in (("puzzle_indices", puzzles + 1, examples), ("group_indices", None, puzzles)):
        indices = arrays[field]
        require(indices.ndim == 1 and len(indices) >= 2, field, f"shape {indices.shape}", "(2 or more,)")
        require(units in (None, len(indices)), field, f"{len(indices)} indices", units)
        last = indices[-1] if last is None else last
        require(indices[0] == 0 and indices[-1] == last, field, f"{indices[0]} to {indices[-1]}", f"0 to {last}")
        falls = np.flatnonzero(indices[1:] <= indices[:-1])
        require(len(falls) == 0, field, f"index {falls[:1]} not below the next", "rising indices")
    identifiers = arrays["puzzle_identifiers"]
    require(identifiers.ndim == 1, "puzzle_identifiers", f"shape {identifiers.shape}", "(puzzles,)")

    def require_range(field: str, lowest: int, highest: int) -> None:
        for extreme in (arrays[field].min(), arrays[field].max()):
            require(lowest <= extreme <= highest, field, extreme, f"{lowest} to {highest}")

    require_range("puzzle_identifiers", 0, metadata.num_puzzle_identifiers - 1)
    if RATINGS in arrays:
        shape = (len(arrays["group_indices"]) - 1,)
        require(arrays[RATINGS].shape == shape, RATINGS, f"shape {arrays[RATINGS].shape}", shape)
    plain = {field: arrays[field] for field in FIELDS}
    ratings = arrays.get(RATINGS)
    if not has_recipe:
        return PuzzleArrays(**plain, online_augmentation=metadata.online_augmentation, recipe=None, ratings=ratings)
    for field, shape in (("first_examples", (puzzles,)), ("transforms", (puzzles,)), ("colors", (puzzles, ARC_COLORS))):
        require(arrays[field].shape == shape, field, f"shape {arrays[field].shape}", shape)
    require_range("transforms", 0, 7)
    require_range("colors", 0, ARC_COLORS - 1)
    ends = arrays["first_examples"] + np.diff(arrays["puzzle_indices"])
    require(arrays["first_examples"].min() >= 0, "first_examples", arrays["first_examples"].min(), "0 or more")
    require(ends.max() <= stored, "first_examples", f"examples up to {ends.max()}", f"at most {stored}")
    recipe = Recipe(*(arrays[field] for field in RECIPE))
    return PuzzleArrays(**plain, online_augmentation=True, recipe=recipe, ratings=ratings)


def _map_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not a whole .npy file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: found an archive of arrays, expected a single .npy array")
    return array
