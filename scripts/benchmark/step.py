"""Time of a training step and an evaluation step. Entries: `step_command`, `measure`.

Figures are of one supervision step of a whole batch of 9x9 Sudokus. The speed of a step is compared with the fastest
matrix product of the same machine in the same minute, because a shared machine is not always equally fast.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from jax.sharding import Mesh
from records import Recorder, hardware, spread

from benchmark.comparison import compare, print_comparison
from benchmark.options import JsonOut, Settings
from benchmark.original import check_clone
from benchmark.peak import matmul_peak
from benchmark.printing import console, print_table
from benchmark.timing import timed
from trm.configuration.reading import read_config
from trm.configuration.schema import Config
from trm.evaluation.every_step import make_evaluation_step
from trm.model.flops import network_flops, supervision_step_flops, training_step_flops
from trm.model.weights import Weights
from trm.parallel.mesh import make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.loader import TrainLoader
from trm.puzzles.metadata import Metadata
from trm.storage.bundled import config_path
from trm.supervision.batch import Batch, place_batch
from trm.training.estimate import compile_train_step
from trm.training.state import make_state


def step_command(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG]...",
            help="Names of bundled configurations, or TOML files.",
            show_default="sudoku_mlp sudoku_att",
        ),
    ] = None,
    settings: Settings = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Puzzles per step.", show_default="32 on a CPU, else the configuration's", min=1),
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Number of devices.", show_default="all", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="Timed steps, after one that is not timed.", min=1)] = 5,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="CLONE",
            help="Also time a clone of the original beside ours, eager and compiled, taking turns. Needs torch.",
        ),
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Time a training step and an evaluation step on the bundled 9x9 Sudokus."""
    mesh = make_mesh(devices)
    names = configs or ["sudoku_mlp", "sudoku_att"]
    # Check every configuration before measuring the first: a misspelt name must not be found after minutes.
    experiments = [_read_experiment(name, settings or [], batch_size, mesh) for name in names]
    if against:
        check_clone(against)
    machine = hardware(mesh)
    recorder = Recorder("step", json_out, machine)
    comparisons = Recorder("comparison", json_out, machine, ("jax", "torch")) if against else None
    puzzles = bundled_puzzles()
    console.print(", ".join(f"{key}: {value}" for key, value in machine.items()))
    for name, config in zip(names, experiments, strict=True):
        figures = measure(config, puzzles, mesh, repeats)
        _print_figures(name, config, figures)
        about = {
            "config": name,
            "settings": settings or [],
            "seed": config.train.seed,
            "batch_size": config.train.global_batch_size,
            "microbatches": config.train.microbatches,
            "compute_dtype": config.model.forward_dtype,
        }
        recorder.add(_flatten(figures), **about)
        if against and comparisons:
            compared = compare(config, puzzles, mesh, repeats, against)
            print_comparison(compared)
            for program, of_program in compared.items():
                comparisons.add(of_program, program=program, **about)


def _read_experiment(name: str, settings: list[str], batch_size: int | None, mesh: Mesh) -> Config:
    # The last setting of a key wins: `--batch-size` over `--set`, and that over the default of a CPU.
    before = ["train.global_batch_size=32"] if mesh.devices.flat[0].platform == "cpu" else []
    after = [f"train.global_batch_size={batch_size}"] if batch_size else []
    # Every step gets a whole batch here.
    return read_config(config_path(name), [*before, *settings, *after, "halting.refill=slot"])


def bundled_puzzles() -> PuzzleSet:
    """Read the bundled 9x9 Sudokus."""
    path = bundled_csv("sudoku-9x9-train.csv.gz")
    return sudoku_build.build_split(str(path), sudoku_text.read_table(path), np.random.default_rng(0))


# Measuring


class ProgramFigures(NamedTuple):
    """Figures of one compiled program. All but the time to compile are of one supervision step."""

    compile_seconds: float
    seconds: dict[str, float]
    """Spread of the timed steps."""
    puzzles_per_second: float
    """By the median, as are the next two."""
    gflop_per_second: float
    share_of_peak: float
    """Share of the higher of the two peaks."""
    temporary_mb_per_puzzle: float
    """Memory besides arguments and results, by the compiler's account."""
    memory_mb_per_device: float
    """Arguments, results and temporary memory."""


class Figures(NamedTuple):
    """Figures of one configuration."""

    block_gflop: float
    """Of one pass of a block over one puzzle."""
    matmul_peak_before_gflop_per_second: float
    matmul_peak_after_gflop_per_second: float
    """The same peak, measured twice: the difference shows how busy the machine was with other things."""
    train: ProgramFigures
    evaluation: ProgramFigures


