"""The puzzle set on disk, in the original's format, and its metadata. Entry: `Metadata`, `check_metadata`.

    DIR/identifiers.json               names of the puzzle identifiers; index 0 is "<blank>"
    DIR/{train,test}/dataset.json      the `Metadata`
    DIR/{train,test}/{set}__inputs.npy, __labels.npy                    (examples, seq_len) tokens
    DIR/{train,test}/{set}__puzzle_identifiers.npy                      (puzzles,)
    DIR/{train,test}/{set}__puzzle_indices.npy, __group_indices.npy     (puzzles + 1,), (groups + 1,)

Examples of puzzle i are `puzzle_indices[i]` to `puzzle_indices[i + 1]`, puzzles of group g `group_indices[g]` to
`group_indices[g + 1]`: a group is one original puzzle with its augmentations. Both programs read and write these files.
Where the source rates its puzzles, the set has ratings too, for accuracy by difficulty; the original ignores the file:

    DIR/{train,test}/{set}__ratings.npy    (groups,) difficulty of each original puzzle

A set may also leave augmentation to the loader; `dataset.json` then says `online_augmentation`, which the original does
not know. Of a Sudoku a random symmetry is applied whenever it is drawn. Of an ARC task only the original is stored, and
each augmentation is a puzzle with these fields:

    DIR/{train,test}/{set}__first_examples.npy    (puzzles,) where the examples of its original begin in the tokens
    DIR/{train,test}/{set}__transforms.npy        (puzzles,) dihedral transform, 0 to 7
    DIR/{train,test}/{set}__colors.npy            (puzzles, 10) new colour of each colour
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, get_type_hints

from beartype.door import is_bearable

from trm.errors import InputError

IGNORED_LABEL = -100
"""Label of a token that counts neither in the loss nor in a metric."""

BLANK = "<blank>"
"""Name of identifier 0, and of identifiers that a set leaves to other sets."""

TOKENS = ("inputs", "labels")
INDICES = ("puzzle_identifiers", "puzzle_indices", "group_indices")
FIELDS = TOKENS + INDICES
RATINGS = "ratings"
"""Optional field of a set."""
STORED_AUGMENTATIONS = ("first_examples", "transforms", "colors")
"""Fields of a set that stores each ARC task once, and its augmentations as numbers."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata of one split, the content of `dataset.json`."""

    pad_id: int
    ignore_label_id: int | None
    """Label on disk that does not count; unset: every label counts."""
    blank_identifier_id: int
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    total_groups: int
    mean_puzzle_examples: float
    total_puzzles: int
    sets: list[str]
    kind: str | None = None
    """Registered kind of the puzzles, or `package.module:Object`; unset in sets of the original, see `kind_of`."""
    online_augmentation: bool = False
    """Whether the loader augments a puzzle when it draws it."""

    @property
    def side(self) -> int | None:
        """Side of the board, if it is a square."""
        side = math.isqrt(self.seq_len)
        return side if side * side == self.seq_len else None

    @property
    def examples_per_epoch(self) -> float:
        """Mean number of examples in one pass over the groups."""
        return self.total_groups * self.mean_puzzle_examples


def check_metadata(values: Any, path: str) -> Metadata:
    """Convert JSON to metadata; raise InputError, naming file and field, for values that are not metadata."""
    hints = get_type_hints(Metadata)
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected an object")
    values = dict(values)
    defaults = {f.name: f.default for f in dataclasses.fields(Metadata) if f.default is not dataclasses.MISSING}
    values = defaults | values
    for name, hint in hints.items():
        if name not in values:
            raise InputError(f"{path}: {name}: missing")
        if hint is float and type(values[name]) is int and abs(values[name]) < 2**63:
            values[name] = float(values[name])
        if not is_bearable(values[name], hint) or (type(values[name]) is bool and hint is not bool):
            raise InputError(f"{path}: {name}: found {values[name]!r:.80}, expected {getattr(hint, '__name__', hint)}")
    metadata = Metadata(**{name: values[name] for name in hints})
    for name in "vocab_size seq_len num_puzzle_identifiers total_groups mean_puzzle_examples".split():
        if not 0 < getattr(metadata, name) < math.inf:
            raise InputError(f"{path}: {name}: found {getattr(metadata, name)}, expected more than 0")
    for name, numbers in (("pad_id", metadata.vocab_size), ("blank_identifier_id", metadata.num_puzzle_identifiers)):
        if not 0 <= getattr(metadata, name) < numbers:
            raise InputError(f"{path}: {name}: found {getattr(metadata, name)}, expected 0 to {numbers - 1}")
    if not metadata.sets:
        raise InputError(f"{path}: sets: found none, expected at least one")
    for name in metadata.sets:
        if not isinstance(name, str) or Path(name).name != name or not name.isprintable():
            raise InputError(f"{path}: sets: found {name!r}, expected a plain name")
    return metadata
