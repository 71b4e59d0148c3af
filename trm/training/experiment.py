"""Configurations of experiments, checked in full. Entry: `config`.

The schema checks single values; this module checks a configuration against its recursion and its optimiser.
"""

import dataclasses
import warnings
from pathlib import Path

from trm.configuration.reading import Layer, Settings, build, notes_of, read_layers
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.recursions import RECURSIONS, check_model
from trm.parallel.processor import resolve_dtype
from trm.storage.bundled import config_path
from trm.training.optim.base import OPTIMIZERS
from trm.training.run_config import read_run_layers


def config(name_or_path: str | Path, settings: Settings = ()) -> Config:
    """Read a configuration: a bundled one by name, a TOML file or a run folder, with settings that override it.

    Settings are {"train.epochs": 10}, {"train": {"epochs": 10}} or ["train.epochs=10"]. Raises InputError, naming file
    and key, for a configuration that cannot be read or trained.
    """
    read, layers = config_and_layers(name_or_path, settings)
    for line in notes_of(layers):
        warnings.warn(line, stacklevel=2)
    return read


def config_and_layers(name_or_path: str | Path, settings: Settings = ()) -> tuple[Config, list[Layer]]:
    """Read a configuration as `config` does; return also the layers that its values come from, with notes to print."""
    path = config_path(name_or_path)
    layers = (read_run_layers if path.name == "config.toml" else read_layers)(path, settings)
    read = build(layers, str(path))
    read = resolve(read)
    try:
        check_config(read)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return read, layers


def resolve(config: Config) -> Config:
    """Return a configuration with `auto` values replaced by those for this machine."""
    model = dataclasses.replace(config.model, forward_dtype=resolve_dtype(config.model.forward_dtype))
    return dataclasses.replace(config, model=model)


def check_config(config: Config) -> None:
    """Raise InputError, naming the key, where a configuration does not fit its recursion or its optimiser."""
    check_model(config.model)
    OPTIMIZERS[config.optimizer.type]
    for _, H_cycles, L_cycles in config.train.curriculum:
        try:
            check_model(config.model.with_cycles(H_cycles, L_cycles))
        except InputError as error:
            raise InputError(f"train.curriculum: {error}") from error


def registered_names() -> dict[str, tuple[str, ...]]:
    """Return the registered names of the keys that hold one, by `section.key`."""
    return {registry.what: registry.names() for registry in (RECURSIONS, OPTIMIZERS)}
