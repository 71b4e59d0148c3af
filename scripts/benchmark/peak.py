"""The fastest matrix product of the machine. Entry: `matmul_peak`."""

import jax
from jax.sharding import Mesh, NamedSharding

from benchmark.timing import timed
from trm.model.precision import product
from trm.parallel.mesh import REPLICATED, SPLIT


def matmul_peak(dtype: str, mesh: Mesh) -> float:
    """Return the FLOP/s of the fastest matrix product, on all devices at once, computed as in the network."""
    # On a CPU: eight puzzles into the gate of sudoku_mlp, and a square.
    cpu = mesh.devices.flat[0].platform == "cpu"
    sizes = [(776, 512, 3072), (2048, 2048, 2048)] if cpu else [(8192, 8192, 8192)]
    return max(_matmul_speed(*size, dtype, mesh) for size in sizes)


_REPEATS = 30
"""Only the fastest counts, so the first, which compiles, needs no exception."""


def _matmul_speed(rows: int, inner: int, columns: int, dtype: str, mesh: Mesh) -> float:
    a_key, b_key = jax.random.split(jax.random.key(0))
    # Each device has its own rows.
    a = jax.device_put(jax.random.normal(a_key, (mesh.size * rows, inner), dtype), NamedSharding(mesh, SPLIT))
    b = jax.device_put(jax.random.normal(b_key, (inner, columns), dtype), NamedSharding(mesh, REPLICATED))
    multiply = jax.jit(lambda a, b: product("mk,kn->mn", a, b))
    seconds = [timed(multiply, a, b)[1] for _ in range(_REPEATS)]
    return 2 * mesh.size * rows * inner * columns / min(seconds)
