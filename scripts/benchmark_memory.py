"""Memory of a training step: what enters are configurations, what leaves is a table, by the compiler's own account.

    python scripts/benchmark.py memory

Nothing is trained: programs are compiled for the whole batch of a configuration, on one device, on abstract arrays. The
compiler is that of the machine this runs on, or, with `--gpu`, that of a GPU which need not be there.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jax
import typer
from jax.experimental import topologies
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from trm.configuration.schema import Config, read_config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh, mesh_of
from trm.puzzles.kinds.arc.grids import VOCAB_SIZE
from trm.puzzles.kinds.sudoku.boards import metadata_of
from trm.puzzles.metadata import Metadata
from trm.storage.bundled import config_names, config_path
from trm.training.estimate import Estimate, estimate

memory_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True)


@memory_app.command("memory", epilog="Example: python scripts/benchmark.py memory sudoku_mlp arc1_att")
def memory_command(
    configs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG]...", help="Names or files.", show_default="all that come with trm"),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
    device_gb: Annotated[float, typer.Option(help="Memory of the device that a step is to fit on.", min=1)] = 80,
    identifiers: Annotated[int, typer.Option(help="Rows of the puzzle table of an ARC set.", min=1)] = 1_000_000,
    gpu: Annotated[
        Path | None,
        typer.Option(
            help="Text proto that describes a GPU, like scripts/h100.textproto: ask the compiler for that one. Needs "
            "pip install 'jax[cuda12]', no GPU."
        ),
    ] = None,
) -> None:
    """Tabulate what a training step takes: keeping what the backward pass needs, computing it again, and in pieces."""
    experiments = [(name, read_config(config_path(name), settings or [])) for name in configs or config_names()]
    table = Table(box=None)
    table.add_column("configuration", no_wrap=True)
    for title in ("batch", "positions", "state, GB", "MB per puzzle", "with remat", f"in {device_gb:g} GB", "all, GB"):
        table.add_column(title, justify="right")
    mesh = described_mesh(gpu) if gpu else make_mesh(1)
    for name, config in experiments:
        metadata = similar_metadata(config, identifiers)
        kept = estimate(_with(config, remat=False), metadata, mesh)
        again = estimate(_with(config, remat=True), metadata, mesh)
        size = config.train.global_batch_size
        ways = ((how, _gb(way)) for how, way in _ways(config, metadata, mesh, kept, again))
        how, total = next((way for way in ways if way[1] <= device_gb), ("nothing fits", float("nan")))
        table.add_row(
            name,
            str(size),
            str(metadata.seq_len + config.model.prefix_len),
            f"{kept.state_bytes / 1e9:.2f}",
            f"{kept.temporary_bytes / size / 1e6:.1f}",
            f"{again.temporary_bytes / size / 1e6:.1f}",
            how,
            f"{total:.1f}",
        )
    console.print(table, highlight=False)


def described_mesh(path: Path) -> Mesh:
    """Lay out one GPU that is described and need not be there; raise InputError where that cannot be."""
    try:
        description = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--gpu: {path}: cannot read: {error}") from error
    # The tiles of Triton's products are found by trying them, on the device.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_enable_triton_gemm=false"
    # The device is not used either, should there be one.
    jax.config.update("jax_platforms", "cpu")
    try:
        topology = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=description)
    except NotImplementedError as error:
        raise InputError("--gpu: jax has no GPU compiler here, expected one: pip install 'jax[cuda12]'") from error
    except jax.errors.JaxRuntimeError as error:
        raise InputError(f"--gpu: {path}: expected a GpuTargetConfigProto in text form: {error}") from error
    return mesh_of(topology.devices)


def _with(config: Config, remat: bool, pieces: int = 1) -> Config:
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, remat=remat),
        train=dataclasses.replace(config.train, microbatches=pieces),
    )


def _ways(
    config: Config, metadata: Metadata, mesh: Mesh, kept: Estimate, again: Estimate
) -> Iterator[tuple[str, Estimate]]:
    """Yield ways to take the step and what each needs, the fastest first."""
    yield "as it is", kept
    yield "remat", again
    pieces = 2
    while config.train.global_batch_size % pieces == 0:
        yield f"remat, {pieces} pieces", estimate(_with(config, remat=True, pieces=pieces), metadata, mesh)
        pieces *= 2


def _gb(size: Estimate) -> float:
    return (size.state_bytes + size.temporary_bytes) / 1e9


def similar_metadata(config: Config, identifiers: int) -> Metadata:
    """Describe a puzzle set like the one that a configuration names, which need not be there."""
    path = config.data.train_paths[0]
    side = 6 if not path else 9 if "sudoku" in path or "maze-small" in path else 30
    metadata = metadata_of(1000, side)
    if "maze" in path:
        return dataclasses.replace(metadata, vocab_size=6, kind="maze")
    if "arc" in path:
        return dataclasses.replace(metadata, vocab_size=VOCAB_SIZE, num_puzzle_identifiers=identifiers, kind="arc")
    return metadata
