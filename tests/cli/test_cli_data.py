"""The commands below `trm data`: every one works, and what they make can be trained on, evaluated and shown."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, check_mistake, run_trm, tiny_config
from stand_in_hub import serve

from trm.configuration.reading import config_to_toml
from trm.errors import InputError
from trm.evaluation.arc import pass_at, voter_for
from trm.evaluation.report import Predictions
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.maze import generate as maze_generator
from trm.puzzles.kinds.maze import text as maze_text
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.sudoku import text as sudoku_text
from trm.puzzles.kinds.tables import Puzzle
from trm.puzzles.loader import load_test_batches
from trm.puzzles.metadata import IGNORED_LABEL
from trm.puzzles.reading import read_puzzle_set
from trm.storage import hub

KAGGLE = GOLDEN / "arc_small" / "source" / "arc"


def test_data_sets_are_functions_of_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        code, out, _ = run_trm(
            capsys, "data", "generate", tmp_path / f"{name}.csv", "--size", 4, "--count", 12, "--seed", seed
        )
        assert code == 0
        assert "12 puzzles of 4x4" in out
        code, out, err = run_trm(
            capsys, "data", "sudoku", tmp_path / name,
            "--train", tmp_path / f"{name}.csv", "--test", tmp_path / f"{name}.csv",
            "--subsample-size", 5, "--num-aug", 2, "--seed", seed,
        )  # fmt: skip
        assert code == 0, err
    a, b, c = (read_puzzle_set(tmp_path / name, "train").sets["all"].inputs for name in "abc")
    assert a.shape == (15, 16)
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert read_puzzle_set(tmp_path / "a", "test").examples == 12


def test_bundled_puzzles_make_a_set_without_options(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run_trm(capsys, "data", "sudoku", tmp_path / "nine")[0] == 0
    assert read_puzzle_set(tmp_path / "nine", "train").examples == 2000
    code, out, _ = run_trm(capsys, "info", tmp_path / "nine")
    assert code == 0
    assert "2,000 examples" in out
    assert "seq_len" in out


def test_generated_sudokus_rearranged_when_drawn(tmp_path: Path, capsys: pytest.CaptureFixture):
    options = ["--generate", 12, "--generate-test", 5, "--size", 4, "--clues", 8]
    code, out, err = run_trm(capsys, "data", "sudoku", tmp_path / "set", *options, "--online-aug")
    assert code == 0, err
    assert "12 training puzzles augmented when they are drawn, 5 test puzzles" in out
    train, test = (read_puzzle_set(tmp_path / "set", split) for split in ("train", "test"))
    assert (train.examples, test.examples) == (12, 5)
    assert (train.metadata.online_augmentation, test.metadata.online_augmentation) == (True, False)
    assert (np.count_nonzero(train.sets["all"].inputs > 1, axis=1) == 8).all()


def test_mazes_from_a_generated_file(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "mazes.csv.gz"
    options = ["--maze", "--size", 6, "--count", 10, "--min-moves", 6, "--unique", "--processes", 1]
    code, out, err = run_trm(capsys, "data", "generate", path, *options)
    assert code == 0, err
    assert "10 puzzles of 6x6" in out
    files = ["--train", path, "--test", path]
    code, out, err = run_trm(capsys, "data", "maze", tmp_path / "set", *files, "--aug", "--subsample-size", 4)
    assert code == 0, err
    assert "4 training mazes in eight orientations, 10 test mazes" in out
    code, out, _ = run_trm(capsys, "data", "check", tmp_path / "set")
    assert code == 0
    assert "every answer is a shortest path" in out


# Sets to train on


def build_maze(out: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["--generate", 24, "--generate-test", 8, "--size", 6, "--processes", 1]
    assert run_trm(capsys, "data", "maze", out, *options)[0] == 0


def build_arc(out: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_trm(capsys, "data", "arc", out, KAGGLE, "--num-aug", 3, "--compact")[0] == 0


BUILDERS = {"maze": build_maze, "arc": build_arc}


@pytest.mark.parametrize("kind", ["maze", pytest.param("arc", marks=pytest.mark.slow)])
def test_from_data_to_a_report(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Build, look, train for a few steps, evaluate."""
    directory, run = tmp_path / "set", tmp_path / "run"
    BUILDERS[kind](directory, capsys)
    code, out, _ = run_trm(capsys, "info", directory)
    assert code == 0
    for shown in ("first puzzle", "answer", "token", "sha256", {"maze": "##", "arc": "|||t"}[kind]):
        assert shown in out
    config = tiny_config(
        data={"path": str(directory)},
        halting={"halt_max_steps": 2},
        train={"epochs": 1, "eval_interval": 1, "global_batch_size": 8},
    )
    (tmp_path / "tiny.toml").write_text(config_to_toml(config))
    code, _, err = run_trm(capsys, "train", tmp_path / "tiny.toml", "-o", run, "--devices", 1)
    assert code == 0, err
    report = tmp_path / "report.json"
    code, _, err = run_trm(capsys, "evaluate", run / "weights.safetensors", "--json", report, "--devices", 1)
    assert code == 0, err
    values = json.loads(report.read_text())["all"]
    assert values["examples"] == read_puzzle_set(directory, "test").examples
    assert ("shortest_path_accuracy" in values["metrics"]) == (kind == "maze")


