"""Configurations that come with the package, by name."""

import difflib
from importlib.resources import files
from pathlib import Path

from trm.errors import InputError


def config_names() -> list[str]:
    """List the names of the configurations that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def config_path(name: str) -> Path:
    """Return the path of a configuration: a file, one in a run folder, or one that comes with the package, by name."""
    path = Path(name)
    if len(name) > 255:
        raise InputError(f"{name:.40}...: found {len(name)} characters, expected the name of a configuration")
    if (path / "config.toml").is_file():
        return path / "config.toml"
    if path.is_file():
        return path
    if name in config_names():
        return _folder() / f"{name}.toml"
    close = difflib.get_close_matches(name, config_names(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected a TOML file or one of {', '.join(config_names())}"
    raise InputError(f"{name}: no such configuration, {hint}")


def _folder() -> Path:
    return Path(str(files("trm.configs")))
