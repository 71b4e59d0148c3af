"""Kernels and collectives of a compiled program, read from its text. Entries: `parse`, `kernels`, `collectives`.

Every kernel is taken to read its operands and to write its result once. Only the slice counts of an array that a kernel
slices, gathers from or updates; the workspace of library kernels does not count.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

KERNEL_LESS = set("parameter constant tuple get-tuple-element bitcast after-all partition-id conditional".split())
"""Instructions that move nothing, and the conditional, whose kernels hardly ever run."""
COLLECTIVES = set("all-reduce all-gather all-to-all collective-permute reduce-scatter collective-broadcast".split())
CUDNN_PRODUCTS = {"__cudnn$fmhaSoftmax": 2, "__cudnn$fmhaSoftmaxBackward": 5}
"""Products of positions x head_size x positions in one kernel of attention."""


class Instruction(NamedTuple):
    """A line of the compiled program."""

    name: str
    shape: str
    """Shape of the result, as in the text: `bf16[768,97,512]{2,1,0}`, or several in brackets."""
    opcode: str
    operands: list[str]
    line: str


Program = dict[str, list[Instruction]]
"""Computations by name; the last instruction of each is its result."""


class Kernel(NamedTuple):
    """A launch, or several equal ones."""

    kind: str
    times: int
    bytes: int
    flops: int
    result: str
    """Shape of the result, as in the program."""


class Collective(NamedTuple):
    """An exchange between devices, or several equal ones."""

    kind: str
    times: int
    bytes: int
    """Size of its result on each device."""


def parse(text: str) -> tuple[Program, str]:
    """Read a compiled program; return its computations and the name of the entry computation."""
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
    """Yield the kernels that a computation launches; those of a loop, multiplied by its iterations."""
    shapes = {instruction.name: instruction.shape for instruction in program[computation]}
    for instruction in program[computation]:
        given = [shapes[name] for name in instruction.operands]
        if instruction.opcode == "while":
            yield from kernels(program, _called(instruction, "body"), times * _turns(instruction))
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


def collectives(program: Program, computation: str, times: int = 1) -> Iterator[Collective]:
    """Yield the collectives of a computation and of what it calls; those of a loop, multiplied by its iterations."""
    shapes = {instruction.name: instruction.shape for instruction in program[computation]}
    for instruction in program[computation]:
        kind = instruction.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            # What starts most collectives returns their operands beside the result.
            beside = kind != instruction.opcode and instruction.shape.startswith("(") and kind != "all-reduce"
            given = sum(_bytes(shapes[name]) for name in instruction.operands) if beside else 0
            yield Collective(kind, times, _bytes(instruction.shape) - given)
        elif instruction.opcode == "while":
            yield from collectives(program, _called(instruction, "body"), times * _turns(instruction))
        elif instruction.opcode == "call":
            yield from collectives(program, _called(instruction, "to_apply"), times)


def _turns(loop: Instruction) -> int:
    """Return the number of iterations, 1 where the compiler does not know it."""
    turns = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.line)
    return int(turns[1]) if turns else 1


def _called(instruction: Instruction, role: str) -> str:
    found = re.search(rf"\b{role}=%?([\w.-]+)", instruction.line)
    assert found
    return found[1]


def _library_kernel(instruction: Instruction, given: list[str], times: int) -> Kernel:
    """Count a kernel of cuBLAS or cuDNN; its workspace does not count."""
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
    """Count the FLOPs of a product inside a fusion."""
    (lhs,) = (instruction.shape for instruction in computation if instruction.name == dot.operands[0])
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.line)
    assert contracted
    inner = math.prod(_sides(lhs)[int(axis)] for axis in contracted[1].split(","))
    return 2 * inner * math.prod(_sides(dot.shape))


def _fused_bytes(computation: list[Instruction]) -> int:
    """Count the bytes that a fusion reads and writes; of an array that it slices or updates, only the slice.

    So it is with an array from which it gathers rows, or into which it scatters some.
    """
    by_name = {instruction.name: instruction for instruction in computation}
    users: dict[str, list[Instruction]] = defaultdict(list)
    for instruction in computation:
        for name in instruction.operands:
            users[name].append(instruction)

    def read(parameter: Instruction) -> int:
        # The first operand is the array that is sliced or updated; the others are the update and the indices.
        uses = {(user.opcode, user.operands[0] == parameter.name) for user in users[parameter.name]}
        if uses in ({("dynamic-slice", True)}, {("gather", True)}):
            return sum(_bytes(user.shape) for user in users[parameter.name])
        return 0 if uses in ({("dynamic-update-slice", True)}, {("scatter", True)}) else _bytes(parameter.shape)

    def written(result: Instruction) -> int:
        if result.opcode in ("tuple", "bitcast"):
            return sum(written(by_name[name]) for name in result.operands)
        if result.opcode == "dynamic-update-slice":
            return _bytes(by_name[result.operands[1]].shape)
        if result.opcode == "scatter":
            return _bytes(by_name[result.operands[2]].shape)
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
