"""Locks: one owner at a time; no lock outlives its owner on this host; a lock of another host is a clear error."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trm.errors import InputError
from trm.storage import locks
from trm.storage.locks import FolderLock

TAKE = "import sys; from trm.storage.locks import FolderLock; FolderLock(sys.argv[1]).__enter__(); {}"


def owned_by(folder: Path, host: str, pid: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / ".lock"
    path.write_text(json.dumps({"host": host, "pid": pid, "time": "2026-01-02T03:04:05+00:00"}))
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_owner_at_a_time(tmp_path: Path):
    run = tmp_path / "run"
    with FolderLock(run):
        owner = rf"locked by process {os.getpid()} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\dT"
        with pytest.raises(InputError, match=owner), FolderLock(run):
            pass
        # The refused one took nothing away.
        with pytest.raises(InputError, match="locked by process"), FolderLock(run):
            pass
        (run / "file").touch()
    assert [path.name for path in run.iterdir()] == ["file"]
    with FolderLock(run):
        pass


def test_a_folder_that_stays_empty_goes_with_its_lock(tmp_path: Path):
    with FolderLock(tmp_path / "made"):
        pass
    assert not (tmp_path / "made").exists()
    with FolderLock(tmp_path):
        pass
    assert tmp_path.exists()


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path: Path):
    subprocess.run([sys.executable, "-c", TAKE.format("import os; os._exit(1)"), str(tmp_path)], check=False)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] != os.getpid()
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_live_process_keeps_its_lock(tmp_path: Path):
    command = [sys.executable, "-c", TAKE.format("print('taken', flush=True); sys.stdin.read()"), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InputError, match=f"locked by process {process.pid} on"), FolderLock(tmp_path):
            pass
        process.kill()
    with FolderLock(tmp_path):
        pass


def test_another_host_cannot_be_asked(tmp_path: Path):
    path = owned_by(tmp_path, "elsewhere", 17)
    says = r"\.lock: found it locked by process 17 on elsewhere since 2026-01-02T03:04:05\+00:00, .* remove the file"
    with pytest.raises(InputError, match=says), FolderLock(tmp_path):
        pass
    path.unlink()
    with FolderLock(tmp_path):
        pass


def test_a_text_that_a_crash_cut_is_nobodys(tmp_path: Path):
    owned_by(tmp_path, "elsewhere", 17).write_text('{"host": "els')
    with FolderLock(tmp_path):
        pass


def test_without_locks_of_the_system_the_process_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "fcntl", None)
    owned_by(tmp_path, socket.gethostname(), os.getppid())
    with pytest.raises(InputError, match=f"process {os.getppid()} on"), FolderLock(tmp_path):
        pass
    owned_by(tmp_path, socket.gethostname(), dead_pid())
    with FolderLock(tmp_path):
        pass


def test_a_folder_that_was_removed_is_locked_anew(tmp_path: Path):
    run = tmp_path / "run"
    with FolderLock(run) as lock:
        assert not lock.renew()
        shutil.rmtree(run)
        assert lock.renew()
        assert (run / ".lock").exists()
        shutil.rmtree(run)
        with FolderLock(run), pytest.raises(InputError, match="locked by process"):
            lock.renew()
