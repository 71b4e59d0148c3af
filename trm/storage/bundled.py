"""Bundled configurations and weights, which are part of the package, by name. Entry: `config_path`, `weights_path`.

Folders are looked up when a name is asked for: importing the package needs none of them.
"""

import difflib
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from trm.errors import InputError
from trm.storage.hub import SCHEME, local_path

ENDING = ".safetensors"
"""Suffix of weight files."""


def config_names() -> list[str]:
    """List the names of the bundled configurations."""
    return _names(_configs(), ".toml")


def weights_names() -> list[str]:
    """List the names of the bundled weights."""
    return _names(_weights(), ENDING)


def config_path(name: str | Path, folder: str | Path = "") -> Path:
    """Return the path of a configuration: a TOML file, a run folder's, or a bundled one by name.

    `folder` is where a relative path starts; empty: the current folder. Raises InputError when `name` is none of these.
    """
    path, name = os.path.join(folder, name), str(name)
    if is_run(path):
        return Path(path) / "config.toml"
    if os.path.isfile(path):
        return Path(path)
    if name in config_names():
        return _configs() / f"{name}.toml"
    raise _unknown(name, "configuration", "a TOML file", config_names())


def is_run(path: str | Path) -> bool:
    """Return whether a folder is that of a run: it holds a configuration, or checkpoints, which hold it too."""
    # os.path returns False for a path that is too long for the system; the methods of Path raise.
    if os.path.isfile(os.path.join(path, "config.toml")):
        return True
    checkpoints = os.path.join(path, "checkpoints")
    return os.path.isdir(checkpoints) and any(Path(checkpoints).glob(f"step_*{ENDING}"))


def bundled_name(path: str | Path) -> str | None:
    """Return the name of a bundled configuration, or None for any other file."""
    return Path(path).stem if Path(path).parent == _configs() else None


def weights_path(name: str) -> Path:
    """Return the path of weights: a file, an hf:// address, which is downloaded, or bundled weights by name.

    Raises InputError for an unknown name and when the download fails.
    """
    if name in weights_names() and not os.path.isfile(name):
        return _weights() / f"{name}{ENDING}"
    # The reader of the file reports a missing one, with a better reason.
    if name.startswith(SCHEME) or "/" in name or "." in name or os.path.exists(name):
        return local_path(name)
    raise _unknown(name, "weights", f"a file {ENDING}", weights_names())


def _configs() -> Path:
    """Return the folder of the bundled configurations: in the installed package, or in a checkout."""
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
    shown = name[:80] if name.isprintable() else repr(name[:80])
    return InputError(f"{shown}: no such {what}, {hint}")
