"""Bundled configurations and weights are found by name, also from a checkout that is not installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trm.errors import InputError
from trm.storage.bundled import bundled_name, config_names, config_path, weights_path

ROOT = Path(__file__).parent.parent.parent


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert config_names() == sorted(path.stem for path in (ROOT / "configs").glob("*.toml"))
    assert config_path("sudoku_mlp").samefile(ROOT / "configs" / "sudoku_mlp.toml")
    assert bundled_name(config_path("sudoku_mlp")) == "sudoku_mlp"
    monkeypatch.chdir(tmp_path)
    # A file and a run folder come before a name; a relative path may start elsewhere.
    (tmp_path / "own" / "run").mkdir(parents=True)
    (tmp_path / "own" / "run" / "config.toml").touch()
    (tmp_path / "sudoku_mlp").touch()
    assert config_path("own/run") == Path("own/run/config.toml")
    assert config_path("run", tmp_path / "own") == tmp_path / "own" / "run" / "config.toml"
    assert config_path("sudoku_mlp") == Path("sudoku_mlp")
    assert bundled_name("sudoku_mlp") is None
    for name in ("a" * 5000, "a\0b", "a\nb", ""):
        for find in (config_path, weights_path):
            if find is weights_path and not name:
                continue
            with pytest.raises(InputError) as caught:
                find(name)
            assert len(str(caught.value).splitlines()) == 1


def test_a_checkout_that_is_not_installed(tmp_path: Path):
    """The configurations lie beside the package there, not in it."""
    shutil.copytree(ROOT / "trm", tmp_path / "trm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    # A finder of an installation in development mode would find trm.configs elsewhere: only what is copied counts.
    program = (
        "import sys\n"
        "sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in repr(finder)]\n"
        "import trm\n"
        "from trm.storage.bundled import config_path, weights_path\n"
        "trm.Weights\n"
        "print(trm.__file__, config_path('sudoku_mlp'), weights_path('sudoku'), sep='\\n')\n"
        "assert trm.config('sudoku_mlp_no_ema').model.mixer == 'mlp'\n"
        "assert 'trm.configs' not in sys.modules\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [Path(line).parent for line in done.stdout.split()] == [
        tmp_path / "trm",
        tmp_path / "configs",
        tmp_path / "trm" / "weights",
    ]
