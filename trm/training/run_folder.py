"""The run folder: its lock, its configuration, and the removal of what a killed run left. Entry: `RunFolder`."""

from collections.abc import Callable
from pathlib import Path

from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.parallel.processes import decide_on_first, is_first
from trm.storage.files import atomic_write, remove_leftovers
from trm.storage.locks import FolderLock


class RunFolder:
    """A run folder, locked against other runs. Only process 0 uses it."""

    def __init__(self, run: Path, config: Config):
        self._run, self._config = run, config
        self._lock = FolderLock(run)

    def __enter__(self) -> "RunFolder":
        decide_on_first(lambda: self._lock.__enter__() and None)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()

    def write(self) -> None:
        """Clean up after a killed run, and write the configuration."""
        if is_first():
            remove_leftovers(self._run)
            remove_leftovers(self._run / "checkpoints")
            self._write_config()

    def renew(self, warn: Callable[[str], None]) -> bool:
        """Create the folder again if it was removed during the run; return whether it was."""
        if not is_first() or not self._lock.renew():
            return False
        warn(f"warning: {self._run}: the run folder was removed; it is created again, without its former files")
        self._write_config()
        return True

    def _write_config(self) -> None:
        with atomic_write(self._run / "config.toml") as temporary:
            temporary.write_text(config_to_toml(self._config), encoding="utf-8")
