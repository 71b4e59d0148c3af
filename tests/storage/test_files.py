"""Files and folders that appear whole or not at all, and what a crash leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trm.storage import files
from trm.storage.files import atomic_folder, atomic_write, remove_leftovers


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def make(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "mark").write_text(text)
    return folder


def test_a_failure_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text(f"new{1 / 0}")
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_in_a_new_folder_is_on_the_disk_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(files, "_sync", lambda path: synced.append((path.name, (tmp_path / "new").exists())))
    with atomic_folder(tmp_path / "new", "mark") as temporary:
        (temporary / "part").mkdir()
        (temporary / "part" / "array.npy").touch()
        (temporary / "mark").touch()
    before = {name for name, exists in synced if not exists}
    assert {"part", "array.npy", "mark"} < before


def test_a_folder_whose_replacement_a_crash_broke_off_is_restored(tmp_path: Path, dead_pid: int):
    make(tmp_path / f".set.{dead_pid}.old", "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "set", "mark", overwrite=True):
        raise RuntimeError
    assert (tmp_path / "set" / "mark").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_an_old_folder_goes_when_the_new_one_is_in_place(tmp_path: Path, dead_pid: int):
    make(tmp_path / "set", "new")
    make(tmp_path / f".set.{dead_pid}.old", "old")
    # Another process replaces it right now.
    in_use = make(tmp_path / f".set.{os.getppid()}.old", "in use")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "set", in_use])
    assert (tmp_path / "set" / "mark").read_text() == "new"


def test_leftovers_of_a_run_folder(tmp_path: Path, dead_pid: int):
    make(tmp_path / f".data.{dead_pid}.old", "old")
    make(tmp_path / f".data.{dead_pid}.tmp", "half")
    (tmp_path / f".config.toml.{dead_pid}.tmp").touch()
    kept = [tmp_path / ".old", tmp_path / ".notes.old", tmp_path / ".draft.tmp"]
    for path in kept:
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "data"])
