"""Collections of ARC tasks as they are published: each layout, with small tasks of our own, gives the same tasks."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import check_mistake, run_trm

from trm.errors import InputError
from trm.evaluation.arc import known_tests, pass_at, voter_for
from trm.evaluation.report import Predictions
from trm.puzzles.identifiers import read_identifiers
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.arc.grids import parse_grid
from trm.puzzles.kinds.arc.sources import list_subsets, read_subset
from trm.puzzles.kinds.arc.tasks import Task, parse_tasks, read_test_puzzles, task_name
from trm.puzzles.reading import read_puzzle_set

Json = dict[str, Any]


def make_task(seed: int) -> Json:
    rng = np.random.default_rng(seed)
    pairs = [{side: rng.integers(0, 10, (2, 3 + seed)).tolist() for side in ("input", "output")} for _ in range(3)]
    return {"train": pairs[:2], "test": pairs[2:]}


TASKS = {f"t{seed}": make_task(seed) for seed in range(3)}


def plain(tasks: list[Task]) -> dict[str, list]:
    return {t.name: [(p.input.tolist(), p.output.tolist(), p.is_test) for p in t.pairs] for t in tasks}


EXPECTED = plain([task for name, json_ in TASKS.items() for task in parse_tasks(json.dumps(json_), "x", name)])


def write(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (values if isinstance(values, str) else json.dumps(values)).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def folder_of(inside: str, ending: str = ".json") -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        for name, task in TASKS.items():
            write(root / inside / f"{name}{ending}", task)
        return root

    return make


def kaggle(root: Path, subset: str = "training", ending: str = ".json") -> Path:
    challenges = {
        n: {"train": t["train"], "test": [{"input": p["input"]} for p in t["test"]]} for n, t in TASKS.items()
    }
    write(root / f"arc-agi_{subset}_challenges{ending}", challenges)
    write(root / f"arc-agi_{subset}_solutions{ending}", {n: [p["output"] for p in t["test"]] for n, t in TASKS.items()})
    write(root / "sample_submission.json", {name: [{"attempt_1": [[0]], "attempt_2": [[0]]}] for name in TASKS})
    return root


def pairs_of(task: Json) -> list[Json]:
    return task["train"] + task["test"]


def concept(root: Path) -> Path:
    for number, (name, task) in enumerate(TASKS.items()):
        write(root / "corpus" / f"Concept{number}" / f"{name}.json", task)
    return root


def re_arc(root: Path) -> Path:
    for name, task in TASKS.items():
        write(root / "tasks" / f"{name}.json", pairs_of(task))
    write(root / "metadata.json", {"t0": {"n_examples": 3}})
    return root


def barc(root: Path) -> Path:
    lines = [
        {"examples": [[p["input"], p["output"]] for p in pairs_of(t)], "source": "code", "name": n}
        for n, t in TASKS.items()
    ]
    return write(root / "data_100k.jsonl", "\n".join(map(json.dumps, lines)) + "\n")


def unpacked(root: Path) -> Path:
    kaggle(root / "arc-prize")
    return root


def with_hidden_files(root: Path) -> Path:
    folder_of("data/training")(root)
    write(root / "data/training/.ipynb_checkpoints/t0-checkpoint.json", TASKS["t0"])
    write(root / "data/training/._t0.json", "\0\1")
    return root


def named_in_one_file(values: Any) -> Callable[[Path], Path]:
    return lambda root: write(root / "all.json", values)


LAYOUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "official": (folder_of("data/training"), "training"),
    "official, its data folder": (folder_of("training"), "training"),
    "gzip": (folder_of("data/training", ".json.gz"), "training"),
    "kaggle folder": (kaggle, "training"),
    "kaggle folder, gzip": (lambda root: kaggle(root, ending=".json.gz"), "training"),
    "kaggle prefix": (lambda root: kaggle(root) / "arc-agi", "training"),
    "challenges file": (lambda root: kaggle(root, "evaluation") / "arc-agi_evaluation_challenges.json", "evaluation"),
    "ConceptARC": (concept, "concept"),
    "ConceptARC as all": (concept, "all"),
    "Mini-ARC": (folder_of("data/MiniARC"), "all"),
    "Mini-ARC, by name": (folder_of("data/MiniARC"), "MiniARC"),
    "1D-ARC": (folder_of("dataset/1d_fill"), "all"),
    "re-arc": (re_arc, "all"),
    "name to pairs": (lambda root: write(root / "all.json", {n: pairs_of(t) for n, t in TASKS.items()}), "all"),
    "name to task": (lambda root: write(root / "all.json.gz", TASKS), "all"),
    "BARC": (barc, "all"),
    "kaggle's archive, unpacked": (unpacked, "training"),
    "hidden files": (with_hidden_files, "training"),
    "tasks under a key": (named_in_one_file({"tasks": TASKS}), "all"),
    "a list under a key": (named_in_one_file({"data": [{"id": n} | t for n, t in TASKS.items()]}), "all"),
    "a list of named tasks": (named_in_one_file([{n: t} for n, t in TASKS.items()]), "all"),
    "a test pair alone": (named_in_one_file({n: t | {"test": t["test"][0]} for n, t in TASKS.items()}), "all"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(layout: str, tmp_path: Path):
    make, subset = LAYOUTS[layout]
    source = make(tmp_path / "source")
    assert plain(read_subset(source, subset)) == EXPECTED
    if layout not in ("ConceptARC", "Mini-ARC, by name"):
        assert list_subsets(source) == [subset] or subset == "training"


def test_a_task_alone(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = write(tmp_path / "0a.1b.json", TASKS["t0"])
    (task,) = read_subset(path, "all")
    assert task.name == "0a.1b"
    code, out, err = run_trm(capsys, "data", "arc", tmp_path / "set", path, "--num-aug", 2)
    assert code == 0, err
    assert "set/test: 1 tasks" in out
    assert read_identifiers(tmp_path / "set")[1] == "0a.1b"


@pytest.mark.parametrize("name", ["a.b.json", "a.b.json.gz", "a.b.jsonl", "dir.json/a.b"])
def test_one_rule_for_names_with_dots(name: str):
    assert task_name(name) == "a.b"


@pytest.mark.parametrize(
    "grid",
    [
        ["012", "345"],
        ["0 1 2", "3 4 5"],
        ["0,1,2", "3,4,5"],
        "012\n345",
        "0 1 2\n3 4 5\n",
        "012|345",
        "012/345",
        "[[0, 1, 2], [3, 4, 5]]",
        "[[0 1 2]\n [3 4 5]]",
        [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        [["0", "1", "2"], ["3", "4", "5"]],
        [["0", 1, 2], "345"],
    ],
)
def test_grids_as_text(grid: Any):
    assert parse_grid(grid, "x").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ([[0, None]], "x: found null, expected a colour from 0 to 9"),
        (["01", "2"], "x: found 2 rows of 1 or 2 cells"),
        ([[0.5]], "x: found 0.5, expected a colour"),
        ([["0", "a"]], "x: found 'a', expected a colour"),
        (["0a"], "x: found ['0a'], expected a list of rows"),
        (None, "x: found None, expected a list of rows"),
        ([["11"]], "x: found 11, expected a colour from 0 to 9"),
    ],
)
def test_grids_that_are_none(grid: Any, says: str):
    with pytest.raises(InputError) as caught:
        parse_grid(grid, "x")
    assert says in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    source = folder_of("data/training")(folder_of("data/evaluation")(tmp_path / "ARC-AGI"))
    command = ["data", "arc", str(tmp_path / "set"), "--num-aug", "1"]
    check_mistake(
        capsys,
        [*command, str(source)],
        "found no subset 'concept', expected one of the source's: --subsets training,evaluation",
    )
    check_mistake(
        capsys, [*command, str(tmp_path / "missing" / "arc")], "arc: found no such file or folder, and no folder"
    )
    check_mistake(capsys, [*command, str(tmp_path / "missing")], "and no missing_SUBSET_challenges.json beside it")
    (tmp_path / "empty").mkdir()
    check_mistake(capsys, [*command, str(tmp_path / "empty")], "empty: found no JSON file, expected one per task")
    code, out, err = run_trm(
        capsys, *command, kaggle(kaggle(tmp_path / "k"), "evaluation"), "--subsets", "training,evaluation"
    )
    assert code == 0, err
    assert "warning: training holds 3 tasks of the test set evaluation" in out


def test_bad_tasks_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture):
    root = folder_of("data/tasks")(tmp_path / "source")
    write(root / "data" / "tasks" / "bad.json", TASKS["t0"] | {"train": [{"input": [[99]], "output": [[1]]}]})
    write(root / "data" / "tasks" / "worse.json", "{")
    command = ["data", "arc", str(tmp_path / "set"), str(root), "--num-aug", "1"]
    check_mistake(capsys, command, "task bad: train pair 1: input: found 99, expected a colour")
    code, out, err = run_trm(capsys, *command, "--skip-bad")
    assert code == 0, err
    assert "task bad: train pair 1: input: found 99" in err
    assert "worse.json: not a JSON file" in err
    assert "all: left out 2 bad tasks, 3 are left" in err
    assert "set/test: 3 tasks" in out


def test_extra_pairs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = write(tmp_path / "task001.json", TASKS["t0"] | {"arc-gen": pairs_of(TASKS["t1"]), "name": "x"})
    code, _, err = run_trm(capsys, "data", "arc", tmp_path / "set", path, "--num-aug", 1)
    assert code == 0
    assert "all: left out 3 pairs of 1 tasks under 'arc-gen': neither train nor test" in err


# Unknown solutions


def test_no_pass_at_k_without_solutions(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Also of a single [[0]] that is a solution, of a task that has one unknown, and of a set of the original."""
    blank = {"input": [[1, 2]], "output": [[0]]}
    tasks = {
        "unknown": {"train": [blank], "test": [{"input": [[3]]}, {"input": [[4]], "output": None}]},
        "half": {"train": [blank], "test": [blank, {"input": [[5]], "output": [[None, None]]}]},
    }
    source = write(tmp_path / "tasks.json", tasks)
    command = ["data", "arc", str(tmp_path / "set"), str(source), "--num-aug", "0"]
    check_mistake(capsys, command, "task unknown: test pair 1: output: missing (--allow-missing-solutions accepts it)")
    code, _, err = run_trm(capsys, *command, "--allow-missing-solutions")
    assert code == 0, err
    known = {t.name: [p.known for p in t.pairs if p.is_test] for t in read_test_puzzles(tmp_path / "set")}
    assert known == {"unknown": [False, False], "half": [True, False]}
    assert read_puzzle_set(tmp_path / "set", "test").examples == 4

    voter = voter_for(read_puzzle_set(tmp_path / "set", "test"), [tmp_path / "set"])
    assert voter is not None
    names = read_identifiers(tmp_path / "set")
    answered = to_frame(np.zeros((1, 1), np.uint8))
    inputs = np.stack([to_frame(np.array(grid, np.uint8)) for grid in ([[1, 2]], [[3]])]).astype(np.int32)
    numbers = np.array([names.index("half"), names.index("unknown")], np.int32)
    voter.see(Predictions(numbers, inputs, np.stack([answered, answered]).astype(np.int32), np.zeros(2, np.float32)))
    rankings = voter.rankings()
    assert {name: len(tests) for name, tests in known_tests(rankings).items()} == {"half": 1}
    assert pass_at(rankings)["pass@1"] == 1.0

    # The original fills in [[0]] and says nothing.
    for task in tasks.values():
        task["test"] = [{"input": pair["input"], "output": [[0]]} for pair in task["test"]]
    (tmp_path / "set" / "test_puzzles.json").write_text(json.dumps(tasks))
    assert not any(pair.known for t in read_test_puzzles(tmp_path / "set") for pair in t.pairs if pair.is_test)
    voter = voter_for(read_puzzle_set(tmp_path / "set", "test"), [tmp_path / "set"])
    assert voter is not None
    assert known_tests(voter.rankings()) == {}
    assert np.isnan(pass_at(voter.rankings())["pass@2"])
