"""`trm quickstart`: which folders it replaces."""

from pathlib import Path

import pytest
from conftest import check_mistake

from trm.storage.locks import FolderLock


def test_a_run_that_goes_on_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in ("config.toml", "weights.safetensors"):
        (tmp_path / name).touch()
    with FolderLock(tmp_path):
        check_mistake(capsys, ["quickstart", "-o", str(tmp_path), "--overwrite"], ".lock: found it locked by process")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "weights.safetensors"]


def test_puzzles_of_an_early_end_are_replaced(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "run"
    command = ["quickstart", "-o", str(out), "--set", "data.validation=1000000"]
    check_mistake(capsys, command, "data.validation: found 1000000")
    assert [path.name for path in out.iterdir()] == ["data"]
    # What a killed one leaves, too.
    (out / ".lock").touch()
    (out / ".data.123.tmp").mkdir()
    check_mistake(capsys, command, "already holds puzzles, expected a new folder (-o DIR), or --overwrite")
    check_mistake(capsys, [*command, "--overwrite"], "data.validation: found 1000000")
    (out / "letter").touch()
    check_mistake(capsys, [*command, "--overwrite"], "found something else than a run")