@pytest.mark.slow
def test_from_arc_to_a_submission(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Train, keep the best by votes, evaluate two checkpoints together, write what Kaggle reads."""
    directory, run = tmp_path / "set", tmp_path / "run"
    build_arc(directory, capsys)
    config = tiny_config(
        data={"path": str(directory)},
        halting={"halt_max_steps": 2},
        train={"epochs": 1, "eval_interval": 1, "global_batch_size": 8, "best_metric": "pass@2"},
    )
    (tmp_path / "tiny.toml").write_text(config_to_toml(config))
    code, out, err = run_trm(capsys, "train", tmp_path / "tiny.toml", "-o", run, "--devices", 1)
    assert code == 0, err
    assert ": arc: pass@1 " in out
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("arc/pass@2" in line for line in lines)
    report, attempts = tmp_path / "report.json", tmp_path / "submission.json"
    checkpoints = [run / "weights.safetensors", run / "best.safetensors"]
    code, out, err = run_trm(
        capsys, "evaluate", *checkpoints, "--json", report, "--submission", attempts, "--devices", 1
    )
    assert code == 0, err
    tasks = json.loads((directory / "test_puzzles.json").read_text())
    submitted = json.loads(attempts.read_text())
    assert {name: len(tests) for name, tests in submitted.items()} == {n: len(t["test"]) for n, t in tasks.items()}
    assert all(test.keys() == {"attempt_1", "attempt_2"} for tests in submitted.values() for test in tests)
    values = json.loads(report.read_text())
    assert list(values) == [*map(str, checkpoints), "arc"]
    # Both are the same weights: every candidate has an even number of votes, one half from each.
    best = [candidate for tests in values["arc"]["tasks"].values() for test in tests for candidate in test["best"]]
    assert best
    assert all(candidate["votes"] % 2 == 0 for candidate in best)
    assert 0 <= values["arc"]["pass@1"] <= values["arc"]["pass@1000"] <= 1
    solve_the_tasks(values["arc"]["tasks"], tasks, run / "weights.safetensors", tmp_path, capsys)


def solve_the_tasks(voted: dict, tasks: dict, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Solve the tasks from their JSON, without solutions: with all augmentations it is the vote of the evaluation."""
    for task in tasks.values():
        for pair in task["test"]:
            del pair["output"]
    challenges = tmp_path / "challenges.json"
    challenges.write_text(json.dumps(tasks))
    solve = ["solve", str(weights)]
    code, out, err = run_trm(capsys, *solve, challenges, "--no-halt", "--format", "json")
    assert code == 0, err
    solved = json.loads(out)
    assert [(test["task"], test["test"]) for test in solved] == [
        (name, number) for name, task in tasks.items() for number in range(len(task["test"]))
    ]
    for test in solved:
        # Two checkpoints of the same weights were evaluated.
        best = voted[test["task"]][test["test"]]["best"]
        assert [2 * attempt["votes"] for attempt in test["attempts"]] == [candidate["votes"] for candidate in best]
        assert [attempt["confidence"] for attempt in test["attempts"]] == pytest.approx(
            [candidate["confidence"] for candidate in best], abs=1e-4
        )

    name, task = next(iter(tasks.items()))
    alone = tmp_path / f"{name}.json"
    alone.write_text(json.dumps(task))
    outputs = {}
    for form in ("text", "plain", "csv"):
        code, outputs[form], err = run_trm(capsys, *solve, alone, "--views", 2, "--format", form)
        assert code == 0, err
    assert "of 2 votes" in outputs["text"]
    grids = [json.loads(line) for line in outputs["plain"].splitlines()]
    assert len(grids) == len(task["test"])
    rows = list(csv.DictReader(outputs["csv"].splitlines()))
    assert [json.loads(row["answer"]) for row in rows if row["attempt"] == "1"] == grids

    check_mistake(capsys, [*solve, str(alone), "--views", "99"], f"the augmentations of task {name}")
    check_mistake(capsys, [*solve, str(alone), "--watch"], "--watch: found a model of ARC")
    check_mistake(capsys, [*solve, json.dumps({"new": task})], "task new: found no puzzle embedding,")
    check_mistake(capsys, [*solve, json.dumps(task)], "puzzle: found a task without a name")
    check_mistake(capsys, [*solve, str(tmp_path / "none.json")], "none.json: cannot read")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "identifiers.json").write_text('["<blank>"]')
    wrong = [*solve, str(alone), "--data", str(tmp_path / "other")]
    check_mistake(capsys, wrong, "--trained-on: found 1 puzzle identifiers")


