"""Configurations and trained weights that come with the package, by name."""

import difflib
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from trm.errors import InputError
from trm.storage.hub import SCHEME, local_path

ENDING = ".safetensors"
"""How the name of a file of weights ends."""


def config_names() -> list[str]:
    """List the names of the configurations that come with the package."""
    return _names(_configs(), ".toml")


def weights_names() -> list[str]:
    """List the names of the trained weights that come with the package."""
    return _names(_weights(), ENDING)


def config_path(name: str) -> Path:
    """Return the path of a configuration: a file, one in a run folder, or one that comes with the package, by name."""
    # Unlike Path's, os.path's answer is no where a name is too long for the system.
    if os.path.isfile(os.path.join(name, "config.toml")):
        return Path(name) / "config.toml"
    if os.path.isfile(name):
        return Path(name)
    if name in config_names():
        return _configs() / f"{name}.toml"
    raise _unknown(name, "configuration", "a TOML file", config_names())


def weights_path(name: str) -> Path:
    """Return the path of weights: a file, one on the hub, which is downloaded first, or weights that come with the
    package, by name.
    """
    if name in weights_names() and not os.path.isfile(name):
        return _weights() / f"{name}{ENDING}"
    # What looks like a path is left to the reader, who can say more of it.
    if name.startswith(SCHEME) or "/" in name or "." in name or os.path.exists(name):
        return local_path(name)
    raise _unknown(name, "weights", f"a file {ENDING}", weights_names())


def _configs() -> Path:
    """Return the folder of the bundled configurations: installed, or of a checkout that is not."""
    try:
        return Path(str(files("trm.configs")))
    except ModuleNotFoundError:
        return Path(str(files("trm"))).parent / "configs"


def _weights() -> Path:
    return Path(str(files("trm"))) / "weights"


def _names(folder: Path, ending: str) -> list[str]:
    return sorted(path.stem for path in folder.glob(f"*{ending}"))


def _unknown(name: str, what: str, otherwise: str, names: Iterable[str]) -> InputError:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected {otherwise} or one of {', '.join(names)}"
    return InputError(f"{name:.80}: no such {what}, {hint}")
