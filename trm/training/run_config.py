"""The configuration of a run folder: its config.toml, or where that is lost, the copy in the newest good checkpoint.

Entry: `read_run_layers`.
"""

from pathlib import Path

from trm.checkpoints.describe import describe
from trm.configuration.reading import Layer, Settings, config_to_tables, read_layers, settings_layer
from trm.errors import InputError


def read_run_layers(path: Path, settings: Settings = ()) -> list[Layer]:
    """Read RUN/config.toml as `read_layers` does. A checkpoint stands in for a missing or empty file, with a note.

    A file with contents may have been edited by hand: where it cannot be read, the error names the checkpoint.
    """
    # Before the file, so that an error below is the file's.
    of_settings = settings_layer(settings)
    lost = _why_lost(path)
    if lost and (copy := _copy_in_checkpoint(path.parent)):
        note = f"{path}: {lost}; the configuration is read from {Path(copy.source).name}"
        return [copy._replace(note=note), of_settings]
    try:
        return read_layers(path, settings)
    except InputError as error:
        if copy := _copy_in_checkpoint(path.parent):
            name = Path(copy.source).name
            raise InputError(f"{error}; mend the file, or remove it to read the configuration from {name}") from error
        raise


def _why_lost(path: Path) -> str:
    """Return what is lost of a file, or an empty string for one with contents, or that cannot be read."""
    try:
        return "" if path.read_bytes().strip() else "found an empty file"
    except FileNotFoundError:
        return "found no file"
    except OSError:
        return ""  # The reader reports it.


def _copy_in_checkpoint(run: Path) -> Layer | None:
    """Return the configuration in the newest checkpoint whose description is whole."""
    # Imports JAX, which `trm plot` needs for nothing else.
    from trm.training.checkpoints import list_checkpoints

    for path in list_checkpoints(run)[::-1]:
        try:
            return Layer(str(path), config_to_tables(describe(path)[0].config))
        except InputError:
            continue  # `load_newest` reports a damaged checkpoint, and renames it.
    return None
