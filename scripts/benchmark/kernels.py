"""Kernels of a training step on a GPU, with a lower bound of their time. Entry: `kernels_command`.

Nothing runs and no GPU is needed: the program is compiled for the described GPU and read (`hlo.py`). The bound takes
every kernel at the full rate of the memory or of the matrix units, whichever takes longer. A real kernel reaches
neither rate and waits between launches; only data that stays in a cache is read faster.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from records import Recorder, hardware

from benchmark.hlo import Kernel, kernels, parse
from benchmark.memory import described_mesh, similar_metadata
from benchmark.options import GPU_HELP, JsonOut, Settings
from benchmark.printing import print_table
from trm.configuration.reading import read_config
from trm.storage.bundled import config_path
from trm.training.estimate import compile_train_step


def kernels_command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="Name of a bundled configuration, or a TOML file.")],
    gpu: Annotated[Path, typer.Option(help=GPU_HELP)],
    settings: Settings = None,
    terabytes: Annotated[float, typer.Option(help="Rate of its memory, in TB/s (H100).", min=0.001)] = 3.35,
    teraflops: Annotated[float, typer.Option(help="Rate of its matrix units, in TFLOP/s (H100).", min=0.001)] = 989.0,
    shown: Annotated[int, typer.Option(help="Number of kinds to list by result, too.", min=0)] = 8,
    json_out: JsonOut = None,
) -> None:
    """Tabulate the kernels of a training step by kind."""
    experiment = read_config(config_path(config), settings or [])
    mesh = described_mesh(gpu)
    recorder = Recorder("kernels", json_out, hardware(mesh, described=True))
    compiled = compile_train_step(experiment, similar_metadata(experiment, 1_000_000), mesh)
    program, entry = parse(compiled.as_text() or "")
    launched = list(kernels(program, entry))

    def seconds(kernel: Kernel) -> float:
        return kernel.times * max(kernel.bytes / (terabytes * 1e12), kernel.flops / (teraflops * 1e12))

    def heaviest_first(name: Callable[[Kernel], str]) -> list[tuple[str, list[Kernel]]]:
        groups: dict[str, list[Kernel]] = defaultdict(list)
        for kernel in launched:
            groups[name(kernel)].append(kernel)
        return sorted(groups.items(), key=lambda group: -sum(map(seconds, group[1])))

    kinds = heaviest_first(lambda kernel: kernel.kind)
    results = heaviest_first(lambda kernel: f"{kernel.kind}: {kernel.result}")[:shown]
    rows = []
    for name, group in [("all", launched), *kinds, *results]:
        moved, flops = sum(k.times * k.bytes for k in group), sum(k.times * k.flops for k in group)
        figures = (f"{moved / 1e9:,.1f}", f"{flops / 1e12:,.2f}", f"{sum(map(seconds, group)) * 1e3:,.1f}")
        rows.append((name, f"{sum(k.times for k in group):,}", *figures))
    print_table(("kernels", "launches", "GB moved", "TFLOP", "ms at least"), rows)
    recorder.add(
        {
            "launches": sum(kernel.times for kernel in launched),
            "moved_gb": sum(kernel.times * kernel.bytes for kernel in launched) / 1e9,
            "tflop": sum(kernel.times * kernel.flops for kernel in launched) / 1e12,
            "bound_ms": 1e3 * sum(map(seconds, launched)),
            "products_ms": 1e3 * sum(kernel.times * kernel.flops for kernel in launched) / (teraflops * 1e12),
        },
        config=config,
        settings=settings or [],
        batch_size=experiment.train.global_batch_size,
        terabytes_per_second=terabytes,
        teraflop_per_second=teraflops,
    )
