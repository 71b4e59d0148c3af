"""`trm info` of everything but our own checkpoints and puzzle sets. Entry: `print_other`."""

import dataclasses
import os
import re
from pathlib import Path

from trm.checkpoints.describe import describe
from trm.cli.described import print_described
from trm.cli.read_config import read_and_warn
from trm.configuration.reading import config_to_toml
from trm.errors import InputError
from trm.original.beside import ENDINGS, checkpoint_in, has_checkpoint
from trm.original.files import looks_binary, open_tensors
from trm.original.loading import is_foreign, open_weights
from trm.puzzles.check import read_splits
from trm.show.console import print_lines, print_rows, print_warning
from trm.storage.bundled import ENDING, is_run, weights_path
from trm.storage.hub import SCHEME


def print_other(path: str) -> None:
    """Print the contents of a checkpoint of another program, a file on the hub, a run folder or a configuration."""
    if path.endswith(ENDING) or path.startswith(SCHEME):
        _print_checkpoint(path)
    elif os.path.isdir(path) and not is_run(path):
        if not has_checkpoint(Path(path)):
            read_splits(path)  # Raises: the folder is not a puzzle set.
        _print_checkpoint(path)
    elif os.path.isfile(path) and _is_checkpoint(path):
        _print_checkpoint(path)
    else:
        print_lines(config_to_toml(read_and_warn(path)).rstrip())


def _is_checkpoint(path: str) -> bool:
    """Return whether a file without our suffix is a tensor file, by its content or its name."""
    if path.endswith((".toml", ".json")):
        return False
    return path.endswith(ENDINGS) or re.fullmatch(r"step_\d+", os.path.basename(path)) is not None or looks_binary(path)


def _print_checkpoint(path: str) -> None:
    file = checkpoint_in(weights_path(path))
    if is_foreign(file):
        _print_foreign(path, file)
    else:
        print_described(*describe(file))


def _print_foreign(name: str, file: Path) -> None:
    """Print the contents of another program's checkpoint, even if they are not enough to build the model."""
    tensors = open_tensors(file)
    try:
        opened = open_weights(name)
    except InputError as error:
        print_rows({tensor: str(shape) for tensor, shape in tensors.shapes.items()})
        raise InputError(str(error)) from error
    for line in opened.notes:
        print_warning(line)
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.tensors.items()}
    arrays = {name: (dtypes[name], shape) for name, shape in tensors.shapes.items()}
    print_described(dataclasses.replace(opened.description, versions={"another program": ""}), arrays)
