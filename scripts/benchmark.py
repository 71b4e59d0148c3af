"""Measure training and evaluation steps: what enters are configurations, what leaves are tables and lines of JSON.

Figures are of one supervision step of a whole batch of 9x9 Sudokus. What a step achieves is set against the fastest
matrix product that the same machine makes in the same minute, for a shared machine is not always equally fast.
"""

import dataclasses
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import numpy as np
import typer
from benchmark_data import data_app
from benchmark_kernels import kernels_app
from benchmark_memory import memory_app
from benchmark_original import Original, check_clone
from benchmark_scaling import scaling_app
from benchmark_solver import solver_app
from benchmark_votes import votes_app
from jax.sharding import Mesh, NamedSharding
from rich.console import Console
from rich.table import Table

from trm.configuration.schema import Config, ModelConfig, read_config
from trm.errors import InputError
from trm.evaluation.every_step import make_evaluation_step
from trm.model.layers import swiglu_width
from trm.model.precision import product
from trm.model.weights import Weights
from trm.parallel.mesh import REPLICATED, SPLIT, make_mesh
from trm.puzzles.csv_files import bundled_csv
from trm.puzzles.kinds.sudoku import boards as sudoku
from trm.puzzles.loader import HostBatch, TrainLoader
from trm.puzzles.metadata import Metadata, PuzzleSet
from trm.storage.bundled import config_path
from trm.supervision.batch import Batch, place_batch
from trm.training.estimate import compile_train_step
from trm.training.state import make_state
from trm.training.step import make_train_step

T = TypeVar("T")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    # What is none of these is a configuration, or an option.
    others = {
        "data": data_app,
        "kernels": kernels_app,
        "memory": memory_app,
        "scaling": scaling_app,
        "solver": solver_app,
        "votes": votes_app,
    }
    chosen = next((name for name in sys.argv[1:2] if name in others), None)
    try:
        if chosen:
            others[chosen](sys.argv[2:])
        else:
            app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command(epilog="Example: python scripts/benchmark.py sudoku_mlp --batch-size 64 --set train.microbatches=8")
def benchmark_command(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG]...",
            help="Names of configurations that come with trm, or TOML files.",
            show_default="sudoku_mlp sudoku_att",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Puzzles in a step.", show_default="32 on a CPU, else the configuration's", min=1),
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Use so many devices.", show_default="all", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="Steps that are timed, after one that is not.", min=1)] = 5,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="CLONE", help="Time a clone of the original beside ours, eager and compiled; needs torch."
        ),
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Append the lines of JSON to a file too.")] = None,
) -> None:
    """Time a training step and an evaluation step of each configuration on 9x9 Sudokus that come with the package."""
    mesh = make_mesh(devices)
    names = configs or ["sudoku_mlp", "sudoku_att"]
    # All is checked before the first is measured: a misspelt name is not to be found out after minutes.
    experiments = [_read_experiment(name, settings or [], batch_size, mesh) for name in names]
    if against:
        check_clone(against)
    if json_out:
        _check_appendable(json_out)
    puzzles = bundled_puzzles()
    machine = describe_machine(mesh)
    console.print(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in machine.items()), highlight=False)
    lines = []
    for name, config in zip(names, experiments, strict=True):
        figures = benchmark(config, puzzles, mesh, repeats)
        _print_figures(name, figures)
        comparison = _compare(config, puzzles, mesh, repeats, against) if against else {}
        lines.append(
            json.dumps({"config": name, "settings": settings or []} | machine | _flatten(figures) | comparison)
        )
        if json_out:
            with json_out.open("a", encoding="utf-8") as file:
                file.write(lines[-1] + "\n")
    for line in lines:
        print(line)


def _read_experiment(name: str, settings: list[str], batch_size: int | None, mesh: Mesh) -> Config:
    # The last setting of a key wins: the default of a CPU yields to `--set`, and that to `--batch-size`.
    before = ["train.global_batch_size=32"] if _is_cpu(mesh) else []
    after = [f"train.global_batch_size={batch_size}"] if batch_size else []
    # Every step is given a whole batch here.
    return read_config(config_path(name), [*before, *settings, *after, "halting.refill=slot"])


