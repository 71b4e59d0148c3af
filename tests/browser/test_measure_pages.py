"""`python scripts/measure_pages.py`: a record with WebAssembly and one without, of the steps after the first."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHROMIUM
from records import read_records

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.processes]


def test_both_ways_are_measured(tmp_path: Path):
    pytest.importorskip("playwright.sync_api", reason="needs Playwright (extra `browser`)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    out = tmp_path / "pages.jsonl"
    # In a process of its own: Playwright runs once in each.
    command = [sys.executable, ROOT / "scripts" / "measure_pages.py", "sudoku-6x6", "--steps", "4", "--json", out]
    subprocess.run([*command, "--chromium", CHROMIUM, "--note", "beside tests"], check=True, timeout=300)
    records = read_records(out)
    assert [record.case for record in records] == [
        {"model": "sudoku-6x6", "webassembly": True},
        {"model": "sudoku-6x6", "webassembly": False},
    ]
    fast, slow = (record.figures["seconds_per_step"] for record in records)
    assert (fast["n"], slow["n"]) == (3, 3)
    # The times show that the two pages run different code: one takes seven times as long, or more.
    assert slow["min"] > fast["min"]
    assert {record.note for record in records} == {"beside tests"}
