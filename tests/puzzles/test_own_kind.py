"""A kind of puzzle of a user's own: the README's, from building to drawing."""

import itertools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config

import trm
from trm.configuration.reading import config_to_toml
from trm.errors import InputError
from trm.puzzles.kinds.registry import KINDS, kind_of
from trm.puzzles.reading import read_puzzle_set

README = Path(trm.__file__).parent / "puzzles" / "README.md"
SIDE = 5


def solutions() -> list[str]:
    """Place a queen in each row, all columns and diagonals different."""
    found = []
    for columns in itertools.permutations(range(SIDE)):
        if len({r + c for r, c in enumerate(columns)}) == len({r - c for r, c in enumerate(columns)}) == SIDE:
            found.append("".join("." * c + "Q" + "." * (SIDE - 1 - c) for c in columns))
    return found


def write_csv(path: Path, keep: tuple[int, ...]) -> None:
    """Write a question for each solution, of which some rows keep their queens."""
    lines = ["question,answer"]
    for answer in solutions():
        rows = [answer[i : i + SIDE] for i in range(0, SIDE * SIDE, SIDE)]
        question = "".join(row if i in keep else "." * SIDE for i, row in enumerate(rows))
        lines.append(f"{question},{answer}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the README's kind and files of puzzles, in which commands are run."""
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(block.splitlines()) < 45
    (tmp_path / "queens.py").write_text(block)
    write_csv(tmp_path / "train.csv", keep=(0, 1))
    write_csv(tmp_path / "test.csv", keep=(1, 3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "queens", raising=False)
    return tmp_path


@pytest.mark.slow
def test_from_a_file_of_text_to_a_drawing(folder: Path, capsys: pytest.CaptureFixture):
    files = ["--train", "train.csv", "--test", "test.csv"]
    code, out, err = run_trm(capsys, "data", "kind", "queens:KIND", "set", *files, "--online-aug")
    assert code == 0, err
    assert "10 training puzzles, 10 test puzzles" in out
    # Some boards of rows 1 and 3 are boards of rows 0 and 1 in the other numbering; none is equal.
    code, out, err = run_trm(capsys, "data", "check", "set")
    assert code == 0, err
    assert out.count("every answer is one queen in every row, none of which attacks another") == 2
    assert "Q" in run_trm(capsys, "info", "set")[1]

    config = tiny_config(data={"path": "set"})
    Path("config.toml").write_text(config_to_toml(config))
    code, out, err = run_trm(capsys, "train", "config.toml", "-o", "run")
    assert code == 0, err
    assert "valid_accuracy" in out
    question = "Q" + "." * (SIDE * SIDE - 1)
    code, out, err = run_trm(capsys, "solve", "run/weights.safetensors", question, "--views", "4", "--format", "json")
    (row,) = json.loads(out)
    # The exit code says whether the rules are kept.
    assert code == (0 if row["obeys_rules"] else 1), err
    assert row["puzzle"] == question
    assert len(row["answer"]) == SIDE * SIDE
    assert row["obeys_rules"] == (row["answer"] in [s for s in solutions() if s[0] == "Q"])
    drawn_code, out, err = run_trm(capsys, "solve", "run/weights.safetensors", question, "--views", "4")
    assert drawn_code == code, err
    assert len(out.splitlines()) >= SIDE


def test_rules_and_symmetries(folder: Path):
    kind = KINDS["queens:KIND"]
    answers = np.stack([kind.parse_answer(text, "x") for text in solutions()])
    blank = np.ones_like(answers)
    assert len(answers) == 10
    assert kind.solved(blank, answers).all()
    # A clue that is not kept, one queen too few, and two that attack each other.
    wrong = answers.copy()
    wrong[:, answers[0] == 2] = 1
    assert not kind.solved(answers[:1].repeat(10, axis=0), wrong).any()
    assert kind.solved(answers[:1].repeat(10, axis=0), answers).tolist() == [True] + [False] * 9
    moved = kind.symmetries(np.random.default_rng(0), 10, SIDE * SIDE)
    assert moved is not None
    assert kind.solved(moved.apply(blank), moved.apply(answers)).all()
    assert [kind.format(tokens) for tokens in answers] == solutions()


def test_stored_symmetries_and_mistakes(folder: Path, capsys: pytest.CaptureFixture):
    files = ["--train", "train.csv", "--test", "test.csv"]
    assert run_trm(capsys, "data", "kind", "queens:KIND", "set", *files, "--num-aug", 3)[0] == 0
    train = read_puzzle_set("set", "train")
    assert train.examples == 40
    kind = kind_of(train.metadata)
    arrays = train.sets["all"]
    assert kind.solved(arrays.inputs.astype(int), arrays.labels.astype(int)).all()
    text = Path("train.csv").read_text()
    Path("wrong.csv").write_text(text.replace("Q", ".", 1))
    assert run_trm(capsys, "data", "kind", "queens:KIND", "fine", "--train", "wrong.csv", "--test", "test.csv")[0] == 0
    lines = text.splitlines()
    Path("wrong.csv").write_text("\n".join([*lines[:3], lines[3].rsplit(",", 1)[0] + "," + lines[4].rsplit(",", 1)[1]]))
    command = ["data", "kind", "queens:KIND", "other", "--train", "wrong.csv", "--test", "test.csv"]
    check_mistake(capsys, command, "wrong.csv: row 4: answer: found a wrong one, expected one queen in every row")
    check_mistake(capsys, ["data", "kind", "queen", "x", *files], "kind: found 'queen', expected one of 'sudoku'")
    check_mistake(capsys, ["data", "kind", "arc", "x", *files], "arc: found a kind without text")
    _, out, _ = run_trm(capsys, "data", "kind", "queens:KIND", "same", "--train", "test.csv", "--test", "test.csv")
    assert "warning: 10 of 10 test puzzles are training puzzles, 0 others are training puzzles up to a symmetry" in out
    # Without its file the set cannot be read.
    Path("queens.py").unlink()
    sys.modules.pop("queens")
    with pytest.raises(InputError, match=r"dataset.json: kind: found 'queens:KIND', cannot import queens"):
        read_puzzle_set("set", "train")