def _check_appendable(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        raise InputError(f"--json: {path}: cannot write: {error.strerror}") from error


def bundled_puzzles() -> PuzzleSet:
    """Read the 9x9 Sudokus that come with the package."""
    path = bundled_csv("sudoku-9x9-train.csv.gz")
    return sudoku.build_split(str(path), sudoku.read_csv(path), np.random.default_rng(0))


def describe_machine(mesh: Mesh) -> dict[str, str | int]:
    """Say what is measured on, and when."""
    return {
        "device_kind": mesh.devices.flat[0].device_kind,
        "devices": mesh.size,
        "cpu_cores": os.cpu_count() or 1,
        "jax_version": jax.__version__,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


# Measuring


class ProgramFigures(NamedTuple):
    """What was measured of one compiled program. All but the time to compile are of one supervision step."""

    compile_seconds: float
    seconds_median: float
    seconds_minimum: float
    puzzles_per_second: float
    """Puzzles that take the step; by the median, as are the next two."""
    gflop_per_second: float
    share_of_peak: float
    """Of the higher of the two peaks."""
    temporary_mb_per_puzzle: float
    """Memory besides arguments and results, by the compiler's account."""
    memory_mb_per_device: float
    """Arguments, results and temporary memory."""


class Figures(NamedTuple):
    """What was measured of one configuration."""

    batch_size: int
    microbatches: int
    repeats: int
    compute_dtype: str
    block_gflop: float
    """Of one pass of a block over one puzzle."""
    matmul_peak_before_gflop_per_second: float
    matmul_peak_after_gflop_per_second: float
    """The same peak twice: what differs is how busy the machine was with other things."""
    train: ProgramFigures
    evaluation: ProgramFigures


def benchmark(config: Config, puzzles: PuzzleSet, mesh: Mesh, repeats: int) -> Figures:
    """Measure the training step and the evaluation step of a configuration."""
    batch_size = config.train.global_batch_size
    loader = TrainLoader(puzzles, batch_size, config.train.seed)
    # One more than is timed: the first step warms up.
    batches = [place_batch(loader.load(step), mesh) for step in range(1 + repeats)]
    positions = puzzles.metadata.seq_len + config.model.prefix_len

    peak_before = matmul_peak(config.model.forward_dtype, mesh)
    train = _measure_training(config, puzzles.metadata, batches, mesh)
    evaluation = _measure_evaluation(config, puzzles.metadata, batches, mesh)
    peak_after = matmul_peak(config.model.forward_dtype, mesh)

    peak = max(peak_before, peak_after)
    return Figures(
        batch_size=batch_size,
        microbatches=config.train.microbatches,
        repeats=repeats,
        compute_dtype=config.model.forward_dtype,
        block_gflop=block_flops(config.model, positions) / 1e9,
        matmul_peak_before_gflop_per_second=peak_before / 1e9,
        matmul_peak_after_gflop_per_second=peak_after / 1e9,
        train=_summarize(train, training_flops(config, positions), batch_size, peak, mesh),
        evaluation=_summarize(evaluation, evaluation_flops(config, positions), batch_size, peak, mesh),
    )


class _Measurement(NamedTuple):
    compile_seconds: float
    step_seconds: list[float]
    memory: Any
    """The compiler's account of a device's memory."""


def _measure_training(config: Config, metadata: Metadata, batches: Sequence[Batch], mesh: Mesh) -> _Measurement:
    train_step, compile_seconds = _time(compile_train_step, config, metadata, mesh)
    state = make_state(config, metadata, mesh)
    step_seconds = []
    for batch in batches:
        (state, _), seconds = _time(train_step, state, batch)
        step_seconds.append(seconds)
    return _Measurement(compile_seconds, step_seconds[1:], train_step.memory_analysis())


_EVALUATION_STEPS = 2
"""Supervision steps that an evaluation is measured with. All cost the same: two of them, not the usual 16, keep the
benchmark affordable on a CPU, and the program still loops."""


def _measure_evaluation(config: Config, metadata: Metadata, batches: Sequence[Batch], mesh: Mesh) -> _Measurement:
    short = dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=_EVALUATION_STEPS))
    state = make_state(config, metadata, mesh)
    weights = Weights(state.model, state.puzzle_table)
    jitted: Any = make_evaluation_step(short, mesh)
    evaluation_step, compile_seconds = _time(lambda: jitted.lower(weights, batches[0]).compile())
    step_seconds = []
    for batch in batches:
        _, seconds = _time(evaluation_step, weights, batch)
        step_seconds.append(seconds / _EVALUATION_STEPS)
    return _Measurement(compile_seconds, step_seconds[1:], evaluation_step.memory_analysis())


