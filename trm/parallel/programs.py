"""Compiled programs, kept in the user's cache folder from one command to the next. Entry: `keep_programs`."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

import jax
import platformdirs

from trm.parallel.processor import CPU_INFO, x86_flags


def keep_programs() -> None:
    """Let JAX keep compiled programs, unless the user has set a folder for them (JAX_COMPILATION_CACHE_DIR)."""
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    jax.config.update("jax_compilation_cache_dir", str(programs_folder()))
    # Compilations of a tenth of a second count, too: a command has several.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def programs_folder() -> Path:
    """Return the folder of programs for this JAX and this processor: another processor may lack their instructions."""
    processor = " ".join([platform.machine(), platform.processor(), *sorted(x86_flags(CPU_INFO))])
    digest = hashlib.sha256(processor.encode()).hexdigest()[:8]
    return platformdirs.user_cache_path("trm") / f"programs-{version('jaxlib')}-{digest}"
