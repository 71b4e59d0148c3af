"""`python scripts/measure_pages.py`: a record with WebAssembly and one without, of the steps after the first."""

from pathlib import Path

import measure_pages
import pytest
from conftest import CHROMIUM
from records import read_records

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def test_both_ways_are_measured(tmp_path: Path):
    pytest.importorskip("playwright.sync_api", reason="needs Playwright (extra `browser`)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    out = tmp_path / "pages.jsonl"
    measure_pages.main(["sudoku-6x6"], steps=4, chromium=Path(CHROMIUM), note="beside tests", json_out=out)
    records = read_records(out)
    assert [record.case for record in records] == [
        {"model": "sudoku-6x6", "webassembly": True},
        {"model": "sudoku-6x6", "webassembly": False},
    ]
    fast, slow = (record.figures["seconds_per_step"] for record in records)
    assert (fast["n"], slow["n"]) == (3, 3)
    # That the two pages run different code is seen in their time: it is seven times as long, and more.
    assert slow["min"] > fast["min"]
    assert {record.note for record in records} == {"beside tests"}
