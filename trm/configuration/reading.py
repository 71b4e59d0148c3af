"""Reading and writing configurations: TOML files, their `base`, `--set`. Entry: `read_config`, `config_to_toml`.

A configuration is a stack of layers: the defaults, the base files, the file, the settings. A later layer overrides
single keys of the earlier ones. Every error names the file and the key.
"""

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from trm.configuration.conversion import SECTIONS, check_tables
from trm.configuration.ranges import show
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.storage.bundled import config_path

Tables = Mapping[str, Mapping[str, Any]]
"""Values by section and key."""
Settings = Sequence[str] | Mapping[str, Any]
"""Values that override a file's: ["train.epochs=10"], {"train.epochs": 10} or {"train": {"epochs": 10}}."""

SETTINGS = "settings"
"""Source of a value that a setting (`--set`) gave."""
DEFAULT = "default"
"""Source of a value that no layer gives."""


class Layer(NamedTuple):
    """Values that come from one place."""

    source: str
    """Path of a file, or `SETTINGS`."""
    tables: dict[str, dict[str, Any]]
    """Values by section and key, of the types of the schema."""
    note: str = ""
    """Line to print; empty: none."""


def read_config(path: str | Path, settings: Settings = ()) -> Config:
    """Read a TOML file with its base, and apply settings.

    Raises InputError, naming file and key, for a missing or malformed file, an unknown key, a wrong type, a value out
    of range, an impossible combination, or a file that is its own base through others.
    """
    return build(read_layers(path, settings), str(path))


def read_layers(path: str | Path, settings: Settings = ()) -> list[Layer]:
    """Read a TOML file: its bases come before it, the settings after it. Raises as `read_config` does."""
    return [*_read_files(Path(path), ()), settings_layer(settings)]


def settings_layer(settings: Settings) -> Layer:
    """Return the layer of settings. Raises InputError, naming the key."""
    return Layer(SETTINGS, _parse_settings(settings))


def build(layers: Sequence[Layer], path: str) -> Config:
    """Build the configuration of a stack of layers.

    An error names the source of the wrong key; for a wrong combination of keys it names `path`.
    """
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, table in layer.tables.items():
            merged[section] = merged.get(section, {}) | table
    try:
        return _build(merged)
    except InputError as error:
        section, _, key = str(error).partition(":")[0].partition(".")
        source = sources(layers).get(section, {}).get(key, DEFAULT)
        raise InputError(f"{path if source == DEFAULT else source}: {error}") from error


def sources(layers: Sequence[Layer]) -> dict[str, dict[str, str]]:
    """Return the source of every key's value, by section and key."""
    found = {name: dict.fromkeys(get_type_hints(kind), DEFAULT) for name, kind in SECTIONS.items()}
    for layer in layers:
        for section, table in layer.tables.items():
            found[section] |= dict.fromkeys(table, layer.source)
    return found


def notes_of(layers: Sequence[Layer]) -> list[str]:
    """Return the lines to print about the layers of a configuration."""
    return [layer.note for layer in layers if layer.note]


def config_from_tables(tables: Any, settings: Settings = ()) -> Config:
    """Build a configuration from values by section and key, and settings.

    Raises InputError, naming the key. The tables may be anything: they come from the headers of files.
    """
    merged = check_tables(tables)
    for section, table in _parse_settings(settings).items():
        merged[section] = merged.get(section, {}) | table
    return _build(merged)


def config_to_tables(config: Config) -> dict[str, dict[str, Any]]:
    """Return the values of a configuration by section and key, without unset keys. Inverse: `config_from_tables`."""
    return {
        section: {key: value for key, value in table.items() if value is not None}
        for section, table in dataclasses.asdict(config).items()
    }


def config_to_toml(config: Config) -> str:
    """Write every value of a configuration as TOML, without a base. Inverse: `read_config`."""
    lines = []
    for section, table in config_to_tables(config).items():
        lines += [f"[{section}]", *(f"{key} = {toml_value(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """Return a value of a configuration as TOML."""
    # TOML and JSON write strings, booleans, numbers and arrays alike, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# Files


def _read_files(path: Path, above: tuple[Path, ...]) -> list[Layer]:
    """Read a file and its bases, the deepest first; `above` are the files that build on it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the configuration: {error.strerror}") from error
    # Besides its own errors the parser raises ValueError for an integer of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a TOML file: {_reason(error)}") from error
    base = tables.pop("base", None)
    try:
        layer = Layer(str(path), check_tables(tables))
        below = None if base is None else _base_path(path, base, above)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return [layer] if below is None else [*_read_files(below, (*above, path)), layer]


def _base_path(path: Path, base: Any, above: tuple[Path, ...]) -> Path:
    """Return the path of a file's base: one relative to the file's folder, or a bundled configuration by name."""
    if not (isinstance(base, str) and base):
        raise InputError(f"base: found {show(base)}, expected the name or path of another configuration")
    found = config_path(base, path.parent)
    files = (*above, path)
    for index, file in enumerate(files):
        if os.path.samefile(found, file):
            circle = " -> ".join(map(str, (*files[index:], found)))
            raise InputError(f"base: found a circle: {circle}")
    return found


def _reason(error: Exception) -> str:
    return "found brackets nested too deeply" if isinstance(error, RecursionError) else str(error)


# Settings


def _parse_settings(settings: Settings) -> dict[str, dict[str, Any]]:
    try:
        return _read_settings(settings)
    except InputError as error:
        raise InputError(f"{SETTINGS}: {error}") from error


def _read_settings(settings: Settings) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    if isinstance(settings, str):
        raise InputError(f"found the string {show(settings)}, expected a list of strings or a mapping")
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            section, dot, key = str(name).partition(".")
            if not (dot or isinstance(value, Mapping)):
                raise InputError(f"found {show(name)}, expected section.key or a table of a section")
            _put(tables, section, {key: value} if dot else value)
        return tables
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot):
            raise InputError(f"found {show(setting)}, expected section.key=value")
        _put(tables, section, {key: _parse_value(text)})
    return tables


def _put(tables: dict[str, dict[str, Any]], section: str, table: Mapping[Any, Any]) -> None:
    checked = check_tables({section: table})
    tables[section] = tables.get(section, {}) | checked[section]


def _parse_value(text: str) -> Any:
    try:
        tables = tomllib.loads(f"value = {text}")
    # Besides its own errors the parser raises ValueError for an integer of thousands of digits.
    except (ValueError, RecursionError):
        return text.strip()  # A bare word is a string, so that a shell needs no second pair of quotes.
    return tables["value"] if len(tables) == 1 else text.strip()


# Sections


def _build(tables: Tables) -> Config:
    sections = {}
    for name, kind in SECTIONS.items():
        try:
            sections[name] = kind(**tables.get(name, {}))
        except InputError as error:
            raise InputError(f"{name}.{error}") from error
    return Config(**sections)
