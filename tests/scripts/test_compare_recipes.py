"""The comparison of recipes: both run, and their records hold the curves."""

import json
from pathlib import Path
from xml.etree import ElementTree

import compare_recipes
import curves
import pytest
from records import read_records

SMALL = compare_recipes.Board(4, 0, 4)
"""Four steps of the plain recipe, two of the fast one."""


@pytest.mark.slow
def test_compare_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batch = 8
    monkeypatch.setattr(compare_recipes, "BATCH", batch)
    monkeypatch.setattr(compare_recipes, "TRAIN_PUZZLES", batch)
    monkeypatch.setattr(compare_recipes, "TEST_PUZZLES", 2 * batch)
    monkeypatch.setattr(compare_recipes, "BOARDS", (SMALL,))
    tiny = (
        "model.hidden_size=16",
        "model.num_heads=2",
        "model.H_cycles=1",
        "model.L_cycles=1",
        "halting.halt_max_steps=2",
    )
    recipes = [recipe._replace(settings=(*tiny, *recipe.settings)) for recipe in compare_recipes.RECIPES]
    monkeypatch.setattr(compare_recipes, "RECIPES", tuple(recipes))
    out = tmp_path / "recipes.jsonl"
    compare_recipes.main(tmp_path / "out", sizes=None, seeds=1, json_out=out)
    plain, fast = read_records(out)
    assert (plain.case["recipe"], fast.case["recipe"]) == ("plain", "fast")
    assert (plain.figures["steps"], fast.figures["steps"]) == (4, 2)
    assert "optimizer.type=muon" in fast.settings
    for record in (plain, fast):
        run = tmp_path / "out" / f"4x4-{record.case['recipe']}-0"
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        recorded = [[line["step"], line["all/exact_accuracy"]] for line in lines if "all/exact_accuracy" in line]
        assert record.figures["evaluations"] == recorded
        assert record.figures["exact_accuracy"] == recorded[-1][1]
    drawing = ElementTree.fromstring((tmp_path / "out" / "recipes.svg").read_text())
    lines = [line for line in drawing.iter("{http://www.w3.org/2000/svg}polyline") if "stroke-width" in line.attrib]
    assert [line.attrib["stroke"] for line in lines] == list(curves.RECIPE_COLORS.values())


def test_unknown_size(tmp_path: Path):
    with pytest.raises(compare_recipes.InputError, match="--size: found 5, expected one of 4, 6, 9"):
        compare_recipes.main(tmp_path, sizes=[5], seeds=1, json_out=None)
