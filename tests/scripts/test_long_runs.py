"""The scripts that watch long runs: kills at random moments, and the soak; both short."""

import json
from pathlib import Path
from xml.etree import ElementTree

import kill_many
import pytest
import soak
from conftest import tiny_config
from records import read_records
from soak import Sample, judge, summarise

from trm.parallel.mesh import make_mesh
from trm.training.run import train


@pytest.mark.slow
@pytest.mark.processes
def test_kills_at_random_moments(tmp_path: Path):
    records = tmp_path / "kills.jsonl"
    kill_many.main(tmp_path / "out", kills=4, steps=300, seconds=2.0, seed=1, json_out=records)
    (record,) = read_records(records)
    assert (record.figures["kills"], record.figures["differences"]) == (4, 0)


@pytest.mark.slow
def test_two_runs_that_differ_are_told_apart(puzzle_dir: Path, tmp_path: Path):
    config = tiny_config(data={"path": str(puzzle_dir)})
    for name in ("one", "other"):
        train(config, tmp_path / name, make_mesh(1))
    one, other = tmp_path / "one", tmp_path / "other"
    assert kill_many.compare(one, other) == []
    path = one / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], *lines[6:]]))
    best = bytearray((one / "best.safetensors").read_bytes())
    best[-1] ^= 1
    (one / "best.safetensors").write_bytes(best)
    (one / "checkpoints" / ".step_9.safetensors.1.tmp").touch()
    assert kill_many.compare(one, other) == [
        "best.safetensors",
        "metrics.jsonl",
        "leftovers .step_9.safetensors.1.tmp",
    ]


def samples(memory: list[float], files: list[int]) -> list[Sample]:
    return [
        Sample(100 * i, 60.0 * i, mb, count, 9, 300 * 100 * i, 80 * i)
        for i, (mb, count) in enumerate(zip(memory, files, strict=True), 1)
    ]


def test_what_grows_is_told():
    flat = summarise(samples([500.0] + [600.0] * 19, [12] * 20), 2000)
    assert flat["memory_growth"] == 0
    assert flat["metrics_bytes_per_step"] == 300
    assert flat["log_bytes_per_minute"] == 80
    assert judge(flat) == []
    growing = summarise(samples([600.0 + 5 * i for i in range(20)], list(range(20))), 2000)
    # From the second sample, at 605 MB, to the last.
    assert growing["memory_growth"] == pytest.approx(695 / 605 - 1)
    assert judge(growing) == ["memory grew by 14.9%", "files: 1 after the warm-up, 19 at the end"]


@pytest.mark.slow
def test_a_short_soak(tmp_path: Path):
    records, plot = tmp_path / "soak.jsonl", tmp_path / "soak.svg"
    pytest.importorskip("matplotlib")
    soak.main(tmp_path / "out", steps=400, eval_steps=100, checkpoint_steps=20, plot=plot, json_out=records)
    (record,) = read_records(records)
    lines = [json.loads(line) for line in (tmp_path / "out" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len([line for line in lines if "train/lm_loss" in line]) == 400
    assert record.case == {"steps": 400, "evaluations": 4, "checkpoints": 20}
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
