"""`python scripts/plan_scale.py`: the speed of training on 8, 64 and 512 devices, computed, and its programs compiled.

Compiles the training steps for virtual devices and counts what they exchange (`scale/programs.py`); predicts, from
that and from the recorded steps and loaders in `scripts/results`, steps, tables and loaders (`scale/predict.py`).
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from benchmark.memory import similar_metadata
from benchmark.options import Configs, JsonOut
from benchmark.printing import print_table
from records import Record, Recorder, cpu_hardware, read_records
from scale.loading import time_slice
from scale.networks import NETWORKS, Network
from scale.predict import LAUNCH_SECONDS, loader_cores, predict_step, predict_table
from scale.programs import Exchange, count_exchange, shared_batch, with_batch
from starting import start

from trm.configuration.reading import read_config
from trm.errors import InputError
from trm.parallel.mesh import make_mesh
from trm.puzzles.reading import read_puzzle_set
from trm.storage.bundled import config_path

RESULTS = Path(__file__).resolve().parent / "results"
CONFIGS = ("sudoku_mlp", "arc1_att", "hrm_arc", "sudoku_fast")
TABLE_ROWS, ROW_SIZE = 10_000_000, 512
WEAK_BATCH = {"gpu": 96, "cpu": 32}
"""Puzzles of a device in weak scaling: on eight GPUs the published batch of 768; on a CPU the batch that was timed."""
LOADED_BY = {"Sudoku": ("sudoku_mlp",), "ARC-1": ("arc1_att", "hrm_arc")}
"""The configurations that train on the sets whose loaders are recorded."""
HOST_BATCH = 8 * WEAK_BATCH["gpu"]
INFINIBAND, ETHERNET, _, CPU_HOSTS = NETWORKS
DESCRIBED = {"device": "the networks named", "platform": "network", "devices": 1, "described": True}


def main(
    configs: Configs = None,
    devices: Annotated[list[int] | None, typer.Option(help="Number of devices; may be repeated.", min=2)] = None,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compile the programs, or take their records.")
    ] = True,
    data: Annotated[Path | None, typer.Option(help="Puzzle set whose loader is timed as one host of many.")] = None,
    json_out: JsonOut = None,
) -> None:
    """Count what many devices exchange, and predict their speed."""
    counts = devices or [8, 64, 512]
    names = configs or list(CONFIGS)
    if compiled:
        # Before JAX looks for devices.
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", max(counts))
        dense = _compile(names, counts, json_out)
    else:
        dense = {
            record.config: record.figures["all_reduce_bytes"]
            for record in read_records(RESULTS / "scale.jsonl")
            if record.benchmark == "scale-program"
        }
        if missing := set(names) - dense.keys():
            raise InputError(f"--no-compile: found no record of {min(missing)}, expected one of {', '.join(dense)}")
    records = read_records(RESULTS)
    _networks(dense, counts, json_out)
    needed: dict[str, float] = {}
    for name in names:
        for steps, hardware, networks in _recorded_steps(name, records):
            needed[name] = max(
                _speed(name, steps, hardware, networks, dense[name], counts, json_out), needed.get(name, 0)
            )
    _table(counts, json_out)
    _loaders(needed, records, json_out)
    if data:
        _slices(data, json_out)


def _compile(names: list[str], counts: list[int], json_out: Path | None) -> dict[str, int]:
    """Count what each configuration exchanges; return the bytes that it sums."""
    recorder = Recorder("scale-program", json_out, cpu_hardware())
    dense, rows = {}, []
    for name in names:
        config = read_config(config_path(name), [])
        for count in counts:
            batch = shared_batch(config.train.global_batch_size, count)
            exchange = count_exchange(with_batch(config, batch), similar_metadata(config, TABLE_ROWS), make_mesh(count))
            dense[name] = exchange.all_reduce_bytes
            recorder.add(exchange._asdict(), config=name, devices=count, batch_size=batch)
            rows.append((name, count, batch, *exchange[:-1], f"{exchange.compile_seconds:.0f}"))
    print_table(("configuration", "devices", "batch", *(field.replace("_", " ") for field in Exchange._fields)), rows)
    return dense


def _recorded_steps(
    name: str, records: list[Record]
) -> list[tuple[Mapping[int, float], dict[str, Any], tuple[Network, ...]]]:
    """Return the seconds of one device's step by its batch: a GPU's, computed, and a CPU's, measured."""
    gpu: dict[int, float] = {}
    cpu: dict[int, float] = {}
    hardware: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.config != name:
            continue
        if record.benchmark == "kernels":
            seconds = record.figures["bound_ms"] / 1e3 + record.figures["launches"] * LAUNCH_SECONDS
            batch = record.case["batch_size"]
            gpu[batch] = min(seconds, gpu.get(batch, seconds))
            hardware["gpu"] = record.hardware
        elif record.benchmark == "step" and record.hardware["platform"] == "cpu":
            seconds, batch = record.figures["train_seconds"], record.case["batch_size"]
            fastest = min(seconds[end] for end in ("min", "median") if end in seconds)
            # A CPU's step takes as long as its batch is large (table of scaling).
            for size in (96, 32, 12, 2):
                cpu[size] = min(fastest * size / batch, cpu.get(size, fastest * size / batch))
            hardware["cpu"] = record.hardware | {"described": True}
    found = [(gpu, hardware.get("gpu", {}), (INFINIBAND, ETHERNET)), (cpu, hardware.get("cpu", {}), (CPU_HOSTS,))]
    return [steps for steps in found if steps[0]]