def measure(config: Config, puzzles: PuzzleSet, mesh: Mesh, repeats: int) -> Figures:
    """Measure the training step and the evaluation step of a configuration."""
    batch_size = config.train.global_batch_size
    loader = TrainLoader(puzzles, batch_size, config.train.seed)
    # One batch more than is timed: the first step warms up.
    batches = [place_batch(loader.load(step), mesh) for step in range(1 + repeats)]
    vocab_size, seq_len = puzzles.metadata.vocab_size, puzzles.metadata.seq_len
    train_flops = training_step_flops(config, vocab_size, seq_len, batch_size)
    evaluation_flops = supervision_step_flops(config.model, vocab_size, seq_len, batch_size)

    peak_before = matmul_peak(config.model.forward_dtype, mesh)
    train = _measure_training(config, puzzles.metadata, batches, mesh)
    evaluation = _measure_evaluation(config, puzzles.metadata, batches, mesh)
    peak_after = matmul_peak(config.model.forward_dtype, mesh)

    peak = max(peak_before, peak_after)
    return Figures(
        block_gflop=network_flops(config.model, vocab_size, seq_len) / 1e9,
        matmul_peak_before_gflop_per_second=peak_before / 1e9,
        matmul_peak_after_gflop_per_second=peak_after / 1e9,
        train=_summarize(train, train_flops, batch_size, peak, mesh),
        evaluation=_summarize(evaluation, evaluation_flops, batch_size, peak, mesh),
    )


class _Measurement(NamedTuple):
    compile_seconds: float
    step_seconds: list[float]
    memory: Any
    """The compiler's account of a device's memory."""


def _measure_training(config: Config, metadata: Metadata, batches: Sequence[Batch], mesh: Mesh) -> _Measurement:
    train_step, compile_seconds = timed(compile_train_step, config, metadata, mesh)
    state = make_state(config, metadata, mesh)
    step_seconds = []
    for batch in batches:
        (state, _), seconds = timed(train_step, state, batch)
        step_seconds.append(seconds)
    return _Measurement(compile_seconds, step_seconds[1:], train_step.memory_analysis())


_EVALUATION_STEPS = 2
"""Supervision steps of the timed evaluation. All cost the same; with two instead of the usual 16 the benchmark stays
affordable on a CPU, and the program still loops."""


def _measure_evaluation(config: Config, metadata: Metadata, batches: Sequence[Batch], mesh: Mesh) -> _Measurement:
    short = dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=_EVALUATION_STEPS))
    state = make_state(config, metadata, mesh)
    weights = Weights(state.model, state.puzzle_table)
    jitted: Any = make_evaluation_step(short, mesh)
    evaluation_step, compile_seconds = timed(lambda: jitted.lower(weights, batches[0]).compile())
    step_seconds = []
    for batch in batches:
        _, seconds = timed(evaluation_step, weights, batch)
        step_seconds.append(seconds / _EVALUATION_STEPS)
    return _Measurement(compile_seconds, step_seconds[1:], evaluation_step.memory_analysis())


def _summarize(measurement: _Measurement, flops: int, batch_size: int, peak: float, mesh: Mesh) -> ProgramFigures:
    """Work out the figures of a program that takes `flops` for its batch."""
    memory = measurement.memory
    # A donated argument and the result that replaces it share their memory.
    total = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    seconds = spread(measurement.step_seconds)
    return ProgramFigures(
        compile_seconds=measurement.compile_seconds,
        seconds=seconds,
        puzzles_per_second=batch_size / seconds["median"],
        gflop_per_second=flops / seconds["median"] / 1e9,
        share_of_peak=flops / seconds["median"] / peak,
        temporary_mb_per_puzzle=memory.temp_size_in_bytes / (batch_size / mesh.size) / 1e6,
        memory_mb_per_device=total / 1e6,
    )


# Printing


def _print_figures(name: str, config: Config, figures: Figures) -> None:
    console.print(
        f"\n{name}: batch {config.train.global_batch_size}, microbatches {config.train.microbatches}, repeats "
        f"{figures.train.seconds['n']}, {figures.block_gflop:.2f} GFLOP per pass of a block\n"
        f"matrix products in {config.model.forward_dtype}: "
        f"{figures.matmul_peak_before_gflop_per_second:.0f} GFLOP/s before, "
        f"{figures.matmul_peak_after_gflop_per_second:.0f} after"
    )
    columns = []
    for program in (figures.train, figures.evaluation):
        values = program._asdict() | {f"seconds_{key}": value for key, value in program.seconds.items()}
        columns.append([form.format(values[figure]) for figure, (_, form) in _ROWS.items()])
    labels = [label for label, _ in _ROWS.values()]
    print_table(("one supervision step", "training", "evaluation"), zip(labels, *columns, strict=True))


_ROWS = {
    "compile_seconds": ("compilation, seconds", "{:.1f}"),
    "seconds_median": ("median, seconds", "{:.3f}"),
    "seconds_min": ("minimum, seconds", "{:.3f}"),
    "puzzles_per_second": ("puzzles/s", "{:.1f}"),
    "gflop_per_second": ("GFLOP/s", "{:.0f}"),
    "share_of_peak": ("share of the matrix products' peak", "{:.0%}"),
    "temporary_mb_per_puzzle": ("temporary memory, MB per puzzle", "{:.1f}"),
    "memory_mb_per_device": ("memory, MB per device", "{:.0f}"),
}
"""Label and format of each figure of a program."""


def _flatten(figures: Figures) -> dict[str, Any]:
    """Return all figures side by side, those of a program under its name: `train_seconds`."""
    flat: dict[str, Any] = {}
    for name, value in figures._asdict().items():
        if isinstance(value, ProgramFigures):
            flat |= {f"{name}_{figure}": number for figure, number in value._asdict().items()}
        else:
            flat[name] = value
    return flat
