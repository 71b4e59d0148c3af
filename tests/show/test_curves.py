"""Curves of runs: what is drawn, of runs that go on or are damaged too."""

import dataclasses
import datetime
import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from conftest import check_mistake, run_trm
from html_page import read_page

from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.show.curves import Line, Panel, draw, make_panels
from trm.show.html.curves import make_page
from trm.training.tracking.history import read_history

T_95 = {1: 12.706, 2: 4.303}
"""Student's t by degrees of freedom, from a printed table."""


def make_run(path: Path, seed: int, end: float, steps: int = 300, lr: float = 1e-4) -> Path:
    """Write a run that rises to an accuracy in a straight line, with a pause after step 200, and half a line."""
    config = Config()
    config = dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, seed=seed, global_batch_size=16),
        optimizer=dataclasses.replace(config.optimizer, lr=lr),
    )
    path.mkdir(parents=True)
    (path / "config.toml").write_text(config_to_toml(config))
    time, lines = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), []
    for step in range(1, steps + 1):
        resumed = step == 201
        time += datetime.timedelta(hours=7) if resumed else datetime.timedelta(seconds=36)
        values = {"train/lm_loss": 2.0, "train/exact_accuracy": end * step / 300}
        speed = {} if step == 1 or resumed else {"train/steps_per_second": 1 / 36}
        lines.append({"step": step, "time": time.isoformat()} | values | speed)
        if step % 100 == 0:
            lines.append({"step": step, "time": time.isoformat(), "all/exact_accuracy": end * step / 300})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "metrics.jsonl").write_text(text + '{"step": 301, "train/lm_lo')
    return path


def test_seeds_are_a_mean_with_the_interval_of_students_t(tmp_path: Path):
    ends = (0.5, 0.6, 0.9)
    runs = [make_run(tmp_path / f"plain-seed-{i}", i, end) for i, end in enumerate(ends)]
    runs += [make_run(tmp_path / "other", 0, 0.3, lr=1e-3)]
    panels = make_panels([read_history(run) for run in runs])
    assert [panel.title for panel in panels] == [
        "loss of tokens, training",
        "exact accuracy, training",
        "exact accuracy, evaluations",
    ]
    seeds, alone = panels[2].lines
    assert (seeds.label, alone.label) == ("plain, 3 seeds", "other")
    np.testing.assert_array_equal(seeds.x, [100, 200, 300])
    assert seeds.mean[-1] == pytest.approx(statistics.mean(ends))
    assert seeds.half[-1] == pytest.approx(T_95[2] * statistics.stdev(ends) / math.sqrt(3), rel=1e-3)
    assert np.isnan(alone.half).all()
    # 300 steps are 100 pieces of 3: their means.
    seeds = panels[1].lines[0]
    np.testing.assert_array_equal(seeds.x, np.arange(3, 301, 3))
    np.testing.assert_allclose(seeds.mean, statistics.mean(ends) * (seeds.x - 1) / 300)


def test_a_seed_that_is_behind_shortens_the_mean(tmp_path: Path):
    runs = [make_run(tmp_path / f"{i}", i, 0.6, steps) for i, steps in enumerate((300, 200))]
    (line,) = make_panels([read_history(run) for run in runs], ["all/exact_accuracy"])[0].lines
    np.testing.assert_array_equal(line.x, [100, 200])


def test_a_seed_that_has_just_begun(tmp_path: Path):
    runs = [read_history(make_run(tmp_path / f"{i}", i, 0.6, steps)) for i, steps in enumerate((300, 2, 40))]
    # Of 300 steps a point is the mean of 3. The run with two steps has none, and is not waited for.
    (line,) = make_panels(runs[:2], ["train/exact_accuracy"])[0].lines
    np.testing.assert_array_equal(line.x, np.arange(3, 301, 3))
    assert "seeds" not in line.label
    assert np.isnan(line.half).all()
    (line,) = make_panels(runs, ["train/exact_accuracy"])[0].lines
    np.testing.assert_array_equal(line.x, np.arange(3, 40, 3))
    np.testing.assert_allclose(line.mean, 0.6 * (line.x - 1) / 300)
    assert line.label.endswith(", 2 seeds")


def test_puzzles_and_hours(tmp_path: Path):
    history = read_history(make_run(tmp_path / "run", 0, 0.6))
    steps = np.array([1, 100, 200, 300])
    np.testing.assert_array_equal(history.at(steps, "puzzles"), steps * 16)
    # 36 s a step; the 7 hours without the run do not count, nor the step that was compiled.
    np.testing.assert_allclose(history.at(steps, "hours"), [0, 0.99, 1.99, 2.98])


def test_validation_puzzles_come_before_the_test_set(tmp_path: Path):
    run = make_run(tmp_path / "run", 0, 0.6)
    text = (run / "metrics.jsonl").read_text().rpartition("\n")[0]
    line = {"step": 300, "validation/all/exact_accuracy": 0.125}
    (run / "metrics.jsonl").write_text(text + "\n" + json.dumps(line) + "\n")
    (drawn,) = make_panels([read_history(run)])[-1].lines
    np.testing.assert_array_equal(drawn.mean, [0.125])


