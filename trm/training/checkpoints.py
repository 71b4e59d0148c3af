"""The checkpoints of a run folder: find, write, prune, and load the newest that is whole.

    RUN/checkpoints/step_N.safetensors            states from which the run resumes
    RUN/checkpoints/step_N.safetensors.damaged a file that could not be read, kept for inspection

Entry: `save_checkpoint`, `load_newest`, `newest_checkpoint`, `list_checkpoints`.
"""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax

from trm.checkpoints.description import KEY, READABLE, Description, decode, encode
from trm.errors import InputError
from trm.parallel.processes import arrays_of_first, decide_on_first, is_first
from trm.storage.safetensors import read_header
from trm.training.state import TrainState, abstract_state, load_state, save_state


class Loaded(NamedTuple):
    """A checkpoint, as host arrays."""

    path: Path
    state: TrainState
    description: Description
    damaged: list[str]
    """One line about each newer file that could not be read."""


def list_checkpoints(run: Path) -> list[Path]:
    """List the checkpoints of a run folder, oldest first."""
    numbered = [
        (int(match[1]), path)
        for path in (run / "checkpoints").glob("step_*.safetensors")
        if (match := re.fullmatch(r"step_(\d+)", path.stem))
    ]
    return [path for _, path in sorted(numbered)]


def newest_checkpoint(run: Path) -> Path | None:
    """Return the checkpoint of a run folder with the most steps."""
    found = list_checkpoints(run)
    return found[-1] if found else None


def save_checkpoint(run: Path, state: TrainState, description: Description, keep: int) -> None:
    """Write a checkpoint and remove all but the newest `keep`. With several processes all must call it."""
    save_state(run / "checkpoints" / f"step_{description.step}.safetensors", state, description)
    if is_first():
        # The new checkpoint is in place. An old one that cannot be removed now is removed after the next save.
        with contextlib.suppress(OSError):
            for old in list_checkpoints(run)[:-keep]:
                old.unlink(missing_ok=True)


def load_newest(run: Path) -> Loaded | None:
    """Load the newest checkpoint of a run folder that is whole; None when the folder holds no checkpoint.

    Newer files that are damaged get the suffix `.damaged`. Raises InputError when no checkpoint is whole, and for a
    file that cannot be used without being damaged: one of a later format, or one that may not be read. With several
    processes, process 0 reads for all.
    """
    loaded: list[Loaded] = []

    def choose() -> dict[str, str] | None:
        if found := _load_first_whole(list_checkpoints(run)[::-1]):
            loaded.append(found)
            return encode(found.description, {}) | {"name": found.path.name}
        return None

    chosen = decide_on_first(choose)
    if chosen is None:
        return None
    description, _ = decode(chosen)
    like = abstract_state(description.config, description.metadata)
    leaves = arrays_of_first(lambda: jax.tree.leaves(loaded[0].state), jax.tree.leaves(like))
    state = jax.tree.unflatten(jax.tree.structure(like), leaves)
    damaged = loaded[0].damaged if loaded else []
    return Loaded(run / "checkpoints" / chosen["name"], state, description, damaged)


def _load_first_whole(paths: list[Path]) -> Loaded | None:
    errors: dict[Path, InputError] = {}
    for path in paths:
        try:
            state, description = load_state(path)
        except InputError as error:
            # Raised below if no older file is whole.
            if isinstance(error.__cause__, OSError) or _is_of_another_format(path):
                raise
            errors[path] = error
            continue
        lines = []
        for damaged, error in errors.items():
            os.replace(damaged, damaged.with_name(f"{damaged.name}.damaged"))
            lines.append(f"{error}; renamed to {damaged.name}.damaged, going back to {path.name}")
        return Loaded(path, state, description, lines)
    for error in errors.values():
        raise error
    return None


def _is_of_another_format(path: Path) -> bool:
    """Return whether a file is whole and names a format that this version does not know."""
    try:
        values = json.loads(read_header(path).text.get(KEY, ""))
    except (InputError, ValueError):
        # A file without a readable header is damaged.
        return False
    return isinstance(values, dict) and isinstance(values.get("format"), str) and values["format"] not in READABLE
