"""`trm solve`: exit codes and warnings, for people and for scripts."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import check_mistake, run_trm, tiny_config
from rich.text import Text

from trm.checkpoints.description import Description
from trm.checkpoints.format import save
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.identity import fingerprint_names
from trm.puzzles.metadata import Metadata
from trm.show.console import console, print_drawing
from trm.training.state import make_state

RIGHT = "3654.24...5..32.4..4..232....4.....5"
WRONG = "11" + "." * 34
"""Two equal clues in a row: no answer obeys the rules."""


@pytest.mark.parametrize("form", ["text", "plain", "json", "csv"])
def test_an_answer_that_breaks_the_rules(form: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "puzzles.txt").write_text(f"{RIGHT}\n{WRONG}\n{RIGHT}\n")
    options = ["--format", form, "--no-check", "--attempts", 2]
    code, out, err = run_trm(capsys, "solve", "sudoku-6x6", tmp_path / "puzzles.txt", *options)
    assert code == 1
    where = f"{tmp_path}/puzzles.txt: puzzle 2 (line 2)"
    assert err == f"warning: {where}: not solved after 2 attempts, the answer breaks the rules\n"
    if form == "text":
        assert out.count("breaks the rules") == 1
        return
    # All answers are written, in order.
    if form == "plain":
        answers = [line.removesuffix("\tbreaks the rules") for line in out.splitlines()]
    else:
        rows = json.loads(out) if form == "json" else list(csv.DictReader(io.StringIO(out)))
        answers = [row["answer"] for row in rows]
        assert [str(row["obeys_rules"]) for row in rows] == ["True", "False", "True"]
    assert [len(answer) for answer in answers] == [36] * 3
    assert answers[0] == answers[2]


def test_a_solved_puzzle(capsys: pytest.CaptureFixture):
    code, out, err = run_trm(capsys, "solve", "sudoku-6x6", RIGHT, "--format", "plain")
    assert (code, err) == (0, "")
    rows = [out[i : i + 6] for i in range(0, 36, 6)]
    assert all(clue in (".", cell) for clue, cell in zip(RIGHT, out, strict=False))
    assert all(sorted(line) == list("123456") for line in [*rows, *map("".join, zip(*rows, strict=True))])


@pytest.mark.parametrize("columns", [80, None])
def test_a_drawing_wider_than_the_console(columns: int | None, monkeypatch: pytest.MonkeyPatch):
    """A terminal crops its lines, a file has them whole."""
    output = io.StringIO()
    monkeypatch.setattr(console, "_file", output)
    monkeypatch.setattr(console, "_force_terminal", columns is not None)
    monkeypatch.setattr(console, "_width", 80)
    print_drawing(Text("\n".join(["#" * 100] * 3)))
    assert output.getvalue().splitlines() == ["#" * (columns or 100)] * 3


def test_a_large_board_is_drawn_whole(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "_width", 8)
    _, out, _ = run_trm(capsys, "solve", "sudoku-6x6", RIGHT)
    assert all(len(row.split()) >= 6 for row in out.splitlines()[:2])


def test_guesses_where_there_are_none(capsys: pytest.CaptureFixture, tmp_path: Path):
    board = "\n".join(["S......G.", *["........."] * 8])
    expected = "guesses: found 2, expected 0: puzzles of kind maze have no digits"
    check_mistake(capsys, ["solve", "maze", board, "--guesses", "2"], expected)
    expected = "guesses: found 2 together with views, expected one of them"
    check_mistake(capsys, ["solve", "sudoku-6x6", RIGHT, "--guesses", "2", "--views", "2"], expected)
    check_mistake(
        capsys, ["solve", "sudoku-6x6", RIGHT, "--guesses", "2", "--watch"], "--watch: found together with --g"
    )
    expected = "guesses: found 2 without attempts, expected attempts too"
    data = ["data", "sudoku", tmp_path / "set", "--size", 6, "--generate", 1, "--generate-test", 1, "--processes", 1]
    assert run_trm(capsys, *data)[0] == 0
    check_mistake(capsys, ["evaluate", "sudoku-6x6", "--data", str(tmp_path / "set"), "--guesses", "2"], expected)


@pytest.mark.parametrize(
    ("options", "warnings"),
    [
        (["--select", "vote"], ["--select vote: has no effect on a single candidate"]),
        (["--seed", 0, "--views", 1], ["--seed 0: has no effect"]),
        (["--seed", 0], []),
        (["--select", "first", "--seed", 1], ["--select first: has no effect", "--seed 1: has no effect"]),
        (["--seed", 1, "--noise", 0.1], []),
        (["--seed", 1, "--views", 2, "--select", "mode"], []),
        (["--guesses", 2], []),
        (["--guesses", 0, "--attempts", 8], []),
        (["--guesses", 2, "--attempts", 9], []),
        (["--guesses", 2, "--attempts", 8], ["--guesses 2: has no effect on the first 8 attempts"]),
        (["--seed", 1, "--attempts", 1], ["--seed 1: has no effect"]),
    ],
)
def test_options_without_effect(options: list, warnings: list[str], capsys: pytest.CaptureFixture):
    code, _, err = run_trm(capsys, "solve", "sudoku-6x6", RIGHT, "--format", "plain", "--devices", 1, *options)
    assert code == 0
    lines = err.splitlines()
    assert len(lines) == len(warnings)
    for line, expected in zip(lines, warnings, strict=True):
        assert line.startswith(f"warning: {expected}")


def test_a_reader_that_leaves_early():
    """The reader of the pipe has what it wanted (`| head`): exit code 0, and nothing is printed about the pipe."""
    code = "import sys; from trm.cli.main import main; sys.argv[0] = 'trm'; main()"
    command = [sys.executable, "-c", code, "info", "sudoku-6x6"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout
        assert program.stderr
        program.stdout.close()
        assert program.stderr.read() == ""
        assert program.wait(timeout=120) == 0


def test_tasks_are_named_by_the_set_of_the_model(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Other names in the same number would address other puzzle embeddings."""
    metadata = Metadata(0, 0, 0, 12, 900, 3, 2, 1.0, 2, ["all"], "arc")
    config = tiny_config(data={"path": str(tmp_path / "own")}, halting={"halt_max_steps": 1})
    state = fetch(make_state(config, metadata, make_mesh(1)))
    for name, names in (("own", ["<blank>", "a", "b"]), ("other", ["<blank>", "b", "a"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "identifiers.json").write_text(json.dumps(names))
    known = fingerprint_names([tmp_path / "own"])
    assert known is not None
    task = json.dumps({"b": {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[1, 2], [3, 4]]}]}})
    for identity in ({"identifiers": known}, {}):
        path = tmp_path / "w.safetensors"
        description = Description("weights", config, metadata, 1, identity=identity, averaged=True)
        save(path, Weights(state.model, state.puzzle_table), description)
        code, out, err = run_trm(capsys, "solve", path, task, "--format", "json", "--devices", 1)
        assert code == 0, err
        assert json.loads(out)[0]["task"] == "b"
        other = ["solve", str(path), task, "--format", "json", "--devices", "1", f"--trained-on={tmp_path / 'other'}"]
        if identity:
            assert err == ""
            says = f"--trained-on: found other names of puzzle identifiers in {tmp_path / 'other'}"
            check_mistake(capsys, other, says)
        else:
            assert len(err.splitlines()) == 1
            assert f"warning: {path}: has no fingerprint of its identifiers" in err
            assert run_trm(capsys, *other)[0] == 0


