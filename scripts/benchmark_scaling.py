"""How a training step scales: what enters is a configuration, what leaves are tables of seconds and bytes.

    python scripts/benchmark.py scaling

One size grows at a time: devices, batch, positions, layers, rows of the puzzle table, puzzles in the set. On a CPU,
devices are virtual ones that share its cores: what they show is what splitting costs, not what it gains. Bytes of
collectives are counted in the compiled program.
"""

import dataclasses
import math
import re
import time
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from trm.configuration.schema import Config, read_config
from trm.parallel.mesh import make_mesh
from trm.puzzles.loader import TrainLoader
from trm.puzzles.writing import make_split
from trm.storage.bundled import config_path
from trm.supervision.batch import place_batch
from trm.training.estimate import compile_train_step
from trm.training.state import make_state

scaling_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True)


class Case(NamedTuple):
    """What is measured; a table grows one of its sizes."""

    config: Config
    devices: int = 1
    positions: int = 100
    table_rows: int = 1
    stored_puzzles: int = 1000


class Figures(NamedTuple):
    """What was measured of a case."""

    milliseconds: float
    """Of the fastest step, with loading its batch."""
    puzzles_per_second: float
    temporary_mb_per_device: float
    collectives: int
    collective_mb: float
    """What every device holds of their results in a step."""


@scaling_app.command("scaling", epilog="Example: python scripts/benchmark.py scaling sudoku_mlp --steps 5")
def scaling_command(
    config: Annotated[
        str, typer.Argument(help="Name of a configuration that comes with trm, or a file.")
    ] = "sudoku_att",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key, of a network small enough for a CPU."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps that are timed, after one that is not.", min=1)] = 10,
) -> None:
    """Time a training step while devices, batch, positions, layers, the puzzle table or the puzzle set grow."""
    # Before JAX looks for devices; where there is a GPU, the CPU's are not used.
    jax.config.update("jax_num_cpu_devices", max(_DEVICES))
    base = read_config(config_path(config), [*_SMALL, *(settings or [])])
    available = len(jax.devices())
    for title, cases in _cases(base, available):
        table = Table(title, *(name.replace("_", " ") for name in Figures._fields), box=None)
        for column in table.columns:
            column.justify = "right"
        for size, case in cases:
            table.add_row(f"{size:,}", *(f"{value:,.1f}" for value in _measure(case, steps)))
        console.print(table, "", highlight=False)


_DEVICES = (1, 2, 4)
_SMALL = ("model.hidden_size=128", "model.num_heads=4", "train.global_batch_size=16")


def _cases(base: Config, available: int) -> Iterator[tuple[str, list[tuple[int, Case]]]]:
    yield "devices", [(n, Case(base, devices=n)) for n in _DEVICES if n <= available]
    train, model = base.train, base.model
    batches = [
        (n, dataclasses.replace(base, train=dataclasses.replace(train, global_batch_size=n))) for n in (4, 16, 64)
    ]
    yield "batch", [(n, Case(config)) for n, config in batches]
    yield "positions", [(n, Case(base, positions=n)) for n in (50, 100, 200)]
    layers = [(n, dataclasses.replace(base, model=dataclasses.replace(model, L_layers=n))) for n in (1, 2, 4)]
    yield "layers", [(n, Case(config)) for n, config in layers]
    yield "rows of the puzzle table", [(n, Case(base, table_rows=n)) for n in (1, 1000, 1_000_000)]
    yield "puzzles in the set", [(n, Case(base, stored_puzzles=n)) for n in (1000, 10_000, 100_000)]


def _measure(case: Case, steps: int) -> Figures:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 11, (case.stored_puzzles, case.positions - case.config.model.prefix_len))
    identifiers = rng.integers(case.table_rows, size=len(tokens))
    puzzles = make_split(
        tokens, tokens, vocab_size=11, puzzle_identifiers=identifiers, num_puzzle_identifiers=case.table_rows
    )
    mesh = make_mesh(case.devices)
    batch_size = case.config.train.global_batch_size
    loader = TrainLoader(puzzles, batch_size, seed=0)
    train_step: Any = compile_train_step(case.config, puzzles.metadata, mesh)
    state = make_state(case.config, puzzles.metadata, mesh)
    seconds = []
    for step in range(1 + steps):
        start = time.perf_counter()
        state, metrics = train_step(state, place_batch(loader.load(step), mesh))
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    results = _collective_results(train_step.as_text())
    fastest = min(seconds[1:])
    return Figures(
        milliseconds=1e3 * fastest,
        puzzles_per_second=batch_size / fastest,
        temporary_mb_per_device=train_step.memory_analysis().temp_size_in_bytes / 1e6,
        collectives=len(results),
        collective_mb=sum(map(_count_bytes, results)) / 1e6,
    )


_COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"


def _collective_results(program: str) -> list[str]:
    """Return the types of what the collectives of a compiled program result in."""
    return re.findall(rf"= (\(.*?\)|\S+) (?:{_COLLECTIVES})(?:-start)?\(", program)


def _count_bytes(result: str) -> int:
    arrays = re.findall(r"([a-z]+)(\d+)\[([\d,]*)\]", result)
    return sum(int(bits) // 8 * math.prod(map(int, filter(None, shape.split(",")))) for _, bits, shape in arrays)
