"""`trm info`: what is in a checkpoint, a puzzle set or a configuration."""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from trm.checkpoints.card import describe_weights
from trm.checkpoints.description import Description
from trm.checkpoints.format import describe
from trm.configuration.reading import config_to_toml
from trm.errors import InputError
from trm.original.beside import ENDINGS, checkpoint_in, has_checkpoint
from trm.original.files import looks_binary, open_tensors
from trm.original.loading import is_foreign, open_weights
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.check import SPLITS, checksums, read_splits, token_histogram
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.loader import read_examples
from trm.puzzles.metadata import IGNORED_LABEL, Metadata
from trm.show.console import console, print_lines, print_rows, print_warning
from trm.show.terminal import draw_example, side_by_side
from trm.storage.bundled import ENDING, weights_names, weights_path
from trm.storage.hub import SCHEME
from trm.training.experiment import config as read_experiment


def info_command(
    path: Annotated[str, typer.Argument(help="Checkpoint, weights, puzzle set, run folder or configuration.")],
) -> None:
    """Print what is in a checkpoint, a puzzle set or a configuration.

    Example: `trm info runs/quickstart/weights.safetensors`
    """
    if path.endswith(ENDING) or path.startswith(SCHEME) or (path in weights_names() and not os.path.exists(path)):
        _print_checkpoint(path)
    elif os.path.isdir(path) and not os.path.exists(os.path.join(path, "config.toml")):
        _print_folder(Path(path))
    elif os.path.isfile(path) and _is_checkpoint(path):
        _print_checkpoint(path)
    else:
        print_lines(config_to_toml(read_experiment(path)).rstrip())


def _is_checkpoint(path: str) -> bool:
    """Return whether a file without the ending of ours is one of tensors: by its content, or by its name."""
    if path.endswith((".toml", ".json")):
        return False
    return path.endswith(ENDINGS) or re.fullmatch(r"step_\d+", os.path.basename(path)) is not None or looks_binary(path)


def _print_folder(directory: Path) -> None:
    if not any((directory / split).is_dir() for split in SPLITS) and has_checkpoint(directory):
        _print_checkpoint(str(directory))
    else:
        _print_puzzle_set(directory)


def _print_checkpoint(path: str) -> None:
    file = checkpoint_in(weights_path(path))
    if is_foreign(file):
        _print_foreign(path, file)
    else:
        _print_described(*describe(file))


def _print_foreign(name: str, file: Path) -> None:
    """Print what a checkpoint of another program holds, even where that is not enough to build the model."""
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
    _print_described(dataclasses.replace(opened.description, versions={"another program": ""}), arrays)


def _print_described(description: Description, arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    rows = {"kind": description.kind, "step": description.step}
    if description.kind == "weights":
        rows["weights"] = describe_weights(description)
    numbers = sum(int(np.prod(shape)) for _, shape in arrays.values())
    rows |= {
        "parameters" if description.kind == "weights" else "numbers": f"{numbers:,}",
        "written by": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
        "puzzle set": _describe_puzzles(description.metadata),
    }
    print_rows(rows)
    print_lines("\n" + config_to_toml(description.config))
    print_rows({name: f"{dtype} {shape}" for name, (dtype, shape) in arrays.items()})


def _describe_puzzles(metadata: Metadata) -> str:
    side = metadata.side
    size = f"{side}x{side}" if side else f"{metadata.seq_len} cells"
    return (
        f"{kind_of(metadata).name}, {size}, vocabulary of {metadata.vocab_size}, "
        f"{metadata.num_puzzle_identifiers:,} puzzle identifiers, {metadata.total_groups:,} puzzles"
    )


def _print_puzzle_set(directory: Path) -> None:
    splits = read_splits(directory)
    names = read_identifiers(directory)
    for puzzles in splits:
        print_lines(f"{puzzles.name}: {puzzles.examples:,} examples")
        print_rows({f"  {name}": value for name, value in dataclasses.asdict(puzzles.metadata).items()})
        counts = token_histogram(puzzles)
        table = Table("  token", *counts, box=None)
        for token, row in enumerate(zip(*counts.values(), strict=True)):
            table.add_row(f"  {token}", *(f"{count:,}" for count in row))
        console.print(table, highlight=False)
        _print_example(puzzles)
    print_lines(f"identifiers: {len(names):,}, first {names[0]!r}, last {names[-1]!r}")
    print_lines("sha256, bytes, file")
    for name, (size, digest) in checksums(directory).items():
        print_lines(f"{digest}  {size:>13,}  {name}")


def _print_example(puzzles: PuzzleSet) -> None:
    arrays = next(iter(puzzles.sets.values()))
    example = read_examples(puzzles, arrays, np.zeros(1, np.int64), np.zeros(1, np.int64))
    question = example.inputs[0]
    answer = np.where(example.labels[0] == IGNORED_LABEL, puzzles.metadata.pad_id, example.labels[0])
    drawings = draw_example(kind_of(puzzles.metadata), question, answer)
    if drawings:
        console.print(side_by_side(drawings, console.width), highlight=False)
