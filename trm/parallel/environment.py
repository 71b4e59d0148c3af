"""Settings of JAX that change numbers or types, from the environment or a user's own program.

Entry: `settle_environment` before JAX is imported, `settled` where it may be imported already.

This program computes in the types of its files, with one kind of random numbers. Settings that would change these are
switched off, with a warning. Choices such as the precision of matrix products stay, also with a warning. This module
does not import JAX.
"""

import contextlib
import os
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trm.errors import InputError

SETTLED: dict[str, tuple[Any, str]] = {
    "jax_enable_x64": (False, "numbers have 32 bits or fewer, as in files"),
    "jax_default_prng_impl": ("threefry2x32", "other random numbers would not continue those of a checkpoint"),
    "jax_threefry_partitionable": (True, "random numbers must not depend on the number of devices"),
    "jax_random_seed_offset": (0, "the seed of a run decides its random numbers"),
    "jax_disable_jit": (False, "a training step is one compiled program"),
    "jax_transfer_guard": (None, "a run sets it itself around its steps"),
    "jax_transfer_guard_host_to_device": (None, "a run sets it itself around its steps"),
    "jax_transfer_guard_device_to_device": (None, "a run sets it itself around its steps"),
    "jax_transfer_guard_device_to_host": (None, "a run sets it itself around its steps"),
}
"""Value and reason, by the name of the setting. Its variable in the environment is that name in capitals."""

CHOICES = {"jax_default_matmul_precision": "changes the numbers; a run that is resumed needs it again"}
"""Settings that stay, and the warning about each."""

OFF, ON = ("", "n", "no", "f", "false", "off", "0"), ("y", "yes", "t", "true", "on", "1")

GPU_FLAGS = "--xla_gpu_deterministic_ops=true"
"""Without it, sums by atomic additions on a GPU, and kernels chosen by their measured speed, may round differently from
run to run."""


def settle_environment() -> list[str]:
    """Remove variables from the environment that would change numbers or types; return a line about each.

    Call it before JAX is imported, which reads them once.
    """
    lines = []
    for name, (expected, why) in SETTLED.items():
        value = os.environ.get(name.upper())
        if value is not None and not _means(value, expected):
            del os.environ[name.upper()]
            lines.append(f"{name.upper()}={value}: ignored: {why}")
    for name, what in CHOICES.items():
        if value := os.environ.get(name.upper()):
            lines.append(f"{name.upper()}={value}: {what}")
    return lines


@contextlib.contextmanager
def settled() -> Iterator[list[str]]:
    """Switch these settings off for a block, or as a decorator for a function; yield a line about each changed setting.

    The settings of a user's program are restored afterwards.
    """
    import jax

    def differing() -> dict[str, Any]:
        values = {name: getattr(jax.config, name) for name in SETTLED}
        return {name: value for name, value in values.items() if value not in (SETTLED[name][0], "allow")}

    with ThreadPoolExecutor(1) as fresh:
        # A new thread has the global values, without those of a `with` in this thread.
        everywhere = fresh.submit(differing).result()
    lines = {name: f"{name}={value}: switched off for now: {SETTLED[name][1]}" for name, value in differing().items()}
    with contextlib.ExitStack() as stack:
        for name, value in everywhere.items():
            # For the threads that the block starts, too.
            jax.config.update(name, SETTLED[name][0])
            stack.callback(jax.config.update, name, value)
        for name in differing():
            if name == "jax_random_seed_offset":
                continue  # It has no value of its own in a thread.
            if name.startswith("jax_transfer_guard"):
                stack.enter_context(jax.transfer_guard("allow"))
            else:
                stack.enter_context(getattr(jax, name.removeprefix("jax_"))(SETTLED[name][0]))
        yield list(lines.values())


def make_deterministic() -> None:
    """Make runs with the same seed on the same devices bit-identical, on a GPU too, where it costs some speed.

    Call it before any device is used.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if GPU_FLAGS not in flags.split():
        os.environ["XLA_FLAGS"] = f"{flags} {GPU_FLAGS}".strip()


def as_input_error(error: Exception) -> InputError | None:
    """Return the fault of the environment that an exception of JAX reports, else None."""
    text = str(error)
    if "Unable to initialize backend" in text or _is_of_plugin(error):
        found = os.environ.get("JAX_PLATFORMS", "")
        why = f" ({text.splitlines()[0].partition(' (set')[0]})" if text else ""
        return InputError(f"JAX_PLATFORMS: found {found!r}, expected devices that this machine has, or cpu{why}")
    if "for JAX flag" in text or "for environment" in text:
        return InputError(f"environment: {text}")
    return None


def _is_of_plugin(error: Exception) -> bool:
    """Return whether JAX failed to find the driver of a device; for a GPU it raises a bare AssertionError."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return isinstance(error, AssertionError) and frames[-1][0].f_code.co_filename.endswith("xla_bridge.py")


def _means(value: str, expected: Any) -> bool:
    """Return whether a variable has the expected value, in any spelling."""
    if isinstance(expected, bool):
        return value.lower() in (ON if expected else OFF)
    if isinstance(expected, int):
        return value == str(expected)
    return value == (expected or "") or (expected is None and value == "allow")
