"""Sweeps: several seeds and values, one run after another, also after an interruption; and profiles of steps."""

import gzip
import json
import math
import os
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest
from conftest import check_mistake, run_trm, tiny_config

from trm.cli import sweep as command
from trm.configuration.reading import config_to_toml
from trm.errors import InputError
from trm.training.run import train
from trm.training.sweep import parse_grid, plan_sweep


@pytest.fixture(scope="module")
def tiny(puzzle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a configuration of 15 steps."""
    path = tmp_path_factory.mktemp("sweep") / "tiny.toml"
    config = tiny_config(data={"path": str(puzzle_dir)}, train={"best_metric": "accuracy", "seed": 5})
    path.write_text(config_to_toml(config))
    return path


def last_accuracy(run: Path) -> float:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["all/accuracy"] for line in lines if "all/accuracy" in line][-1]


@pytest.mark.slow
def test_seeds_and_values_after_an_interruption(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    out, begun = tmp_path / "out", []

    def interrupted(config: Any, folder: Path, *arguments: Any, **options: Any) -> Any:
        begun.append(folder.name)

        def stop(line: dict[str, Any]) -> None:
            if len(begun) == 3 and line["step"] == 9:
                os.kill(os.getpid(), signal.SIGTERM)

        return train(config, folder, *arguments, **options | {"hooks": [*options["hooks"], stop]})

    monkeypatch.setattr(command, "train", interrupted)
    arguments = ["sweep", tiny, "-o", out, "--seeds", 2, "--grid", "optimizer.lr=1e-3,1e-2", "--devices", 1]
    folders = ["lr=1e-3-seed-5", "lr=1e-3-seed-6", "lr=1e-2-seed-5", "lr=1e-2-seed-6"]
    code, said, err = run_trm(capsys, *arguments)
    assert code == 128 + signal.SIGTERM, err
    assert begun == folders[:3]
    assert "stopped: SIGTERM at step" in said
    summary = json.loads((out / "sweep.json").read_text())
    assert [len(row["runs"]) for row in summary["experiments"]] == [2, 0]
    # The same command: two are finished, one is under way.
    before = (out / folders[0] / "weights.safetensors").stat().st_mtime_ns
    code, said, err = run_trm(capsys, *arguments)
    assert code == 0, err
    assert begun == [*folders[:3], *folders[2:]]
    assert said.count("finished before") == 2
    assert "resuming from" in said
    assert (out / folders[0] / "weights.safetensors").stat().st_mtime_ns == before

    summary = json.loads((out / "sweep.json").read_text())
    assert summary["metric"] == "accuracy"
    for row, value, names in zip(summary["experiments"], ("1e-3", "1e-2"), (folders[:2], folders[2:]), strict=True):
        assert row["settings"] == {"optimizer.lr": value}
        finals = [last_accuracy(out / name) for name in names]
        assert [run["final"] for run in row["runs"]] == finals
        assert row["final"]["mean"] == pytest.approx(statistics.mean(finals))
        # Student's t with one degree of freedom, from a printed table.
        half = 12.7062 * statistics.stdev(finals) / math.sqrt(2)
        assert row["final"]["interval"] == pytest.approx([row["final"]["mean"] - half, row["final"]["mean"] + half])
        assert all(run["best"] >= run["final"] for run in row["runs"])
    (shown,) = (line for line in said.splitlines() if line.startswith("optimizer.lr=1e-3 "))
    assert f"2 of 2  {summary['experiments'][0]['final']['mean']:.4f} (" in shown
    assert last_accuracy(out / folders[0]) != last_accuracy(out / folders[1])


def test_a_run_that_is_not_finite_ends_no_sweep(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    begun = []

    def failing(config: Any, folder: Path, *_: Any, **__: Any) -> Any:
        begun.append(folder.name)
        raise FloatingPointError("step 3: lm_loss is nan")

    monkeypatch.setattr(command, "train", failing)
    code, _, err = run_trm(capsys, "sweep", tiny, "-o", tmp_path / "out", "--seeds", 2, "--devices", 1)
    assert code == 1
    assert begun == ["seed-5", "seed-6"]
    assert err.count("lm_loss is nan") == 2
    summary = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert len(summary["failed"]) == 2
    assert summary["experiments"] == [{"settings": {}, "planned": 2, "runs": []}]


def test_a_grid():
    assert parse_grid(["a.b=1,2", 'c.d="x,y",z', "train.curriculum=[[0.5,1,2]],[]"]) == {
        "a.b": ["1", "2"],
        "c.d": ['"x,y"', "z"],
        "train.curriculum": ["[[0.5,1,2]]", "[]"],
    }
    for text, expected in (("a.b", "SECTION.KEY=VALUE,VALUE"), ("a.b=", "SECTION.KEY=VALUE,VALUE")):
        with pytest.raises(InputError, match=f"--grid: found '{text}', expected {expected}"):
            parse_grid([text])
    with pytest.raises(InputError, match="expected each key once"):
        parse_grid(["a.b=1", "a.b=2"])


def test_mistakes_are_found_before_the_first_run(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out"
    arguments = ["sweep", str(tiny), "-o", str(out), "--seeds", "1"]
    check_mistake(capsys, [*arguments, "--grid", "optimizer.lr=1e-3,fast"], "optimizer.lr: found 'fast'")
    check_mistake(capsys, [*arguments, "--grid", "optimizer.lr=1e-3,1e-3"], "found two runs with the folder 'lr=1e-3-")
    assert not out.exists()
    (trial,) = plan_sweep(tiny, out, 1)
    trial.folder.mkdir(parents=True)
    (trial.folder / "config.toml").write_text(config_to_toml(tiny_config(train={"seed": 7})))
    check_mistake(capsys, arguments, f"as in {trial.folder / 'config.toml'}")


def test_a_profile_of_some_steps(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    run = tmp_path / "run"
    code, said, err = run_trm(capsys, "train", tiny, "-o", run, "--devices", 1, "--profile", 3)
    assert code == 0, err
    assert f"profile of 3 steps in {run / 'profile'}; to look at it" in said
    (trace,) = (run / "profile").rglob("*.trace.json.gz")
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    steps = {int(event["args"]["step_num"]) for event in events if event.get("name") == "train"}
    # The line of step 2, with which the profile begins, comes when step 3 has begun; that of 6, when 7 has.
    assert {4, 5, 6} <= steps <= {4, 5, 6, 7}


@pytest.mark.slow
def test_a_run_that_is_too_short_for_a_profile(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    run = tmp_path / "run"
    settings = ["--set", "train.epochs=3", "--set", "train.global_batch_size=40"]
    code, said, err = run_trm(capsys, "train", tiny, "-o", run, "--devices", 1, "--profile", 3, *settings)
    assert code == 0, err
    assert "warning: --profile: the run ended before a profile began, after 1 steps" in said
