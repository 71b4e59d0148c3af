"""The compute dtype that is fast on this processor. Entry: `resolve_dtype`.

A CPU without bfloat16 units, as most laptops have, multiplies float32 numbers 1.4 to 1.6 times faster than bfloat16
ones, which it has to widen first.
"""

import time
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp

CPU_INFO = Path("/proc/cpuinfo")
X86_UNITS = {"avx512_bf16", "amx_bf16"}
"""Flags of x86 processors that multiply bfloat16 numbers."""


def resolve_dtype(name: str) -> str:
    """Return the compute dtype for a name; "auto" is the faster one on this processor."""
    if name != "auto":
        return name
    return "bfloat16" if has_bfloat16_units() else "float32"


@cache
def has_bfloat16_units() -> bool:
    """Return whether the devices multiply bfloat16 numbers faster than float32 ones.

    A GPU or TPU does. An x86 CPU has flags for it. Other processors are measured, which takes about a second.
    """
    if jax.default_backend() != "cpu":
        return True
    flags = x86_flags(CPU_INFO)
    return bool(flags & X86_UNITS) if flags else _measure("bfloat16") < _measure("float32")


def x86_flags(path: Path) -> set[str]:
    """Return the flags of an x86 processor under Linux; empty elsewhere."""
    if not path.is_file():
        return set()
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((set(value.split()) for name, _, value in lines if name.strip() == "flags"), set())


def _measure(dtype: str) -> float:
    """Return the seconds of a matrix product with a float32 result: the fastest of several."""
    size = 512
    a = jnp.ones((size, size), dtype)
    multiply = jax.jit(lambda a: jnp.einsum("ij,jk->ik", a, a, preferred_element_type=jnp.float32))
    multiply(a).block_until_ready()
    seconds = []
    end = time.monotonic() + 0.3
    while len(seconds) < 3 or time.monotonic() < end:
        begin = time.perf_counter()
        multiply(a).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
