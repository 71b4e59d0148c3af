"""Memory of a training step, by the compiler's memory analysis. Entries: `memory_command`, `described_mesh`.

Nothing is trained: the step is compiled for the whole batch of a configuration, on one device, with abstract arrays.
The compiler is that of this machine or, with `--gpu`, that of a described GPU.
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
from records import Recorder, hardware

from benchmark.options import GPU_HELP, Configs, JsonOut, Settings
from benchmark.printing import print_table
from trm.configuration.reading import read_config
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh, mesh_of
from trm.puzzles.kinds.arc.grids import VOCAB_SIZE
from trm.puzzles.kinds.sudoku.build import metadata_of
from trm.puzzles.metadata import Metadata
from trm.storage.bundled import config_names, config_path
from trm.training.estimate import Estimate, estimate


def memory_command(
    configs: Configs = None,
    settings: Settings = None,
    device_gb: Annotated[float, typer.Option(help="Memory of the device, in GB.", min=1)] = 80,
    identifiers: Annotated[int, typer.Option(help="Puzzle-embedding rows of an ARC set.", min=1)] = 1_000_000,
    gpu: Annotated[Path | None, typer.Option(help=GPU_HELP)] = None,
    json_out: JsonOut = None,
) -> None:
    """Tabulate the memory of a training step: with and without remat, and the first way that fits the device."""
    experiments = [(name, read_config(config_path(name), settings or [])) for name in configs or config_names()]
    titles = ("batch", "positions", "state, GB", "MB per puzzle", "with remat", f"in {device_gb:g} GB", "all, GB")
    rows = []
    mesh = described_mesh(gpu) if gpu else make_mesh(1)
    recorder = Recorder("memory", json_out, hardware(mesh, described=gpu is not None))
    for name, config in experiments:
        metadata = similar_metadata(config, identifiers)
        kept = estimate(_with(config, remat=False), metadata, mesh)
        again = estimate(_with(config, remat=True), metadata, mesh)
        size = config.train.global_batch_size
        ways = ((how, _gb(way)) for how, way in _ways(config, metadata, mesh, kept, again))
        how, total = next((way for way in ways if way[1] <= device_gb), ("nothing fits", None))
        figures = {
            "positions": metadata.seq_len + config.model.prefix_len,
            "state_gb": kept.state_bytes / 1e9,
            "temporary_mb_per_puzzle": kept.temporary_bytes / size / 1e6,
            "temporary_mb_per_puzzle_with_remat": again.temporary_bytes / size / 1e6,
            "fits_with": how,
            "total_gb": total,
        }
        about = {"batch_size": size, "device_gb": device_gb, "identifiers": metadata.num_puzzle_identifiers}
        recorder.add(figures, config=name, settings=settings or [], **about)
        numbers = [f"{value:.2f}" if isinstance(value, float) else str(value or "") for value in figures.values()]
        rows.append((name, size, *numbers))
    print_table(("configuration", *titles), rows)


def described_mesh(path: Path) -> Mesh:
    """Return a mesh of one GPU that a file describes; raise InputError where that is not possible."""
    try:
        description = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--gpu: {path}: cannot read: {error}") from error
    # XLA tries Triton's tiles on the device to find the fastest; here there is no device.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_enable_triton_gemm=false"
    # A GPU of this machine is not used either.
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
    """Yield ways to take the step and the memory of each, the fastest first."""
    yield "no remat", kept
    yield "remat", again
    pieces = 2
    while config.train.global_batch_size % pieces == 0:
        yield f"remat, {pieces} pieces", estimate(_with(config, remat=True, pieces=pieces), metadata, mesh)
        pieces *= 2


def _gb(size: Estimate) -> float:
    return (size.state_bytes + size.temporary_bytes) / 1e9


def similar_metadata(config: Config, identifiers: int) -> Metadata:
    """Describe a puzzle set of the sizes of the one that a configuration names; the set itself is not read."""
    path = config.data.train_paths[0]
    side = 6 if not path else 9 if "sudoku" in path or "maze-small" in path else 30
    metadata = metadata_of(1000, side)
    if "maze" in path:
        return dataclasses.replace(metadata, vocab_size=6, kind="maze")
    if "arc" in path:
        return dataclasses.replace(metadata, vocab_size=VOCAB_SIZE, num_puzzle_identifiers=identifiers, kind="arc")
    return metadata