def _time(call: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """Call, and wait until what comes back is there; return it with the seconds that took."""
    start = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    return result, time.perf_counter() - start


def _summarize(measurement: _Measurement, flops: int, batch_size: int, peak: float, mesh: Mesh) -> ProgramFigures:
    """Work out the figures of a program that takes `flops` for each puzzle."""
    memory = measurement.memory
    # A donated argument and the result that takes its place are one piece of memory.
    total = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    median = statistics.median(measurement.step_seconds)
    return ProgramFigures(
        compile_seconds=measurement.compile_seconds,
        seconds_median=median,
        seconds_minimum=min(measurement.step_seconds),
        puzzles_per_second=batch_size / median,
        gflop_per_second=flops * batch_size / median / 1e9,
        share_of_peak=flops * batch_size / median / peak,
        temporary_mb_per_puzzle=memory.temp_size_in_bytes / (batch_size / mesh.size) / 1e6,
        memory_mb_per_device=total / 1e6,
    )


def matmul_peak(dtype: str, mesh: Mesh) -> float:
    """Return the FLOP/s of the fastest matrix product, all devices at once, made as the network makes its own."""
    # On a CPU: eight puzzles into the gate of sudoku_mlp, and a square.
    sizes = [(776, 512, 3072), (2048, 2048, 2048)] if _is_cpu(mesh) else [(8192, 8192, 8192)]
    return max(_matmul_speed(*size, dtype, mesh) for size in sizes)


_MATMUL_REPEATS = 30
"""Only the fastest counts, so that the first, which compiles, needs no exception."""


def _matmul_speed(rows: int, inner: int, columns: int, dtype: str, mesh: Mesh) -> float:
    a_key, b_key = jax.random.split(jax.random.key(0))
    # Each device has its own rows.
    a = jax.device_put(jax.random.normal(a_key, (mesh.size * rows, inner), dtype), NamedSharding(mesh, SPLIT))
    b = jax.device_put(jax.random.normal(b_key, (inner, columns), dtype), NamedSharding(mesh, REPLICATED))
    multiply = jax.jit(lambda a, b: product("mk,kn->mn", a, b))
    seconds = [_time(multiply, a, b)[1] for _ in range(_MATMUL_REPEATS)]
    return 2 * mesh.size * rows * inner * columns / min(seconds)


def _is_cpu(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == "cpu"


def _compare(config: Config, puzzles: PuzzleSet, mesh: Mesh, repeats: int, clone: Path) -> dict[str, float]:
    """Time ours, the original and the original compiled, taking turns; print a table, return its figures."""
    batch_size, metadata = config.train.global_batch_size, puzzles.metadata
    loader = TrainLoader(puzzles, batch_size, config.train.seed)
    batches = [loader.load(step) for step in range(4)]
    steppers: dict[str, Callable[[str], float]] = {}
    originals: list[Original] = []
    figures = {}
    try:
        steppers["ours"], figures["ours_build_seconds"] = _our_steps(config, metadata, batches, mesh)
        for name, compiled in (("original", False), ("compiled original", True)):
            device = "cpu" if _is_cpu(mesh) else "cuda"
            original = Original(clone, config, metadata, batches, device=device, compiled=compiled)
            originals.append(original)
            steppers[name], figures[f"{name}_build_seconds"] = original.step, original.build_seconds
        for kind in ("train", "evaluate"):
            seconds = {name: [] for name in steppers}
            for _ in range(2 + repeats):
                for name, step in steppers.items():
                    seconds[name].append(step(kind))
            for name, (first, second, *rest) in seconds.items():
                # The first step compiles, and the original compiles once more at the second.
                figures[f"{name}_{kind}_first_seconds"] = first
                figures[f"{name}_{kind}_second_seconds"] = second
                figures[f"{name}_{kind}_seconds_median"] = statistics.median(rest)
    finally:
        for original in originals:
            original.close()
    table = Table("taking turns, seconds", *steppers, box=None)
    for figure in ("build_seconds", *(f"{kind}_{of}" for kind in ("train", "evaluate") for of in _COMPARED)):
        table.add_row(figure.replace("_", " "), *(f"{figures[f'{name}_{figure}']:.3f}" for name in steppers))
    twenty = (
        figures[f"{name}_build_seconds"]
        + figures[f"{name}_train_first_seconds"]
        + figures[f"{name}_train_second_seconds"]
        + 18 * figures[f"{name}_train_seconds_median"]
        for name in steppers
    )
    table.add_row("first 20 training steps", *(f"{seconds:.1f}" for seconds in twenty))
    console.print(table, highlight=False)
    return {name.replace(" ", "_"): value for name, value in figures.items()}


_COMPARED = ("first_seconds", "second_seconds", "seconds_median")


def _our_steps(
    config: Config, metadata: Metadata, batches: Sequence[HostBatch], mesh: Mesh
) -> tuple[Callable[[str], float], float]:
    """Return our program in the form of `Original.step`, and the seconds that it took to build."""
    start = time.perf_counter()
    placed = itertools.cycle([place_batch(batch, mesh) for batch in batches])
    state = jax.block_until_ready(make_state(config, metadata, mesh))
    train_step: Any = make_train_step(config, metadata, mesh)
    short = dataclasses.replace(config, halting=dataclasses.replace(config.halting, halt_max_steps=1))
    evaluation_step: Any = make_evaluation_step(short, mesh)
    build_seconds = time.perf_counter() - start

    def step(kind: str) -> float:
        nonlocal state
        if kind == "train":
            (state, _), seconds = _time(train_step, state, next(placed))
        else:
            _, seconds = _time(evaluation_step, Weights(state.model, state.puzzle_table), next(placed))
        return seconds

    return step, build_seconds


# Counting


def training_flops(config: Config, positions: int) -> int:
    """Count the FLOPs of one training step for one puzzle: a backward pass is two forward passes.

    What the backward pass computes a second time to save memory is not work done, and not counted.
    """
    model, halting = config.model, config.halting
    # The target of q_continue is what the heads say one step later.
    steps = 2 if halting.q_continue == "learned" and halting.halt_max_steps > 1 else 1
    differentiated_blocks = {
        "hrm": model.H_layers + model.L_layers,
        "transformers_baseline": model.H_layers,
    }.get(model.recursion, (model.L_cycles + 1) * model.L_layers)
    return steps * evaluation_flops(config, positions) + 2 * differentiated_blocks * block_flops(model, positions)


def evaluation_flops(config: Config, positions: int) -> int:
    """Count the FLOPs of one supervision step for one puzzle, without a derivative."""
    model = config.model
    blocks = {
        "hrm": model.H_cycles * (model.L_cycles * model.L_layers + model.H_layers),
        "transformers_baseline": model.H_layers,
    }.get(model.recursion, model.H_cycles * (model.L_cycles + 1) * model.L_layers)
    return blocks * block_flops(model, positions)


def block_flops(config: ModelConfig, positions: int) -> int:
    """Count the FLOPs of the matrix products in one pass of a block over one puzzle, two for each multiply-add.

    Norms, activations and rotations are left out, and so are embeddings and heads, which a step passes only once.
    """

    def swiglu(width: int, vectors: int) -> int:
        gate_up_and_down = 3 * width * swiglu_width(width, config.expansion)
        return vectors * gate_up_and_down

    hidden = config.hidden_size
    if config.mixer == "mlp":
        mixer = swiglu(width=positions, vectors=hidden)
    else:
        heads = config.num_heads * config.head_size
        qkv_and_out = positions * 4 * hidden * heads
        scores_and_values = 2 * positions**2 * heads
        mixer = qkv_and_out + scores_and_values
    return 2 * (mixer + swiglu(width=hidden, vectors=positions))


# Printing


def _print_figures(name: str, figures: Figures) -> None:
    console.print(
        f"\n{name}: batch {figures.batch_size}, microbatches {figures.microbatches}, repeats {figures.repeats}, "
        f"{figures.block_gflop:.2f} GFLOP a pass of a block\n"
        f"matrix products in {figures.compute_dtype}: "
        f"{figures.matmul_peak_before_gflop_per_second:.0f} GFLOP/s before, "
        f"{figures.matmul_peak_after_gflop_per_second:.0f} after",
        highlight=False,
    )
    table = Table("one supervision step", "training", "evaluation", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for (label, form), train, evaluation in zip(_ROWS, figures.train, figures.evaluation, strict=True):
        table.add_row(label, form.format(train), form.format(evaluation))
    console.print(table, highlight=False)


_ROWS = (
    ("compilation, seconds", "{:.1f}"),
    ("median, seconds", "{:.3f}"),
    ("minimum, seconds", "{:.3f}"),
    ("puzzles/s", "{:.1f}"),
    ("GFLOP/s", "{:.0f}"),
    ("share of the matrix products' peak", "{:.0%}"),
    ("temporary memory, MB per puzzle", "{:.1f}"),
    ("memory, MB per device", "{:.0f}"),
)
"""Label and format of each of `ProgramFigures`."""


def _flatten(figures: Figures) -> dict[str, float | str]:
    """Return all figures side by side, those of a program under its name: `train_seconds_median`."""
    flat: dict[str, float | str] = {}
    for name, value in figures._asdict().items():
        if isinstance(value, ProgramFigures):
            flat |= {f"{name}_{figure}": number for figure, number in value._asdict().items()}
        else:
            flat[name] = value
    return flat


if __name__ == "__main__":
    main()
