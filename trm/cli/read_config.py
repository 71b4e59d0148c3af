"""Configurations that a command names. Entry: `read_and_warn`."""

from collections.abc import Sequence

from trm.configuration.reading import notes_of
from trm.configuration.schema import Config
from trm.parallel.processes import is_first
from trm.show.console import print_warning
from trm.training.experiment import config_and_layers


def read_and_warn(config: str, settings: Sequence[str] | None = None) -> Config:
    """Read a configuration, and print its notes in process 0."""
    read, layers = config_and_layers(config, settings or ())
    if is_first():
        for line in notes_of(layers):
            print_warning(line)
    return read
