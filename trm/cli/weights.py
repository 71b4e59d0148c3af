"""The commands that move weights between files, programs and the hub."""

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from trm.checkpoints.card import model_card
from trm.checkpoints.description import Description
from trm.checkpoints.format import load_weights, save
from trm.cli.data_options import Overwrite
from trm.configuration.schema import DataConfig
from trm.errors import InputError
from trm.model.reasoner import count_parameters
from trm.original.convert import SETTINGS_FILE, import_weights
from trm.original.files import write_state_dict
from trm.original.settings import settings_from_config
from trm.original.state_dict import COMPILED_PREFIX, to_state_dict
from trm.puzzles.reading import read_puzzle_set
from trm.show.console import print_lines
from trm.storage.bundled import ENDING, weights_names
from trm.storage.hub import SCHEME, local_path, path_beside, upload

weights_app = typer.Typer()

_WHICH = f", {ENDING}; {SCHEME}OWNER/REPOSITORY/FILE; or what comes along: {', '.join(weights_names())}."
CheckpointFile = Annotated[str, typer.Argument(help="Checkpoint or weights" + _WHICH)]
CheckpointFiles = Annotated[list[str], typer.Argument(help="Checkpoints or weights" + _WHICH)]
OutFile = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
Raw = Annotated[bool, typer.Option("--raw", help="The weights themselves, not their moving average.")]


Format = Literal["trm", "torch"]
"""Whose names the tensors have."""


@weights_app.command("export")
def export_command(
    checkpoint: CheckpointFile,
    out: OutFile,
    raw: Raw = False,
    format: Annotated[
        Format,
        typer.Option(help="torch: a state dict of the original program; .safetensors, or by torch.save otherwise."),
    ] = "trm",
    half: Annotated[bool, typer.Option("--bfloat16", help="Round the weights to bfloat16, in half the space.")] = False,
    prefix: Annotated[
        str | None,
        typer.Option(help="Of the names in a state dict.", show_default=f"{COMPILED_PREFIX}, as the original loads it"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the weights alone out of a checkpoint, for this program or for the original.

    Example: `trm export runs/sudoku_mlp/checkpoints/step_6510.safetensors -o sudoku.safetensors`
    """
    _refuse_existing(out, overwrite)
    if prefix is not None and format == "trm":
        raise InputError(f"--prefix: found {prefix!r}, expected --format torch beside it")
    if half and format == "torch":
        raise InputError("--bfloat16: found --format torch beside it, expected trm, for the original keeps float32")
    weights, description = load_weights(checkpoint, averaged=not raw)
    if format == "trm":
        save(out, weights, description.of_weights(averaged=not raw), bfloat16=half)
    else:
        settings = settings_from_config(description.config)
        prefix = COMPILED_PREFIX if prefix is None else prefix
        write_state_dict(out, {prefix + name: tensor for name, tensor in to_state_dict(weights).items()})
        # Hydra takes `++` for settings that stand in its files and for those that do not.
        options = " ".join(f"++arch.{name}={value}" for name, value in settings.items())
        print_lines(f"in the original: arch={description.config.model.recursion} {options} ++load_checkpoint={out}")
    print_lines(f"{out}: {out.stat().st_size:,} bytes, step {description.step}")


@weights_app.command("import")
def import_command(
    file: Annotated[
        str,
        typer.Argument(
            help=f"Checkpoint of the original program (step_N), or its tensors as .safetensors; {SCHEME}..."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Puzzle set that it was trained on, or one like it.")],
    out: OutFile,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set a key that the file cannot say; may be repeated."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a checkpoint of the original PyTorch program into weights of ours.

    What the network is like is told from names and shapes, and from the all_config.yaml beside the file if there is
    one. Nothing that the file says is executed.

    Example: `trm import step_65100 --data data/sudoku -o sudoku.safetensors --set model.H_cycles=3`
    """
    _refuse_existing(out, overwrite)
    puzzles = read_puzzle_set(data, "train" if (data / "train").is_dir() else "test")
    path = local_path(file)
    settings_file = path_beside(file, SETTINGS_FILE)
    weights, config, metadata = import_weights(path, settings_file, puzzles, str(data), settings or [])
    step = re.fullmatch(r"step_(\d+)", path.stem)
    save(out, weights, Description("weights", config, metadata, int(step[1]) if step else 0, averaged=True))
    rows, names = metadata.num_puzzle_identifiers, puzzles.metadata.num_puzzle_identifiers
    if rows != names:
        print_lines(f"warning: found {rows:,} puzzle embeddings, where {data} has {names:,} puzzle identifiers")
    parameters = count_parameters(weights.model)
    print_lines(f"{out}: {out.stat().st_size:,} bytes, {config.model.recursion} of {parameters:,} parameters")


@weights_app.command("push")
def push_command(
    checkpoint: CheckpointFile,
    repository: Annotated[str, typer.Argument(help="OWNER/REPOSITORY of a model on the Hugging Face hub.")],
    raw: Raw = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Publish weights on the Hugging Face hub, with a model card (extra `hub`).

    Example: `trm push runs/sudoku_mlp/best.safetensors me/trm-sudoku`
    """
    weights, description = load_weights(checkpoint, averaged=not raw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        # The path of the puzzle set says nothing to others, and is nobody's business.
        config = dataclasses.replace(description.config, data=DataConfig())
        save(path, weights, dataclasses.replace(description.of_weights(averaged=not raw), config=config))
        card = model_card(repository, path.name, description, count_parameters(weights.model))
        address = upload(repository, {path.name: path, "README.md": card.encode()}, "Weights", private)
    print_lines(f"{address}\nuse it as {SCHEME}{repository}/{path.name}")


def _refuse_existing(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise InputError(f"{out}: already exists, expected a new file (--overwrite replaces it)")