@pytest.mark.parametrize("form", ["stored", "--compact"])
def test_right_answers_win_every_vote(form: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Whatever the builder or the loader did to a task is undone before the vote."""
    options = ["--num-aug", 20] + (["--compact"] if form == "--compact" else [])
    assert run_trm(capsys, "data", "arc", tmp_path / "set", KAGGLE, *options)[0] == 0
    puzzles = read_puzzle_set(tmp_path / "set", "test")
    voter = voter_for(puzzles, [tmp_path / "set"])
    assert voter is not None
    for _, batch in load_test_batches(puzzles, 64):
        answers = np.where(batch.labels == IGNORED_LABEL, 0, batch.labels)
        voter.see(Predictions(batch.puzzle_identifiers, batch.inputs, answers, np.zeros(64, np.float32)))
    rankings = voter.rankings()
    assert pass_at(rankings)["pass@1"] == 1.0
    assert all(len(test.candidates) == 1 for tests in rankings.values() for test in tests)


def test_submissions_are_of_arc(puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"epochs": 1, "eval_interval": 1})
    (tmp_path / "tiny.toml").write_text(config_to_toml(config))
    assert run_trm(capsys, "train", tmp_path / "tiny.toml", "-o", tmp_path / "run")[0] == 0
    command = ["evaluate", str(tmp_path / "run" / "weights.safetensors"), "--submission", str(tmp_path / "s.json")]
    check_mistake(capsys, command, "found no tasks to solve, expected the test split of ARC")
    path = config_to_toml(tiny_config(data={"path": str(puzzle_dir)}, train={"best_metric": "pass@2"}))
    (tmp_path / "pass.toml").write_text(path)
    check_mistake(
        capsys, ["train", str(tmp_path / "pass.toml")], "train.best_metric: found 'pass@2', expected a puzzle"
    )


@pytest.mark.slow
def test_several_sets_in_one_run(puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    options = ["--generate", 20, "--generate-test", 5, "--size", 4, "--online-aug"]
    assert run_trm(capsys, "data", "sudoku", tmp_path / "second", *options)[0] == 0
    both = [str(puzzle_dir), str(tmp_path / "second")]
    changes = {"epochs": 2, "eval_interval": 2}
    (tmp_path / "tiny.toml").write_text(config_to_toml(tiny_config(data={"path": both}, train=changes)))
    code, out, err = run_trm(capsys, "train", tmp_path / "tiny.toml", "-o", tmp_path / "run", "--devices", 1)
    assert code == 0, err
    code, out, _ = run_trm(capsys, "evaluate", tmp_path / "run" / "weights.safetensors", "--devices", 1)
    assert "all: 10 puzzles" in out
    assert "all1: 5 puzzles" in out


# ARC


def test_arc_stored_and_compact(tmp_path: Path, capsys: pytest.CaptureFixture):
    for form, options in (("stored", ["--processes", 2]), ("compact", ["--compact"])):
        code, out, err = run_trm(capsys, "data", "arc", tmp_path / form, KAGGLE, "--num-aug", 4, *options)
        assert code == 0, err
        assert f"{form}/test: " in out
        assert run_trm(capsys, "data", "check", tmp_path / form)[0] == 0
    assert read_identifiers(tmp_path / "stored") == read_identifiers(tmp_path / "compact")


def test_leaks_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture):
    for path in KAGGLE.parent.glob("arc_evaluation_*.json"):
        for subset in ("evaluation", "again"):
            (tmp_path / path.name.replace("evaluation", subset)).write_bytes(path.read_bytes())
    options = ["--subsets", "again,evaluation", "--num-aug", 0]
    code, out, _ = run_trm(capsys, "data", "arc", tmp_path / "set", tmp_path / "arc", *options)
    tasks = read_puzzle_set(tmp_path / "set", "test").metadata.total_groups
    assert code == 0
    assert f"warning: again holds {tasks} tasks of the test set evaluation" in " ".join(out.split())


# Mistakes


def wrong(*arguments: object, says: str):
    return pytest.param([str(a) for a in arguments], says, id=" ".join(map(str, arguments))[:60])


NEW = "{empty}/x"
MISTAKES = [
    wrong("generate", "{empty}/x.csv", "--size", 5, says="--size: found 5, expected one of 4, 6, 9"),
    wrong("generate", "{text}", says="already exists"),
    wrong("generate", "{empty}/x.csv", "--count", "abc", says="Invalid value for '--count'"),
    wrong("generate", says="Missing argument"),
    wrong("generate", "{empty}/x.csv", "--unique", says="Sudokus: found together with --unique"),
    wrong("generate", "{empty}/x.csv", "--maze", "--clues", 3, says="--maze: found together with --clues"),
    wrong("generate", "{empty}/x.csv", "--maze", "--size", 40, says="--size: found 40, expected 5 to 32"),
    wrong("generate", "{empty}/x.csv", "--maze", "--size", 5, "--min-moves", 99, says="--min-moves: found 99"),
    wrong("sudoku", NEW, "--train", "nowhere.csv", says="--train and --test: found one of them"),
    wrong("sudoku", NEW, "--train", "nowhere.csv", "--test", "nowhere.csv", says="nowhere.csv: cannot read"),
    wrong("sudoku", NEW, "--train", "{text}", "--test", "{text}", says="text.txt: found no cells"),
    wrong("sudoku", NEW, "--train", "{mazes}", "--test", "{mazes}", says="mazes.csv: row 2: found no cells"),
    wrong("sudoku", "{full}", says="already exists, expected a new or empty folder"),
    wrong("sudoku", "{text}", "--overwrite", says="text.txt: found a file, expected a new or empty folder"),
    wrong("sudoku", "{full}", "--overwrite", says="found a folder without identifiers.json"),
    wrong("sudoku", NEW, "--min-difficulty", 10**6, says="found no puzzle rated 1000000 or more"),
    wrong("generate", "{empty}/x.csv", "--maze", "--size", 0, says="--size: found 0, expected 5 to 32"),
    wrong("generate", "{empty}/x.csv", "--min-moves", 0, says="Sudokus: found together with --min-moves"),
    wrong(
        "generate", "{empty}/x.csv", "--size", 4, "--clues", 16, says="--clues: found 16, expected fewer than the 16"
    ),
    wrong("generate", "{text}/x.csv", says="text.txt is not a writable folder"),
    wrong("sudoku", NEW, "--size", 6, says="--size: found without --generate"),
    wrong("sudoku", NEW, "--processes", 2, says="--processes: found without --generate"),
    wrong(
        "maze", NEW, "--train", "{mazes}", "--test", "{mazes}", "--unique", says="--unique: found without --generate"
    ),
    wrong("maze", "{full}", "--generate", 10**6, says="already exists, expected a new or empty folder"),
    wrong("sudoku", "{full}", "--generate", 10**6, says="already exists, expected a new or empty folder"),
    wrong("arc", NEW, "{kaggle}", "--subsets", "evaluation,", says="--subsets: found '', expected the name of a"),
    wrong("arc", NEW, "{kaggle}", "--subsets", "evaluation,.", says="--subsets: found '.', expected the name of a"),
    wrong("sudoku", NEW, "--online-aug", "--num-aug", 5, says="--online-aug: found together with --num-aug 5"),
    wrong("sudoku", NEW, "--generate", 5, "--hub", "a/b", says="--generate: found together with --hub"),
    wrong("sudoku", NEW, "--generate", 5, "--size", 8, says="--size: found 8, expected one of 4, 6, 9"),
    wrong("maze", NEW, says="--train, --hub, --generate: found none of them"),
    wrong("maze", NEW, "--hub", "a/b", "--train", "{text}", says="--hub: found together with --train"),
    wrong("maze", NEW, "--train", "{mazes}", "--test", "{text}", says="text.txt: found no maze"),
    wrong("maze", NEW, "--generate", 5, "--labels", "x", says="Invalid value for '--labels'"),
    wrong("maze", NEW, "--generate", 5, "--size", 3, says="--size: found 3, expected 5 to 32"),
    wrong(
        "arc", NEW, "{empty}/arc", says="arc: found no such file or folder, and no arc_SUBSET_challenges.json beside it"
    ),
    wrong("arc", NEW, "{kaggle}", "--test-set", "x", says="--test-set: found 'x', expected one of the subsets"),
    wrong("arc", NEW, "{kaggle}", "--test-set2", "x", says="--test-set2: found 'x', expected one of the subsets"),
    wrong("arc", NEW, "{kaggle}", "--subsets", "training,training", says="--test-set: found 'evaluation'"),
    wrong("arc", NEW, "{kaggle}", "--subsets", "evaluation,evaluation", says="--subsets: found 'evaluation,evalua"),
    wrong(
        "arc",
        NEW,
        "{kaggle}",
        "--subsets",
        "evaluation,x",
        says="arc: found no subset 'x', expected one of the source's: --subsets training,evaluation,concept",
    ),
    wrong("arc", "{full}", "{empty}/arc", says="already exists, expected a new or empty folder"),
    wrong("check", "{empty}", says="empty: found neither train/ nor test/"),
    wrong("check", "nowhere", says="nowhere: found neither train/ nor test/"),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES)
def test_mistakes_leave_nothing(arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    names = {name: tmp_path / name for name in ("empty", "full", "text.txt", "mazes.csv")}
    for folder in ("empty", "full"):
        names[folder].mkdir()
    (names["full"] / "file").touch()
    names["text.txt"].write_text("one line\n")
    maze_text.write_csv(names["mazes.csv"], "test", maze_generator.generate_many(6, 2, seed=0))
    names = {name.split(".")[0]: path for name, path in names.items()} | {"kaggle": KAGGLE}
    before = sorted(tmp_path.rglob("*"))
    check_mistake(capsys, ["data", *(argument.format(**names) for argument in arguments)], says)
    assert sorted(tmp_path.rglob("*")) == before


# The hub, played by a server on this machine


def _write_sudokus(path: Path, seed: int) -> None:
    sudoku_text.write_csv(path, "hub", sudoku_generator.generate_many(4, 6, seed))


def _write_mazes(path: Path, seed: int) -> None:
    maze_text.write_csv(path, "hub", maze_generator.generate_many(5, 6, seed))


PUZZLES = {"sudoku": _write_sudokus, "maze": _write_mazes}


@pytest.fixture(params=PUZZLES)
def stand_in_hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve puzzles of a kind as the hub does; yield the kind."""
    kind: str = request.param
    for split, seed in (("train", 0), ("test", 1)):
        PUZZLES[kind](tmp_path / f"{split}.csv", seed)
    files = {f"{split}.csv": (tmp_path / f"{split}.csv").read_bytes() for split in ("train", "test")}
    with serve({"datasets/someone/puzzles": files}) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        yield kind


def test_download_from_the_hub(stand_in_hub: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    arguments = ["data", stand_in_hub, str(tmp_path / "set"), "--hub"]
    check_mistake(capsys, [*arguments, "someone/nothing"], "someone/nothing: train.csv: cannot download from the hub")
    code, _, err = run_trm(capsys, *arguments, "someone/puzzles")
    assert code == 0, err
    assert read_puzzle_set(tmp_path / "set", "train").examples == 6


def test_hub_without_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"expected `pip install 'trm\[hub\]'`"):
        hub.download("someone/puzzles", "train.csv")


@pytest.mark.parametrize("kind", ["sudoku", "maze"])
def test_test_puzzles_that_are_training_puzzles_are_named(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Of five test puzzles one is a training puzzle, and two others are turned ones."""
    if kind == "sudoku":
        puzzles = list(sudoku_generator.generate_many(4, 7, seed=11, keep_clues=9))
        digits = np.array([0, 3, 1, 4, 2])
        turned = [Puzzle(digits[p.question.T], digits[p.answer.T], p.rating) for p in puzzles[1:3]]
        write = sudoku_text.write_csv
    else:
        puzzles = list(maze_generator.generate_many(6, 7, seed=11))
        turned = [Puzzle(p.question[::-1], p.answer[::-1], p.rating) for p in puzzles[1:3]]
        write = maze_text.write_csv
    write(tmp_path / "train.csv", "x", puzzles[:5])
    write(tmp_path / "test.csv", "x", [puzzles[0], *turned, *puzzles[5:]])
    files = ["--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv"]
    code, out, err = run_trm(capsys, "data", kind, tmp_path / "set", *files)
    assert code == 0, err
    assert "warning: 1 of 5 test puzzles are training puzzles, 2 others are training puzzles up to a symmetry" in out
    write(tmp_path / "test.csv", "x", puzzles[5:])
    assert "warning" not in run_trm(capsys, "data", kind, tmp_path / "other", *files)[1]
