"""Finding the parts of a checkpoint: its file in a folder, its settings and names beside the file.

Entry: `checkpoint_in`, `settings_beside`, `names_beside`.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trm.errors import InputError
from trm.original.settings import read_settings
from trm.puzzles.identifiers import NAMES_FILE
from trm.storage.hub import SCHEME, path_beside

SETTINGS_FILE = "all_config.yaml"
"""Name of the file with settings that the original's training script writes beside its checkpoints."""

_SETTINGS = ("{stem}.yaml", SETTINGS_FILE, "config.yaml", "hparams.yaml")
ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".npz", ".ckpt")
"""Suffixes of checkpoint files; the original's files have none."""
_NOT_WEIGHTS = re.compile(r"optim|scheduler|rng|training_args|train_state|scaler")


def checkpoint_in(path: Path) -> Path:
    """Return the checkpoint in a folder: the one of the highest step, or the only one; a file is returned as it is.

    Raises InputError for a folder without a checkpoint, or with several that have no step in their names.
    """
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    named = ((re.fullmatch(r"step_(\d+)(\.\w+)?", file.name), file) for file in files)
    steps = {int(match[1][:18]): file for match, file in named if match and match[2] in (None, *ENDINGS)}
    if steps:
        return steps[max(steps)]
    found = [file for file in files if file.suffix in ENDINGS and not _NOT_WEIGHTS.search(file.stem)]
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "no checkpoint"
        raise InputError(f"{path}: found a folder with {names}, expected one file: name it")
    return found[0]


def has_checkpoint(folder: Path) -> bool:
    """Return whether a folder holds files with names of checkpoints."""
    return any(file.suffix in ENDINGS or re.fullmatch(r"step_\d+", file.name) for file in folder.iterdir())


def settings_beside(name: str, path: Path) -> Path | None:
    """Return the file with the settings of a checkpoint: one with a usual name, else any YAML file, or `config.json`.

    `name` is the user's name of the checkpoint, possibly an hf:// address; `path` is its local file.
    """
    for usual in _SETTINGS:
        beside = usual.format(stem=path.stem)
        if name.startswith(SCHEME):
            if found := path_beside(name, beside):
                return found
        elif (path.parent / beside).is_file():
            return path.parent / beside
    if name.startswith(SCHEME):
        return None
    return next(_other_settings(path), None)


def names_beside(path: Path) -> Path | None:
    """Return the folder of the checkpoint if it holds the names of the puzzle identifiers, else None."""
    return path.parent if (path.parent / NAMES_FILE).is_file() else None


def _other_settings(path: Path) -> Iterator[Path]:
    folder = path.parent
    others = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".yaml", ".yml"))
    # The folder above may hold anything: only the original's file name counts there.
    others += [folder / "config.json", folder / ".hydra" / "config.yaml", path.resolve().parent.parent / SETTINGS_FILE]
    for file in others:
        if file.is_file():
            with suppress(InputError):  # A file of something else.
                read_settings(file)
                yield file
