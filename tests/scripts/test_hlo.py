"""Kernels of a compiled GPU program: bytes and FLOPs of a small program that are counted by hand."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmark.hlo import Kernel, kernels, parse

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"

PROGRAM = """\
HloModule step

%fused_dot (p0: bf16[8,16], p1: bf16[16,4]) -> f32[8,4] {
  %p0 = bf16[8,16]{1,0} parameter(0)
  %p1 = bf16[16,4]{1,0} parameter(1)
  ROOT %dot = f32[8,4]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%fused_slice (p0: f32[100,8], p1: s32[]) -> f32[1,8] {
  %p0 = f32[100,8]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  ROOT %slice = f32[1,8]{1,0} dynamic-slice(%p0, %p1), dynamic_slice_sizes={1,8}
}

%fused_update (p0: f32[100,8], p1: f32[1,8], p2: s32[]) -> f32[100,8] {
  %p0 = f32[100,8]{1,0} parameter(0)
  %p1 = f32[1,8]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  ROOT %updated = f32[100,8]{1,0} dynamic-update-slice(%p0, %p1, %p2)
}

%fused_rows (p0: f32[1000,8], p1: s32[2,1]) -> f32[2,8] {
  %p0 = f32[1000,8]{1,0} parameter(0)
  %p1 = s32[2,1]{1,0} parameter(1)
  ROOT %rows = f32[2,8]{1,0} gather(%p0, %p1), slice_sizes={1,8}
}

%fused_scatter (p0: f32[1000,8], p1: s32[2,1], p2: f32[2,8]) -> f32[1000,8] {
  %p0 = f32[1000,8]{1,0} parameter(0)
  %p1 = s32[2,1]{1,0} parameter(1)
  %p2 = f32[2,8]{1,0} parameter(2)
  ROOT %table = f32[1000,8]{1,0} scatter(%p0, %p1, %p2), to_apply=%second
}

%body (state: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %state = (s32[], f32[100,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %stack = f32[100,8]{1,0} get-tuple-element(%state), index=1
  %row = f32[1,8]{1,0} fusion(%stack, %i), kind=kLoop, calls=%fused_slice
  %updated = f32[100,8]{1,0} fusion(%stack, %row, %i), kind=kLoop, calls=%fused_update
  ROOT %next = (s32[], f32[100,8]{1,0}) tuple(%i, %updated)
}

ENTRY %main (a: bf16[8,16], b: bf16[16,4], s: (s32[], f32[100,8]), t: f32[1000,8], j: s32[2,1]) -> f32[8,4] {
  %a = bf16[8,16]{1,0} parameter(0)
  %b = bf16[16,4]{1,0} parameter(1)
  %s = (s32[], f32[100,8]{1,0}) parameter(2)
  %loop = (s32[], f32[100,8]{1,0}) while(%s), condition=%cond, body=%body, \
backend_config={"known_trip_count":{"n":"7"}}
  %gemm = (bf16[8,4]{1,0}, s8[1024]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", \
backend_config={"lhs_contracting_dimensions":["1"]}
  %t = f32[1000,8]{1,0} parameter(3)
  %j = s32[2,1]{1,0} parameter(4)
  %rows = f32[2,8]{1,0} fusion(%t, %j), kind=kLoop, calls=%fused_rows
  %table = f32[1000,8]{1,0} fusion(%t, %j, %rows), kind=kInput, calls=%fused_scatter
  %copied = bf16[8,16]{1,0} copy(%a)
  ROOT %result = f32[8,4]{1,0} fusion(%copied, %b), kind=kOutput, calls=%fused_dot
}
"""


def test_kernels_of_a_program():
    program, entry = parse(PROGRAM)
    assert entry == "main"
    operands, product = 2 * (8 * 16 + 16 * 4), 2 * 8 * 16 * 4
    assert list(kernels(program, entry)) == [
        # Seven times: of the stack one row is read, and the index of four bytes; the row is written.
        Kernel("fused", 7, 4 * 8 + 4 + 4 * 8, 0, "f32[1,8]{1,0}"),
        # The row and the index are read; of the stack one row is written.
        Kernel("fused", 7, 4 * 8 + 4 + 4 * 8, 0, "f32[100,8]{1,0}"),
        # The workspace (s8) does not count.
        Kernel("products (cuBLAS)", 1, operands + 2 * 8 * 4, product, "bf16[8,4]"),
        # Two rows are read from the table and written; then read and written into it. The indices are read, too.
        Kernel("fused", 1, 2 * (2 * 4 * 8) + 2 * 4, 0, "f32[2,8]{1,0}"),
        Kernel("fused", 1, 2 * (2 * 4 * 8) + 2 * 4, 0, "f32[1000,8]{1,0}"),
        Kernel("copy", 1, 2 * (2 * 8 * 16), 0, "bf16[8,16]{1,0}"),
        Kernel("fused", 1, operands + 4 * 8 * 4, product, "f32[8,4]{1,0}"),
    ]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(find_spec("jax_cuda12_plugin") is not None, reason="has a GPU compiler")
def test_no_gpu_compiler():
    """In a process of its own, because the command chooses the compiler of JAX."""
    gpu = ["--gpu", str(SCRIPTS / "benchmark" / "h100.textproto")]
    for command in (["memory", "quickstart"], ["kernels", "quickstart"]):
        result = subprocess.run([sys.executable, SCRIPTS / "benchmark", *command, *gpu], capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr == "error: --gpu: jax has no GPU compiler here, expected one: pip install 'jax[cuda12]'\n"
