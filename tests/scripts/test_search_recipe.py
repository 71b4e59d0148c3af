"""The search for recipes: runs are recorded with their curve, resumed where they were, and not made twice."""

import json
from pathlib import Path
from typing import Any

import pytest
import search_recipe
from conftest import tiny_config
from records import read_records
from search_recipe import Clock

from trm.configuration.schema import Config
from trm.errors import InputError

TINY = (
    "tiny quickstart model.hidden_size=16 model.num_heads=2 model.H_cycles=1 model.L_cycles=1 halting.halt_max_steps=2 "
    "train.global_batch_size=8 train.microbatches=1 train.epochs=2 train.eval_interval=1 optimizer.lr_warmup_steps=1"
)


def search(puzzle_dir: Path, tmp_path: Path, *recipes: str, settings: list[str] | None = None, seeds: int = 1) -> Path:
    out = tmp_path / "search.jsonl"
    search_recipe.main(
        tmp_path / "runs", puzzle_dir, list(recipes), settings=settings, seeds=seeds, first_seed=0, json_out=out
    )
    return out


@pytest.mark.slow
def test_a_search_records_each_run_once(puzzle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    recipes = TINY, f"digits{TINY[4:]} model.state=digits model.inner_multiple=8"
    path = search(puzzle_dir, tmp_path, *recipes, settings=["data.validation=4"])
    plain, digits = read_records(path)
    assert (plain.case, digits.case) == tuple({"recipe": name, "data": "sudoku-4x4"} for name in ("tiny", "digits"))
    assert plain.settings == ["data.validation=4", *TINY.split()[2:]]
    for record in (plain, digits):
        folder = tmp_path / "runs" / f"{record.case['recipe']}-0"
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        curve = record.figures["curve"]
        evaluated = {line["step"]: line for line in lines if "validation/all/exact_accuracy" in line}
        assert [(step, score) for step, _, score in curve] == [
            (step, line["validation/all/exact_accuracy"]) for step, line in evaluated.items()
        ]
        assert len(curve) == 2
        seconds = [of for _, of, _ in curve]
        assert 0 < seconds[0] <= seconds[1] == record.figures["core_seconds"]
        assert record.figures["test_exact_accuracy"] == lines[-1]["test/all/exact_accuracy"]
    capsys.readouterr()
    search(puzzle_dir, tmp_path, *recipes, settings=["data.validation=4"])
    assert capsys.readouterr().out.count("recorded before") == 2
    assert len(read_records(path)) == 2


def test_the_clock_goes_on_where_an_interrupted_run_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = iter([0.0, 5.0, 7.0, 20.0, 21.0, 100.0, 103.0, 104.0])
    monkeypatch.setattr(search_recipe.time, "process_time", lambda: next(now))
    path = tmp_path / "core_seconds.jsonl"
    clock = Clock(path)
    clock({"step": 1, "train/lm_loss": 1.0})
    clock({"step": 2, "train/lm_loss": 1.0})
    # An evaluation is not counted.
    clock({"step": 2, "all/exact_accuracy": 0.5})
    clock({"step": 3, "train/lm_loss": 1.0})
    assert clock.seconds == {1: 5.0, 2: 7.0, 3: 8.0}
    # The last checkpoint was that of step 2: step 3 is made again.
    again = Clock(path)
    again({"step": 3, "train/lm_loss": 1.0})
    again({"step": 4, "train/lm_loss": 1.0})
    assert again.seconds == {1: 5.0, 2: 7.0, 3: 10.0, 4: 11.0}
    assert again.at(3) == 10.0


def test_a_run_is_judged_by_its_end():
    """The best evaluation would be chosen on the puzzles that it is measured on."""
    lines = [{"step": step, "all/exact_accuracy": score} for step, score in ((1, 0.25), (2, 0.75), (3, 0.5))]
    figures = search_recipe.figures_of(lines, {1: 2.0, 2: 3.0, 3: 4.0}, tiny_config())
    assert figures["curve"] == [(1, 2.0, 0.25), (2, 3.0, 0.75), (3, 4.0, 0.5)]
    assert (figures["exact_accuracy"], figures["best_exact_accuracy"]) == (0.5, 0.75)


@pytest.mark.slow
def test_a_recipe_that_diverges_does_not_end_the_search(
    puzzle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    train = search_recipe.train

    def diverge(config: Config, *arguments: Any, **options: Any) -> Any:
        if config.model.state == "cells":
            raise FloatingPointError("step 1: lm_loss is nan")
        return train(config, *arguments, **options)

    monkeypatch.setattr(search_recipe, "train", diverge)
    with pytest.raises(SystemExit) as ended:
        search(puzzle_dir, tmp_path, TINY, f"digits{TINY[4:]} model.state=digits model.inner_multiple=8")
    assert ended.value.code == 1
    assert [record.case["recipe"] for record in read_records(tmp_path / "search.jsonl")] == ["digits"]
    out = capsys.readouterr().out
    assert "tiny, seed 0: step 1: lm_loss is nan" in out
    assert "not finished: tiny-0" in out


@pytest.mark.parametrize("text", ["", "name", "a/b quickstart"])
def test_a_recipe_needs_a_name_and_a_configuration(text: str):
    with pytest.raises(InputError, match="--recipe: found "):
        search_recipe.parse_recipe(text)
    assert search_recipe.parse_recipe("a quickstart x=1 'y=[1, 2]'") == ("a", "quickstart", ["x=1", "y=[1, 2]"])
