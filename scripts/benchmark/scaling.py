"""How a training step scales with its sizes. Entry: `scaling_command`.

One size grows at a time: devices, batch, positions, layers, puzzle-embedding rows, puzzles in the set. On a CPU the
devices are virtual and share its cores, so they show the cost of splitting, not its gain. Bytes of collectives are
counted in the compiled program.
"""

import dataclasses
import time
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import typer
from records import Recorder, hardware, spread

from benchmark.hlo import collectives, parse
from benchmark.options import JsonOut, Settings
from benchmark.printing import console, print_table
from trm.configuration.reading import read_config
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import TrainLoader
from trm.storage.bundled import config_path
from trm.supervision.batch import place_batch
from trm.training.estimate import compile_train_step
from trm.training.state import make_state


class Case(NamedTuple):
    """The sizes of one measurement; a table grows one of them."""

    config: Config
    devices: int = 1
    positions: int = 100
    table_rows: int = 1
    stored_puzzles: int = 1000


class Figures(NamedTuple):
    """Figures of a case."""

    seconds: dict[str, float]
    """Spread of the timed steps, each with loading its batch."""
    puzzles_per_second: float
    """By the fastest step."""
    temporary_mb_per_device: float
    collectives: int
    collective_mb: float
    """Size of their results on each device, per step."""


def scaling_command(
    config: Annotated[str, typer.Argument(help="Name of a bundled configuration, or a TOML file.")] = "sudoku_att",
    settings: Settings = None,
    steps: Annotated[int, typer.Option(help="Timed steps, after one that is not timed.", min=1)] = 10,
    sizes: Annotated[
        list[str] | None, typer.Option("--size", help="Size that grows; may be repeated.", show_default="all")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Time a training step while devices, batch, positions, layers, puzzle-embedding rows or puzzles grow.

    The network is small enough for a CPU (width 128, batch 16) unless --set says otherwise.
    """
    # Before JAX looks for devices. Where there is a GPU, the CPU's devices are not used.
    jax.config.update("jax_num_cpu_devices", max(_DEVICES))
    base = read_config(config_path(config), [*_SMALL, *(settings or [])])
    tables = dict(_cases(base, len(jax.devices())))
    if unknown := set(sizes or []) - tables.keys():
        raise InputError(f"--size: found {min(unknown)}, expected one of {', '.join(tables)}")
    recorder = Recorder("scaling", json_out, hardware(make_mesh(1)))
    for name, cases in tables.items():
        if sizes and name not in sizes:
            continue
        rows = []
        for size, case in cases:
            figures = _measure(case, steps)
            about = {"size": name, "value": size, "width": base.model.hidden_size}
            recorder.add(figures._asdict(), config=config, settings=settings or [], seed=base.train.seed, **about)
            numbers = (1e3 * figures.seconds["min"], *figures[1:])
            rows.append((f"{size:,}", *(f"{number:,.1f}" for number in numbers)))
        print_table((name, "ms, fastest", *(field.replace("_", " ") for field in Figures._fields[1:])), rows)
        console.print()


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
    yield "puzzle-embedding rows", [(n, Case(base, table_rows=n)) for n in (1, 1000, 1_000_000)]
    yield "puzzles in the set", [(n, Case(base, stored_puzzles=n)) for n in (1000, 10_000, 100_000)]


def _measure(case: Case, steps: int) -> Figures:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 11, (case.stored_puzzles, case.positions - case.config.model.prefix_len))
    identifiers = rng.integers(case.table_rows, size=len(tokens))
    puzzles = PuzzleSet.from_arrays(
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
    exchanges = list(collectives(*parse(train_step.as_text())))
    timed_seconds = spread(seconds[1:])
    return Figures(
        seconds=timed_seconds,
        puzzles_per_second=batch_size / timed_seconds["min"],
        temporary_mb_per_device=train_step.memory_analysis().temp_size_in_bytes / 1e6,
        collectives=sum(exchange.times for exchange in exchanges),
        collective_mb=sum(exchange.times * exchange.bytes for exchange in exchanges) / 1e6,
    )
