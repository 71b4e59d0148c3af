"""Time of saving a checkpoint: the copy that the training loop waits for, and the writing that it does not.

Entry: `saving_command`.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import jax
import typer
from records import Recorder, hardware, spread

from benchmark.memory import similar_metadata
from benchmark.options import JsonOut, Settings
from benchmark.printing import console
from trm.checkpoints.description import Description
from trm.configuration.reading import read_config
from trm.parallel.mesh import make_mesh
from trm.storage.bundled import config_path
from trm.training.saving.manager import copy_to_host
from trm.training.state import make_state, save_state


def saving_command(
    config: Annotated[str, typer.Argument(help="Name of a bundled configuration, or a TOML file.")] = "sudoku_mlp",
    settings: Settings = None,
    identifiers: Annotated[int, typer.Option(help="Puzzle identifiers of ARC sets.", min=1)] = 1_000_000,
    repeats: Annotated[int, typer.Option(help="Timed saves, after one that is not timed.", min=1)] = 5,
    folder: Annotated[Path | None, typer.Option(help="Where to write.", show_default="the system's temporary")] = None,
    json_out: JsonOut = None,
) -> None:
    """Time the two parts of a save, and the share of the loop that the first is at the default interval."""
    experiment, mesh = read_config(config_path(config), settings or []), make_mesh(1)
    metadata = similar_metadata(experiment, identifiers)
    recorder = Recorder("saving", json_out, hardware(mesh))
    state = jax.block_until_ready(make_state(experiment, metadata, mesh))
    description = Description("checkpoint", experiment, metadata, step=1)
    copying, writing, size = [], [], 0
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "step_1.safetensors"
        for _ in range(repeats + 1):
            start = time.perf_counter()
            copy = copy_to_host(state)
            copied = time.perf_counter()
            save_state(path, copy, description)
            copying.append(copied - start)
            writing.append(time.perf_counter() - copied)
        size = path.stat().st_size
    copies, writes = spread(copying[1:]), spread(writing[1:])
    figures = {
        "file_mb": size / 1e6,
        "copy_seconds": copies,
        "write_seconds": writes,
        "copy_mb_per_second": size / 1e6 / copies["median"],
        "write_mb_per_second": size / 1e6 / writes["median"],
        "share_of_loop": copies["median"] / (60 * experiment.train.checkpoint_interval_minutes),
    }
    recorder.add(
        figures,
        config=config,
        settings=settings or [],
        batch_size=experiment.train.global_batch_size,
        identifiers=metadata.num_puzzle_identifiers,
    )
    console.print(
        f"{config}: {size / 1e6:,.0f} MB: copied in {copies['median']:.3f} s ({copies['min']:.3f} to "
        f"{copies['max']:.3f}), {figures['share_of_loop']:.4%} of the loop; written in {writes['median']:.2f} s, "
        f"{figures['write_mb_per_second']:,.0f} MB/s"
    )
