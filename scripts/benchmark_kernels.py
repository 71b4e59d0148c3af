"""Kernels of a training step on a GPU: what enters is a configuration, what leaves are bytes, FLOPs, a bound of time.

    python scripts/benchmark.py kernels sudoku_mlp --gpu scripts/h100.textproto

Nothing runs and no GPU is needed: the compiled program is read. Every kernel is taken to read what it is given and to
write what it makes once, at the memory's full rate, or to multiply at that of the matrix units, whichever takes longer.
A real one falls short of both rates and waits between its kernels; only what stays in a cache is read faster.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from benchmark_memory import described_mesh, similar_metadata
from rich.console import Console
from rich.table import Table

from trm.configuration.schema import read_config
from trm.storage.bundled import config_path
from trm.training.estimate import compile_train_step

kernels_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True)

KERNEL_LESS = set("parameter constant tuple get-tuple-element bitcast after-all partition-id conditional".split())
"""Instructions that move nothing, and what only chooses between kernels that hardly ever run."""
CUDNN_PRODUCTS = {"__cudnn$fmhaSoftmax": 2, "__cudnn$fmhaSoftmaxBackward": 5}
"""Products of (position, head_size) with (head_size, position), or the like, in a kernel of attention."""


class Instruction(NamedTuple):
    """A line of the compiled program."""

    name: str
    shape: str
    """As in the text, of the result: `bf16[768,97,512]{2,1,0}`, or several in brackets."""
    opcode: str
    operands: list[str]
    line: str


Program = dict[str, list[Instruction]]
"""Computations by name; the last instruction of each is its result."""


class Kernel(NamedTuple):
    """A launch, or many of the same."""

    kind: str
    times: int
    bytes: int
    flops: int
    result: str
    """Its shape, as in the program."""


EXAMPLE = "python scripts/benchmark.py kernels maze_att --gpu scripts/h100.textproto"


@kernels_app.command("kernels", epilog=f"Example: {EXAMPLE}")
def kernels_command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="Name or file.")],
    gpu: Annotated[Path, typer.Option(help="Text proto that describes the GPU; needs pip install 'jax[cuda12]'.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated.")
    ] = None,
    terabytes: Annotated[float, typer.Option(help="Rate of its memory, TB/s (H100).", min=0.001)] = 3.35,
    teraflops: Annotated[float, typer.Option(help="Rate of its matrix units, TFLOP/s (H100).", min=0.001)] = 989.0,
    shown: Annotated[int, typer.Option(help="How many sorts to tell apart by their result, too.", min=0)] = 8,
) -> None:
    """Tabulate the kernels of a training step by kind."""
    experiment = read_config(config_path(config), settings or [])
    compiled = compile_train_step(experiment, similar_metadata(experiment, 1_000_000), described_mesh(gpu))
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
    table = Table(box=None)
    table.add_column("kernels", no_wrap=True)
    for title in ("launches", "GB moved", "TFLOP", "ms at least"):
        table.add_column(title, justify="right")
    for name, group in [("all", launched), *kinds, *results]:
        moved, flops = sum(k.times * k.bytes for k in group), sum(k.times * k.flops for k in group)
        figures = (f"{moved / 1e9:,.1f}", f"{flops / 1e12:,.2f}", f"{sum(map(seconds, group)) * 1e3:,.1f}")
        table.add_row(name, f"{sum(k.times for k in group):,}", *figures)
    console.print(table, highlight=False)


def parse(text: str) -> tuple[Program, str]:
    """Read a compiled program; return its computations and the name of the one that is called."""
    program: Program = {}
    current = entry = ""
    for line in text.splitlines():
        if begins := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line):
            current = begins[2]
            program[current] = []
            entry = current if begins[1] else entry
        elif found := re.match(r"\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$", line):
            operands = re.findall(r"%([\w.-]+)", found[4].split("), ")[0])
            program[current].append(Instruction(found[1], found[2], found[3], operands, line))
    return program, entry


def kernels(program: Program, computation: str, times: int = 1) -> Iterator[Kernel]:
    """Yield what a computation launches, in loops as often as they turn."""
    shapes = {instruction.name: instruction.shape for instruction in program[computation]}
    for instruction in program[computation]:
        given = [shapes[name] for name in instruction.operands]
        if instruction.opcode == "while":
            turns = re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.line)
            yield from kernels(program, _called(instruction, "body"), times * (int(turns[1]) if turns else 1))
        elif instruction.opcode == "call":
            yield from kernels(program, _called(instruction, "to_apply"), times)
        elif instruction.opcode == "fusion":
            fused = program[_called(instruction, "calls")]
            flops = sum(_flops(part, fused) for part in fused if part.opcode == "dot")
            yield Kernel("fused", times, _fused_bytes(fused), flops, instruction.shape)
        elif instruction.opcode == "custom-call":
            yield _library_kernel(instruction, given, times)
        elif instruction.opcode not in KERNEL_LESS:
            moved = _bytes(instruction.shape) + sum(map(_bytes, given))
            yield Kernel(instruction.opcode, times, moved, 0, instruction.shape)


def _called(instruction: Instruction, role: str) -> str:
    found = re.search(rf"\b{role}=%?([\w.-]+)", instruction.line)
    assert found
    return found[1]


def _library_kernel(instruction: Instruction, given: list[str], times: int) -> Kernel:
    """Account for a kernel of cuBLAS or cuDNN; what it works in counts as nothing."""
    found = re.search(r'custom_call_target="([^"]*)"', instruction.line)
    assert found
    made = [shape for shape in _arrays(instruction.shape) if not shape.startswith("s8")]
    moved = sum(map(_bytes, made + given))
    if found[1] in CUDNN_PRODUCTS:
        batch, positions, heads, size = _sides(given[0])
        flops = 2 * CUDNN_PRODUCTS[found[1]] * batch * heads * positions**2 * size
        return Kernel("attention (cuDNN)", times, moved, flops, made[0])
    if contracted := re.search(r'"lhs_contracting_dimensions":(\[[^\]]*\])', instruction.line):
        inner = math.prod(_sides(given[0])[int(axis)] for axis in json.loads(contracted[1]))
        return Kernel("products (cuBLAS)", times, moved, 2 * inner * math.prod(_sides(made[0])), made[0])
    return Kernel(found[1], times, moved, 0, instruction.shape)


def _flops(dot: Instruction, computation: list[Instruction]) -> int:
    """Count the operations of a product inside a fusion."""
    (lhs,) = (instruction.shape for instruction in computation if instruction.name == dot.operands[0])
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.line)
    assert contracted
    inner = math.prod(_sides(lhs)[int(axis)] for axis in contracted[1].split(","))
    return 2 * inner * math.prod(_sides(dot.shape))


def _fused_bytes(computation: list[Instruction]) -> int:
    """Count what a fusion reads and writes: of an array that it only takes a slice of, or replaces one, that slice."""
    by_name = {instruction.name: instruction for instruction in computation}
    users: dict[str, list[Instruction]] = defaultdict(list)
    for instruction in computation:
        for name in instruction.operands:
            users[name].append(instruction)

    def read(parameter: Instruction) -> int:
        opcodes = {user.opcode for user in users[parameter.name]}
        if opcodes == {"dynamic-slice"}:
            return sum(_bytes(user.shape) for user in users[parameter.name])
        return 0 if opcodes == {"dynamic-update-slice"} else _bytes(parameter.shape)

    def written(result: Instruction) -> int:
        if result.opcode in ("tuple", "bitcast"):
            return sum(written(by_name[name]) for name in result.operands)
        if result.opcode == "dynamic-update-slice":
            return _bytes(by_name[result.operands[1]].shape)
        return _bytes(result.shape)

    return sum(read(part) for part in computation if part.opcode == "parameter") + written(computation[-1])


def _arrays(shape: str) -> list[str]:
    return re.findall(r"\w+\[[\d,]*\]", shape)


def _sides(shape: str) -> list[int]:
    return [int(side) for side in re.findall(r"\d+", shape[shape.index("[") : shape.index("]")])]


def _bytes(shape: str) -> int:
    def of_array(array: str) -> int:
        bits = re.match(r"\D+(\d+)", array.split("[")[0])
        return math.prod(_sides(array)) * (int(bits[1]) // 8 if bits else 1)

    return sum(map(of_array, _arrays(shape)))
