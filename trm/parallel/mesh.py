"""The device mesh, with one axis `data`, and transfers of arrays between it and the host.

Entry: `make_mesh`, `place`, `place_whole`, `fetch`, `fetch_on_first`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trm.errors import InputError
from trm.parallel.environment import as_input_error

T = TypeVar("T")

AXIS = "data"
SPLIT = PartitionSpec(AXIS)
"""Split along the batch: each device holds its own sequences."""
REPLICATED = PartitionSpec()
"""The same on every device."""


def make_mesh(devices: int | None = None) -> Mesh:
    """Arrange all devices, or the first `devices`, along the data axis; raise InputError when there are fewer."""
    try:
        available = jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise as_input_error(error) or error from error
    if devices is not None and jax.process_count() > 1 and devices != len(available):
        raise InputError(
            f"--devices: found {devices}, expected all {len(available)} of {jax.process_count()} processes"
        )
    if devices is not None and not 1 <= devices <= len(available):
        raise InputError(f"--devices: found {devices}, expected 1 to {len(available)} ({available[0].platform})")
    return mesh_of(available[:devices] if devices else available)


def mesh_of(devices: Sequence[Any]) -> Mesh:
    """Arrange these devices along the data axis."""
    return jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))


def place(tree: T, mesh: Mesh, spec: PartitionSpec) -> T:
    """Put the arrays of a tree on the devices; with several processes each passes its slice of a split array."""
    return jax.tree.map(lambda leaf: place_array(leaf, mesh, spec), tree)


def place_array(array: jax.Array | np.ndarray, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Put one array on the devices, as `place` does."""
    return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), np.asarray(array))


def place_whole(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Put arrays of which every process has the whole on the devices: each device gets its part."""

    def place_one(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, NamedSharding(mesh, spec), lambda index: array[index])

    return jax.tree.map(place_one, tree)


def fetch(tree: Any) -> Any:
    """Copy whole arrays to the host, gathering the parts of other processes; arrays on the host stay unchanged."""

    def make_local(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        if isinstance(leaf, np.ndarray) or leaf.is_fully_addressable:
            return leaf
        if leaf.is_fully_replicated:
            return leaf.addressable_data(0)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    # One call for the whole tree: its arrays are transferred together.
    return jax.device_get(jax.tree.map(make_local, tree))


def fetch_on_first(tree: Any) -> Any:
    """Copy whole arrays to the host of process 0; every process must call it, the others get None."""
    if jax.process_index() == 0:
        return fetch(tree)
    for leaf in jax.tree.leaves(tree):
        # One at a time, and discarded: no host keeps a copy that it does not write.
        if not isinstance(leaf, np.ndarray) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            multihost_utils.process_allgather(leaf, tiled=True)
    return None


def cut(tree: T, pieces: int) -> T:
    """Cut the first axis of every array into pieces: (batch, ...) becomes (pieces, batch / pieces, ...)."""
    return jax.tree.map(lambda leaf: leaf.reshape(pieces, len(leaf) // pieces, *leaf.shape[1:]), tree)


def varying(tree: T) -> T:
    """Inside `shard_map`: treat values that are the same on every device as if each device had its own.

    Without this, the gradient of a replicated value is summed over the devices wherever it is used, in every iteration
    of every scan; and the carry of a scan could not change from replicated to split.
    """
    return jax.lax.pcast(tree, AXIS, to="varying")