def _speed(
    name: str,
    seconds: Mapping[int, float],
    hardware: dict[str, Any],
    networks: tuple[Network, ...],
    dense_bytes: int,
    counts: list[int],
    json_out: Path | None,
) -> float:
    """Predict the steps of a configuration; return the most puzzles per second that a host must load."""
    recorder = Recorder("scale-speed", json_out, hardware)
    config = read_config(config_path(name), [])
    most, rows = 0.0, []
    for network in networks:
        for rule in ("strong", "weak"):
            for count in counts:
                weak = count * WEAK_BATCH[hardware["platform"]]
                batch = shared_batch(config.train.global_batch_size, count) if rule == "strong" else weak
                if batch // count not in seconds:
                    continue
                step = predict_step(seconds, network, count, batch, dense_bytes, config.model.row_size)
                about = {"network": network.name, "rule": rule, "devices": count, "batch_size": batch}
                recorder.add(step._asdict(), config=name, **about)
                rows.append((name, network.name, rule, count, batch, *(f"{value:,.3g}" for value in step)))
                most = max(most, step.puzzles_per_second_per_host)
    titles = ("compute", "all-reduce", "all-gather", "step, ms", "puzzles/s", "efficiency", "puzzles/s/host")
    if rows:
        print_table(("configuration", "network", "scaling", "devices", "batch", *titles), rows)
    return most


def _networks(dense: Mapping[str, int], counts: list[int], json_out: Path | None) -> None:
    """Tabulate the time to sum gradients."""
    rows = []
    recorder = Recorder("scale-network", json_out, DESCRIBED)
    for network in NETWORKS:
        for size in sorted({min(dense.values()), max(dense.values())}):
            for count in counts:
                milliseconds = 1e3 * network.all_reduce_seconds(size, count)
                recorder.add({"all_reduce_ms": milliseconds}, network=network.name, devices=count, bytes=size)
                rows.append((network.name, f"{size / 1e6:.0f} MB", count, f"{milliseconds:.2f}"))
    print_table(("network", "sum of", "devices", "ms"), rows)


def _table(counts: list[int], json_out: Path | None) -> None:
    """Tabulate ways to lay out a puzzle table of ten million identifiers."""
    rows = []
    recorder = Recorder("scale-table", json_out, DESCRIBED)
    for network, layout, count in itertools.product((INFINIBAND, ETHERNET), ("replicated", "host", "all"), counts):
        batch = count * WEAK_BATCH["gpu"]
        plan = predict_table(layout, network, count, batch, TABLE_ROWS, ROW_SIZE)
        about = {"network": network.name, "layout": layout, "devices": count, "batch_size": batch}
        recorder.add(plan._asdict(), **about, rows=TABLE_ROWS, row_size=ROW_SIZE)
        rows.append((network.name, layout, count, batch, *(f"{value:,.3g}" for value in plan)))
    print_table(("network", "table", "devices", "batch", "GB per device", "MB received", "ms"), rows)


def _loaders(needed: Mapping[str, float], records: list[Record], json_out: Path | None) -> None:
    """Tabulate what a host's loader must deliver, against the recorded loaders."""
    rows = []
    for record in records:
        loader = record.case.get("loader", "")
        if record.benchmark != "data" or "original" in loader:
            continue
        per_core = record.figures.get("batches_per_second", 0) * record.figures.get("batch_size", 0)
        for name in LOADED_BY.get(loader.partition(",")[0], ()):
            if name not in needed:
                continue
            cores = loader_cores(needed[name], per_core)
            figures = {"needed_per_second": needed[name], "per_core_per_second": per_core, "cores": cores}
            recorder = Recorder("scale-loader", json_out, record.hardware | {"described": True, "cores": 1})
            recorder.add(figures, config=name, loader=loader)
            rows.append((loader, name, *(f"{value:,.3g}" for value in figures.values())))
    print_table(("set", "configuration", "puzzles/s a host needs", "of a core", "cores"), rows)


def _slices(data: Path, json_out: Path | None) -> None:
    """Time a host's loader while the hosts become more and its own share of the batch stays."""
    recorder = Recorder("scale-slice", json_out, cpu_hardware() | {"cores": 1})
    puzzles = read_puzzle_set(data, "train")
    rows = []
    for hosts in (1, 8, 64):
        milliseconds = time_slice(puzzles, HOST_BATCH, hosts)
        speed = HOST_BATCH / milliseconds["median"] * 1e3
        recorder.add({"milliseconds": milliseconds, "puzzles_per_second": speed}, hosts=hosts, host_batch=HOST_BATCH)
        rows.append((hosts, HOST_BATCH, f"{milliseconds['median']:.1f}", f"{speed:,.0f}"))
    print_table(("hosts", "puzzles of each", "ms", "puzzles/s of a host's core"), rows)


if __name__ == "__main__":
    start(main)
