"""The tour runs as it is printed, and the API reference is made without a warning."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_script(name: str, *arguments: object, **environment: str) -> str:
    """Run a script in a process of its own, as a reader does; return what it prints."""
    words = [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]
    done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_tour_is_short():
    lines = (ROOT / "scripts" / "tour.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 65
    assert sum(line.startswith("# %% ") for line in lines) == 6


@pytest.mark.slow
@pytest.mark.processes
def test_the_tour_leads_to_pages(tmp_path: Path):
    printed = run_script("tour.py", TMPDIR=str(tmp_path))
    (accuracy,) = re.findall(r"^([\d.]+)% of 60 unseen puzzles$", printed, re.MULTILINE)
    assert float(accuracy) > 80
    report, player = (Path(line) for line in printed.splitlines()[-2:])
    assert report.parent.parent == tmp_path
    assert "The tour: how it thinks" in report.read_text(encoding="utf-8")
    assert "<title>The tour</title>" in player.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(find_spec("pdoc") is None, reason="needs pdoc (extra dev)")
def test_the_reference_is_made_without_a_warning(tmp_path: Path):
    run_script("make_reference.py", tmp_path / "api")
    page = (tmp_path / "api" / "trm" / "solving" / "trace.html").read_text(encoding="utf-8")
    assert "steps cycles batch seq_len" in re.sub(r"<[^>]*>", "", page)
    public = (tmp_path / "api" / "trm.html").read_text(encoding="utf-8")
    assert 'id="evaluate"' in public
    assert 'id="TrainedModel.solve"' in public
