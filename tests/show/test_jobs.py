"""Jobs of ARC: test inputs that a page asks for, and tasks that a person pastes into it."""

import json
from pathlib import Path
from typing import Any

import pytest
from arc_model import INPUT, NAMES, OUTPUT, TASK, answer_rightly, write_model
from conftest import check_mistake, run_trm

import trm
from trm.errors import InputError
from trm.puzzles.kinds.arc.tasks import parse_tasks
from trm.show.jobs import Tasks, think
from trm.solving import arc_traces


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("arc"))


@pytest.fixture(scope="module")
def asked(weights: Path) -> Tasks:
    return Tasks(trm.load(weights), NAMES, parse_tasks(json.dumps({"a": TASK}), "task"))


def test_a_test_input_is_thought_about(asked: Tasks):
    job = {"task": "a", "input": INPUT, "output": OUTPUT, "views": [0, 3], "steps": 2, "stop": "never"}
    *steps, end = think(asked.read(job))
    assert end == {"end": True}
    assert [message["step"] for message in steps] == [1, 2]
    assert all(len(message["attempts"]) == 2 for message in steps)


@pytest.mark.parametrize(("output", "solved"), [(OUTPUT, [[True], [True], [False]]), (None, [None] * 3)])
def test_answers_are_judged_where_the_output_is_known(
    asked: Tasks, monkeypatch: pytest.MonkeyPatch, output: Any, solved: list
):
    monkeypatch.setattr(arc_traces, "trace_by_step", lambda *_: iter([answer_rightly(views=3, wrong=1)]))
    first, _ = think(asked.read({"task": "a", "input": INPUT, "output": output, "views": [0, 1, 2]}))
    assert [attempt["solved"] for attempt in first["attempts"]] == solved


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": None}, "task: found None, expected the name of a task"),
        ({"task": "b"}, "task b: found no puzzle embedding, expected a task that the model was trained on"),
        ({"input": [[1], [2, 3]]}, "input: found 2 rows of 1 or 2 cells"),
        ({"input": None}, "input: found None, expected a list of rows"),
        ({"output": [[10]]}, "output: found 10, expected a colour from 0 to 9"),
        ({"views": [8]}, "views[0]: found 8, expected 0 to 7"),
        ({"stop": "rules"}, "stop: found 'rules', expected 'halt' or 'never'"),
        ({"steps": 0}, "steps: found 0, expected 1 to 128"),
    ],
)
def test_what_is_no_job_is_named(asked: Tasks, change: dict, says: str):
    with pytest.raises(InputError) as found:
        asked.read({"task": "a", "input": INPUT, "steps": 1} | change)
    assert str(found.value).startswith(says)


def test_pasted_tasks(asked: Tasks):
    expected = {
        "name": "a",
        "views": 8,
        "train": [{"input": ["1"], "output": ["2"]}],
        "test": [{"input": ["7890"], "output": ["123", "456"]}],
    }
    assert asked.read_tasks(json.dumps({"a": TASK})) == [expected]
    # A task without a name is known by its examples, those that the model was not trained on are left out.
    assert asked.read_tasks(json.dumps(TASK)) == [expected]
    assert asked.read_tasks(json.dumps({"b": TASK, "a": TASK})) == [expected]
    unsolved = TASK | {"test": [{"input": INPUT}]}
    assert asked.read_tasks(json.dumps(unsolved))[0]["test"] == [{"input": ["7890"], "output": None}]
    for text, says in (
        (json.dumps({"b": TASK}), "task b: found no puzzle embedding"),
        (json.dumps(TASK | {"train": TASK["test"]}), "pasted: found a task without a name"),
        ("{", "pasted: "),
        (None, "text: found None"),
    ):
        with pytest.raises(InputError) as found:
            asked.read_tasks(text)
        assert str(found.value).startswith(says)


def test_the_command_names_what_it_cannot_play(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    other = json.dumps({"b": TASK})
    check_mistake(capsys, ["play", str(weights), other, "--no-browser"], "task b: found no puzzle embedding")
    check_mistake(capsys, ["play", str(weights), "--trained-on", str(tmp_path)], f"{tmp_path}")
    for option in (["--trained-on", "x"], ["--data", "x"], ["--data=x"]):
        says = "error: --trained-on: found a model of sudoku, expected a model of arc"
        check_mistake(capsys, ["play", "sudoku-6x6", *option], says)


@pytest.mark.parametrize("command", ["solve", "play", "render"])
def test_a_former_name_of_an_option_is_not_in_the_help(command: str, capsys: pytest.CaptureFixture):
    code, out, _ = run_trm(capsys, command, "--help")
    assert code == 0
    assert "--trained-on" in out
    assert "--data" not in out
