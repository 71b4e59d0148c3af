"""Tables: those of the READMEs are what the records say, and a table is made of the right records."""

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from benchmark import cli
from records import Record, Recorder, command_line, cpu_hardware, read_records, spread
from tables.definitions import TABLES
from tables.markers import ROOT, readmes, update
from tables.render import render
from typer.core import TyperGroup

from trm.errors import InputError

SCRIPT = [sys.executable, str(ROOT / "scripts" / "tables")]
CPU = {"device": "A CPU", "platform": "cpu", "devices": 1, "cores": 2}
GPU = {"device": "A GPU", "platform": "gpu", "devices": 1}
TEXT = "before\n<!-- table: step -->\nold\n<!-- end of table -->\nafter\n"


def record(seconds: Any, hardware: dict = CPU, date: str = "2026-01-02", **changes: Any) -> Record:
    """Return a record of a training step that took some seconds."""
    values: dict[str, Any] = {
        "benchmark": "step",
        "figures": {"train_seconds": seconds},
        "hardware": hardware,
        "date": date,
        "versions": {"trm": "1"},
        "command": "python scripts/benchmark step",
        "config": "sudoku_mlp",
        "case": {"batch_size": 32},
    }
    return Record(**(values | changes))


def rows(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


def test_readmes_hold_what_the_records_say():
    """What `python scripts/tables --check` checks, as a command."""
    result = subprocess.run([*SCRIPT, "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_table_stands_in_a_readme():
    texts = "".join(path.read_text(encoding="utf-8") for path in readmes())
    assert [name for name in TABLES if f"<!-- table: {name} -->" not in texts] == []


def test_a_changed_number_is_found(tmp_path: Path):
    readme = ROOT / "scripts" / "README.md"
    text = readme.read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(text.replace("| 4.94 |", "| 4.93 |"), encoding="utf-8")
    assert copy.read_text(encoding="utf-8") != text
    result = subprocess.run([*SCRIPT, "--check", copy], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"{copy}: tables are out of date" in result.stderr
    assert subprocess.run([*SCRIPT, copy], capture_output=True).returncode == 0
    assert copy.read_text(encoding="utf-8") == text


def test_text_around_a_table_stays():
    text = update("x", TEXT, [record(1.5)])
    assert text.startswith("before\n<!-- table: step -->\n\n| ")
    assert text.endswith("\n\n<!-- end of table -->\nafter\n")
    assert "old" not in text
    assert update("x", text, [record(1.5)]) == text


def test_spread_and_number():
    measured = {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}
    ends = {"min": 1.0, "max": 3.0}
    for value, cell in ((1.5, "1.5"), (measured, "2"), (ends, "1 to 3"), (None, "")):
        _, _, row = rows(render(TABLES["step"], [record(value)]))
        assert row[:3] == ["`sudoku_mlp`", "32", cell]


def test_the_latest_record_counts():
    table = render(
        TABLES["step"], [record(1.0), record(3.0, date="2026-01-04T10:00:00+00:00"), record(2.0, date="2026-01-03")]
    )
    assert [row[2] for row in rows(table)[2:]] == ["3"]
    assert "2026-01-04," in table


def test_hardware_gets_lines_and_a_column():
    one = rows(render(TABLES["step"], [record(1.0)]))
    assert "on" not in one[0]
    titles, _, *lines = rows(render(TABLES["step"], [record(1.0), record(0.1, hardware=GPU)]))
    assert titles[-1] == "on"
    assert [(line[2], line[-1]) for line in lines] == [("1", "A CPU, 2 cores"), ("0.1", "A GPU")]


def test_records_of_a_line():
    def size(value: int, seconds: float, hardware: dict) -> Record:
        case = {"size": "devices", "value": value, "width": 128}
        return record(None, hardware, benchmark="scaling", case=case, figures={"seconds": {"min": seconds, "n": 4}})

    found = rows(render(TABLES["scaling"], [size(1, 0.5, CPU), size(2, 0.25, CPU), size(1, 0.125, GPU)]))
    assert [line[:3] for line in found[2:]] == [["devices", "1, 2", "500, 250"], ["devices", "1", "125"]]


def test_runs_that_held_back_puzzles_are_counted_together():
    def run(seed: int, accuracy: float, **figures: Any) -> Record:
        figures |= {"exact_accuracy": accuracy, "steps": 1, "core_seconds_per_step": 1, "core_seconds": 1}
        return record(
            None, benchmark="search", seed=seed, case={"data": "x", "recipe": "y"}, figures=figures | {"curve": []}
        )

    def accuracy(*runs: Record) -> str:
        titles, _, line = rows(render(TABLES["search"], runs))
        return line[titles.index("exact accuracy")]

    assert accuracy(run(0, 0.25), run(1, 0.75)) == "25.0%, 75.0%"
    assert accuracy(run(0, 0.25, puzzles=96)) == "25.0%"
    # 24 + 72 of 192 puzzles.
    held_back = run(0, 0.25, puzzles=96), run(1, 0.75, puzzles=96)
    assert accuracy(*held_back) == "25.0%, 75.0%; together 50% (43% to 57%)"


def test_attempts_at_later_puzzles_have_a_line_of_their_own():
    def attempts(solved: int, **how: Any) -> Record:
        case = {"model": "m", "puzzles": "p", "count": 10, "attempts": 1, "views": True, "noise": 0.0} | how
        figures = {"solved": solved, "passes_per_puzzle": 8.0, "processor_seconds_per_puzzle": 0.1}
        return record(None, benchmark="attempts", case=case, figures=figures)

    found = rows(render(TABLES["attempts"], [attempts(3), attempts(4, skip=10)]))
    assert [(line[0], line[3]) for line in found[2:]] == [
        ("10 of `p`", "30% (11% to 60%)"),
        ("11 to 20 of `p`", "40% (17% to 69%)"),
    ]


def test_computed_is_not_called_measured():
    table = render(TABLES["step"], [record(1.0, hardware=GPU | {"described": True})])
    assert "Computed for A GPU, 2026-01-02" in table
    assert "Measured" not in table


def test_no_record():
    assert render(TABLES["step"], []) == "Not measured yet.\n"


def test_mistakes_in_a_text():
    mistakes = {
        "x: table: found 'stop'": TEXT.replace("step", "stop"),
        "x: table step: found no '<!-- end of table -->'": TEXT.replace("<!-- end", "<!-- and"),
        "x: table step: found a table inside a table": TEXT.replace("old", "<!-- table: step -->"),
    }
    for says, text in mistakes.items():
        with pytest.raises(InputError) as error:
            update("x", text, [])
        assert str(error.value).startswith(says)


def test_records_are_read_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        sys, "argv", ["/a/scripts/benchmark/__main__.py", "step", "--json", "out file", "--set", "a=[1, 2]"]
    )
    path = tmp_path / "out.jsonl"
    recorder = Recorder("step", path, cpu_hardware())
    written = [
        recorder.add({"seconds": spread([3.0, 1.0, 2.0, 9.0])}, config="c", seed=n, batch_size=4) for n in (0, 1)
    ]
    assert read_records(path) == written
    assert written[0].figures == {"seconds": {"median": 2.5, "min": 1.0, "max": 9.0, "n": 4}}
    assert written[0].command == "python scripts/benchmark step --set 'a=[1, 2]'"
    assert written[0].case == {"batch_size": 4}
    assert written[0].versions.keys() == {"trm", "jax"}


def test_commands_of_records_still_exist():
    """Every recorded command of a benchmark has options that the command line knows."""
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    checked = 0
    for found in read_records(ROOT / "scripts" / "results"):
        words = shlex.split(found.command)
        if words[:2] == ["python", "scripts/benchmark"]:
            group.commands[words[2]].make_context(words[2], words[3:])
            checked += 1
        elif words[0] == "python":
            script = ROOT / words[1]
            assert script.is_file() or (script / "__main__.py").is_file()
    assert checked > 50


def test_command_of_a_file():
    assert command_line(["scripts/check_parity.py", "a", "--json", "b"]) == "python scripts/check_parity.py a"


def test_mistakes_in_records(tmp_path: Path):
    good = dataclasses.asdict(record(1.0))
    path = tmp_path / "records.jsonl"
    mistakes = {
        "found no JSON": "{",
        "found list, expected an object": "[]",
        "date: missing": json.dumps({key: value for key, value in good.items() if key != "date"}),
        "seed: found 'x'": json.dumps(good | {"seed": "x"}),
        "color: unknown field": json.dumps(good | {"color": "red"}),
    }
    for says, line in mistakes.items():
        path.write_text(json.dumps(good) + "\n" + line + "\n")
        with pytest.raises(InputError) as error:
            read_records(path)
        assert str(error.value).startswith(f"{path}:2: {says}")
    with pytest.raises(InputError, match=r"found no \.jsonl file"):
        read_records(tmp_path / "..")