def test_version(capsys: pytest.CaptureFixture):
    code, out, _ = run_trm(capsys, "--version")
    assert code == 0
    assert out.split() == ["trm", "0.1.0"]


def test_a_puzzle_that_begins_as_an_option_does(capsys: pytest.CaptureFixture):
    dashed = RIGHT.replace(".", "-")
    dashed = "-" + dashed[1:]
    code, out, err = run_trm(capsys, "solve", "sudoku-6x6", dashed, "--format", "json", "--no-check")
    assert code in (0, 1), err
    assert json.loads(out)[0]["puzzle"] == dashed.replace("-", ".")
    check_mistake(capsys, ["solve", "sudoku-6x6", RIGHT, "--vews", "8"], "No such option: --vews")
    check_mistake(capsys, ["solve", "sudoku-6x6", "--no-chek", RIGHT], "No such option: --no-chek")


def test_problems_are_said_before_the_network_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "puzzles.txt"
    file.write_text(f"{RIGHT}\n{WRONG}\n{'.' * 36}\n{WRONG.replace('1', '2')}\n")
    code, out, err = run_trm(capsys, "solve", "sudoku-6x6", file)
    assert (code, out) == (2, "")
    several, first, second = err.splitlines()
    assert several.startswith(f"warning: {file}: puzzle 3 (line 3): has several solutions")
    assert first.startswith(f"error: {file}: puzzle 2 (line 2): contradictory clues: two 1 in a row")
    assert second.startswith(f"error: {file}: puzzle 4 (line 4): contradictory clues: two 2 in a row")


def test_a_word_is_neither_a_puzzle_nor_a_file(capsys: pytest.CaptureFixture):
    check_mistake(capsys, ["solve", "sudoku-6x6", "sudokus"], "and there is no file 'sudokus'")


def test_columns_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "table.txt"
    file.write_text(f"a;b\n{'.' * 36};{RIGHT}\n")
    command = ["solve", "sudoku-6x6", file, "--format", "json", "--columns"]
    code, out, _ = run_trm(capsys, *command, "question=b")
    assert code == 0
    assert json.loads(out)[0]["puzzle"] == RIGHT
    check_mistake(capsys, [*map(str, command), "question=c"], "--columns: found the header 'a;b'")
    check_mistake(capsys, [*map(str, command), "b"], "--columns: found 'b', expected question=NAME")