@pytest.mark.slow
def test_pictures_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    runs = [make_run(tmp_path / f"plain-seed-{i}", i, 0.5 + i / 10) for i in range(2)]
    runs += [make_run(tmp_path / "<other> & more", 0, 0.3, lr=1e-3)]
    for ending, begins in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".html", b"<!doctype html>")):
        out = tmp_path / f"curves{ending}"
        code, said, err = run_trm(capsys, "plot", *runs, "-o", out, "--x", "hours")
        assert (code, said) == (0, f"{out}: 3 runs, 3 panels\n"), err
        assert out.read_bytes().startswith(begins)
    page = read_page((tmp_path / "curves.html").read_text())
    texts = [text.strip() for text in page.texts]
    # In each of three panels, and in the table.
    assert texts.count("plain, 2 seeds") == texts.count("<other> & more") == 6
    assert "exact accuracy, evaluations" in texts
    asked = [attributes.get(name) for _, attributes in page.tags for name in ("src", "href")]
    assert all(value.startswith("#") for value in asked if value)
    assert "url(http" not in (tmp_path / "curves.html").read_text()


def test_labels_do_not_overlap(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    runs = [make_run(tmp_path / f"run {i}", 0, 0.5 + i / 1000, lr=1e-3 * (i + 1)) for i in range(8)]
    svg = draw(make_panels([read_history(run) for run in runs], ["all/exact_accuracy"]), "steps", ".svg").decode()
    heights = {}
    for part in svg.split("<text")[1:]:
        name = part.partition(">")[2].partition("<")[0]
        if name.startswith("run "):
            heights[name] = float(part.partition(' y="')[2].partition('"')[0])
    assert len(heights) == 8
    ordered = [heights[f"run {i}"] for i in reversed(range(8))]
    assert min(np.diff(ordered)) >= 9


def test_labels_are_shown_as_they_are(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    panels = make_panels([read_history(make_run(tmp_path / "a $x^2$ b", 0, 0.5))], ["all/exact_accuracy"])
    assert ">a $x^2$ b</text>" in draw(panels, "steps", ".svg").decode()


def test_paths_of_both_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Experiments with the same name are told apart by their folders, however these are given."""
    monkeypatch.chdir(tmp_path)
    places = [("a", 1e-4), ("b", 1e-3)]
    runs = [make_run(tmp_path / folder / f"x-{i}", i, 0.5, lr=lr) for folder, lr in places for i in range(2)]
    given = [run if i % 2 else run.relative_to(tmp_path) for i, run in enumerate(runs)]
    (panel,) = make_panels([read_history(run) for run in given], ["all/exact_accuracy"])
    assert [line.label for line in panel.lines] == [f"{tmp_path}/{folder}, 2 seeds" for folder, _ in places]


def test_the_folder_of_a_sweep_stands_for_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture):
    for seed in range(2):
        make_run(tmp_path / "sweep" / f"lr-{seed}", seed, 0.5)
    (tmp_path / "sweep" / "notes").mkdir()
    alone = make_run(tmp_path / "alone", 0, 0.25, lr=1e-3)
    out = tmp_path / "curves.svg"
    code, printed, _ = run_trm(capsys, "plot", tmp_path / "sweep", alone, tmp_path / "sweep" / "lr-0", "-o", out)
    assert (code, printed) == (0, f"{out}: 3 runs, 3 panels\n")


def test_small_numbers_in_the_table():
    line = Line("run", *(np.array([value]) for value in (1.0, 3e-5, 1.25e-6)), place=0)
    page = make_page(b"<svg></svg>", [Panel("learning rate", [line]), Panel("loss", [line._replace(mean=line.x)])], "")
    assert "<td>3e-05 ± 1.25e-06</td>" in page
    assert "<td>1.0000 ± 1.25e-06</td>" in page


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    run = make_run(tmp_path / "run", 0, 0.6)
    (tmp_path / "empty").mkdir()
    check_mistake(capsys, ["plot", str(tmp_path / "empty")], f"{tmp_path / 'empty'}: found no config.toml")
    check_mistake(capsys, ["plot", str(run), "-o", "curves.pdf"], "--out: found 'curves.pdf', expected a name that")
    out = str(tmp_path / "curves.svg")
    check_mistake(
        capsys, ["plot", str(run), "-o", out, "--metric", "speed"], "found no metric 'speed', expected one of"
    )
    for text in ("", '{"step": 1, "tr', "[1]\n5\n"):
        (run / "metrics.jsonl").write_text(text)
        check_mistake(capsys, ["plot", str(run)], f"{run / 'metrics.jsonl'}: found no metrics")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"metrics\.jsonl: cannot read: No such file"):
        read_history(run)
