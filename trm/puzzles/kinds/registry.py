"""The registered puzzle kinds. Entry: `KINDS`, `kind_of`, `check_kind`.

A kind is registered here, or named as `package.module:Object`, which is imported when it is needed.
"""

from trm.configuration.registry import Registry
from trm.errors import InputError
from trm.puzzles.kinds.arc.kind import Arc
from trm.puzzles.kinds.kind import PuzzleKind
from trm.puzzles.kinds.maze.kind import Maze
from trm.puzzles.kinds.other import Other
from trm.puzzles.kinds.sudoku.kind import Sudoku
from trm.puzzles.metadata import Metadata

KINDS: Registry[PuzzleKind] = Registry("kind", PuzzleKind)
"""Puzzle kinds by name, in the order in which they are tried for a set without a kind."""
for _kind in (Sudoku(), Maze(), Arc(), Other()):
    KINDS.add(_kind.name, _kind)


def kind_of(metadata: Metadata) -> PuzzleKind:
    """Return the kind of a puzzle set; for a set without one, such as the original's, by vocabulary and length.

    Raises InputError for a kind that is neither registered nor importable.
    """
    return KINDS[metadata.kind or _recognise(metadata)]


def check_kind(metadata: Metadata, path: str) -> None:
    """Raise InputError, beginning with `path`, where a puzzle set does not fit its kind."""
    try:
        kind = kind_of(metadata)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if metadata.online_augmentation and not kind.augments_online:
        able = " or ".join(name for name in KINDS.names() if KINDS[name].augments_online)
        raise InputError(f"{path}: online_augmentation: found true of {kind.name}, expected of {able}")
    if not kind.fits(metadata.vocab_size, metadata.seq_len):
        found = f"{metadata.kind!r} of vocab_size {metadata.vocab_size} and seq_len {metadata.seq_len}"
        raise InputError(f"{path}: kind: found {found}, expected {_recognise(metadata)!r}")


def _recognise(metadata: Metadata) -> str:
    return next(name for name in KINDS.names() if KINDS[name].fits(metadata.vocab_size, metadata.seq_len))
