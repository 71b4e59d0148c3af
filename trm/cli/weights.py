"""`trm export`, `trm import`, `trm push`: weights between files, programs and the hub."""

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from trm.checkpoints.card import model_card
from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.cli.options import CheckpointFile, OutFile, Overwrite, Raw, refuse_existing
from trm.configuration.schema import DataConfig
from trm.errors import InputError
from trm.model.reasoner import count_parameters
from trm.original.convert import SETTINGS_FILE, import_weights
from trm.original.files import write_state_dict
from trm.original.settings import settings_from_config
from trm.original.state_dict import COMPILED_PREFIX, to_state_dict
from trm.puzzles.reading import read_puzzle_set
from trm.show.console import print_lines, print_warning
from trm.solving.trained_model import load
from trm.storage.hub import SCHEME, local_path, path_beside, upload

Format = Literal["trm", "torch"]
"""Whose names the tensors get."""


def export_command(
    checkpoint: CheckpointFile,
    out: OutFile,
    raw: Raw = False,
    format: Annotated[
        Format,
        typer.Option(help="torch: a state dict of the original program; .safetensors, or by torch.save otherwise."),
    ] = "trm",
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Round the weights to bfloat16, in half the space.")
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            help="Prefix of the names in a state dict.", show_default=f"{COMPILED_PREFIX}, as the original loads it"
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the weights of a checkpoint to a file, for this program or for the original.

    Example: `trm export runs/sudoku_mlp/checkpoints/step_6510.safetensors -o sudoku.safetensors`
    """
    refuse_existing(out, overwrite)
    if prefix is not None and format == "trm":
        raise InputError(f"--prefix: found {prefix!r}, expected --format torch beside it")
    if bfloat16 and format == "torch":
        raise InputError("--bfloat16: found --format torch beside it, expected trm: the original keeps float32")
    model = load(checkpoint, averaged=not raw)
    weights, description = model.weights, model.description
    if format == "trm":
        save(out, weights, description, bfloat16=bfloat16)
    else:
        settings = settings_from_config(description.config)
        prefix = COMPILED_PREFIX if prefix is None else prefix
        write_state_dict(out, {prefix + name: tensor for name, tensor in to_state_dict(weights).items()})
        # Hydra accepts `++` for settings that are in its files and for those that are not.
        options = " ".join(f"++arch.{name}={value}" for name, value in settings.items())
        print_lines(f"in the original: arch={description.config.model.recursion} {options} ++load_checkpoint={out}")
    print_lines(f"{out}: {out.stat().st_size:,} bytes, step {description.step}")


def import_command(
    file: Annotated[
        str,
        typer.Argument(
            help=f"Checkpoint of the original program (step_N), or its tensors as .safetensors; {SCHEME}..."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Puzzle set that it was trained on, or one of the same kind and size.")],
    out: OutFile,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Set a key that the file does not have; may be repeated."
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert a checkpoint of the original PyTorch program.

    The configuration comes from names and shapes of the tensors, and from the all_config.yaml beside the file if there
    is one. Nothing in the file is executed.

    Example: `trm import step_65100 --data data/sudoku -o sudoku.safetensors --set model.H_cycles=3`
    """
    refuse_existing(out, overwrite)
    puzzles = read_puzzle_set(data, "train" if (data / "train").is_dir() else "test")
    path = local_path(file)
    settings_file = path_beside(file, SETTINGS_FILE)
    weights, config, metadata = import_weights(path, settings_file, puzzles, str(data), settings or [])
    step = re.fullmatch(r"step_(\d+)", path.stem)
    save(out, weights, Description("weights", config, metadata, int(step[1]) if step else 0, averaged=True))
    rows, names = metadata.num_puzzle_identifiers, puzzles.metadata.num_puzzle_identifiers
    if rows != names:
        print_warning(f"{out}: found {rows:,} puzzle embeddings, where {data} has {names:,} puzzle identifiers")
    parameters = count_parameters(weights.model)
    print_lines(f"{out}: {out.stat().st_size:,} bytes, {config.model.recursion} of {parameters:,} parameters")


def push_command(
    checkpoint: CheckpointFile,
    repository: Annotated[str, typer.Argument(help="OWNER/REPOSITORY of a model on the Hugging Face hub.")],
    raw: Raw = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Publish weights on the Hugging Face hub, with a model card (extra `hub`).

    Example: `trm push runs/sudoku_mlp/best.safetensors me/trm-sudoku`
    """
    model = load(checkpoint, averaged=not raw)
    # The path of the puzzle set is of no use to others, and may be private.
    data = DataConfig(validation=model.config.data.validation)
    description = dataclasses.replace(model.description, config=dataclasses.replace(model.config, data=data))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(path, model.weights, description)
        card = model_card(repository, path.name, description, count_parameters(model.weights.model))
        address = upload(repository, {path.name: path, "README.md": card.encode()}, "Weights", private)
    print_lines(f"{address}\nuse it as {SCHEME}{repository}/{path.name}")
