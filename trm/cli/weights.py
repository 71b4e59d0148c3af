"""`trm export`, `trm import`, `trm push`: weights between files, programs and the hub."""

import dataclasses
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
from trm.original.beside import checkpoint_in, names_beside, settings_beside
from trm.original.convert import check_answers, import_weights
from trm.original.files import write_state_dict
from trm.original.loading import with_names
from trm.original.settings import settings_from_config
from trm.original.state_dict import COMPILED_PREFIX, to_state_dict
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import Metadata
from trm.puzzles.reading import read_puzzle_set
from trm.show.console import print_lines, print_warning
from trm.solving.trained_model import load
from trm.storage.hub import SCHEME, local_path, upload

Format = Literal["trm", "torch"]
"""Program whose names the tensors get."""


def export_command(
    checkpoint: CheckpointFile,
    out: OutFile,
    raw: Raw = False,
    format: Annotated[
        Format,
        typer.Option(help="torch: a state dict of the original program; .safetensors, or by torch.save otherwise."),
    ] = "trm",
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Round the weights to bfloat16, which halves the file.")
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
        raise InputError(f"--prefix: found {prefix!r} without --format torch, expected both")
    if bfloat16 and format == "torch":
        raise InputError(
            "--bfloat16: found together with --format torch, expected --format trm: the original keeps float32"
        )
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
            help=f"Checkpoint of the original program, or one derived from it (step_N, .pt, .pth, .bin, .ckpt, .npz, "
            f".safetensors), or its folder; {SCHEME}..."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Puzzle set of its training, or one of the same kind and size.")],
    out: OutFile,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Set a key that the file does not have; may be repeated."
        ),
    ] = None,
    identifiers: Annotated[
        Path | None,
        typer.Option(
            help="Puzzle set whose identifiers.json names the puzzle embeddings in the file.",
            show_default="the folder of the file, else --data, unless trm built it",
        ),
    ] = None,
    raw: Raw = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a checkpoint of the original PyTorch program, or of one derived from it.

    The configuration comes from names and shapes of the tensors, and from the settings in the file or in the YAML file
    beside it. Nothing in the file is executed.

    Example: `trm import step_65100 --data data/sudoku -o sudoku.safetensors --set model.H_cycles=3`
    """
    refuse_existing(out, overwrite)
    puzzles = read_puzzle_set(data, "train" if (data / "train").is_dir() else "test")
    path = checkpoint_in(local_path(file))
    beside = settings_beside(file, path)
    imported = import_weights(path, beside, puzzles.metadata, str(data), settings or [], averaged=not raw)
    check_answers(path, imported)
    description = _with_names(imported.description, path, data, puzzles.metadata, identifiers)
    save(out, imported.weights, description)
    for line in imported.notes:
        print_warning(line)
    parameters, recursion = count_parameters(imported.weights.model), description.config.model.recursion
    print_lines(f"{out}: {out.stat().st_size:,} bytes, {recursion} of {parameters:,} parameters")


def _with_names(
    description: Description, path: Path, data: Path, metadata: Metadata, identifiers: Path | None
) -> Description:
    """Return the description with the fingerprint of its identifier names; raise InputError for unknown names."""
    rows = description.metadata.num_puzzle_identifiers
    if rows < 2:
        return description
    named = identifiers or names_beside(path)
    if named is None and metadata.num_puzzle_identifiers == rows and not (metadata.kind and _orders_itself(metadata)):
        named = data
    if named is None or len(read_identifiers(named)) != rows:
        found = metadata.num_puzzle_identifiers if named in (None, data) else len(read_identifiers(named))
        which = f"{found:,} in {named or data}" if found != rows else f"those of {data}, in the order of trm"
        raise InputError(
            f"{path}: the names of its {rows:,} puzzle embeddings are not known: found {which}, expected --identifiers "
            "DIR, the puzzle set that it was trained on (trm data arc --order original builds the original's)"
        )
    return with_names(description, named)


def _orders_itself(metadata: Metadata) -> bool:
    """Return whether sets of a kind that trm builds number their puzzles in another order than the original's."""
    return kind_of(metadata).solved_from == "tasks"


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
