"""The plan for many devices: collectives and tables by hand-computed numbers, programs compiled for 1 to 4 devices."""

import subprocess
import sys
from pathlib import Path

import plan_scale
import pytest
from benchmark.hlo import Collective, collectives, parse
from benchmark.memory import similar_metadata
from conftest import tiny_config
from records import read_records
from scale.loading import time_slice
from scale.networks import NCCL, NETWORKS, Network, Way
from scale.predict import loader_cores, predict_step, predict_table
from scale.programs import count_exchange, shared_batch, with_batch

from trm.errors import InputError
from trm.model.reasoner import count_parameters
from trm.parallel.mesh import make_mesh
from trm.puzzles.reading import read_puzzle_set
from trm.training.state import abstract_state

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
NO_LATENCY = Network("", 4, 100, 50, (Way("ring", 0, 0, 0, 1), Way("tree", 0, 0, 0, 1)))
"""Four devices a host, 100 GB/s inside, 50 GB/s for the whole host."""
PROGRAM = """\
HloModule step

%body (state: (s32[], f32[100])) -> (s32[], f32[100]) {
  %state = (s32[], f32[100]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %part = f32[100]{0} get-tuple-element(%state), index=1
  %sum = f32[100]{0} all-reduce(%part), replica_groups={{0,1}}, to_apply=%add
  ROOT %next = (s32[], f32[100]{0}) tuple(%i, %sum)
}

%inner (p: s32[3,513]) -> s32[6,513] {
  %p = s32[3,513]{1,0} parameter(0)
  ROOT %all = s32[6,513]{1,0} all-gather(%p), replica_groups={{0,1}}, dimensions={0}
}

ENTRY %main (s: (s32[], f32[100]), p: s32[3,513], q: pred[3]) -> s32[6,513] {
  %s = (s32[], f32[100]{0}) parameter(0)
  %p = s32[3,513]{1,0} parameter(1)
  %loop = (s32[], f32[100]{0}) while(%s), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %q = pred[3]{0} parameter(2)
  %halted = (pred[3]{0}, pred[6]{0}) all-gather-start(%q), replica_groups={{0,1}}, dimensions={0}
  %done = pred[6]{0} all-gather-done(%halted)
  ROOT %result = s32[6,513]{1,0} call(%p), to_apply=%inner
}
"""


def test_collectives_of_a_program():
    assert list(collectives(*parse(PROGRAM))) == [
        Collective("all-reduce", 7, 4 * 100),
        Collective("all-gather", 1, 6),
        Collective("all-gather", 1, 4 * 6 * 513),
    ]


def test_bytes_of_a_ring():
    """A gigabyte: 2 x 3/4 GB over 100 GB/s in a host of four; 2 x 7/8 GB over the 50 GB/s that join two hosts."""
    assert NO_LATENCY.all_reduce_seconds(10**9, 1) == 0
    assert NO_LATENCY.all_reduce_seconds(10**9, 4) == pytest.approx(0.015)
    assert NO_LATENCY.all_reduce_seconds(10**9, 8) == pytest.approx(0.035)
    assert NO_LATENCY.all_gather_seconds(10**9, 4) == pytest.approx(0.0075)
    # Of a gigabyte, a device gets half from the other host, and so do the three beside it: 2 GB over 50 GB/s.
    assert NO_LATENCY.all_to_all_seconds(10**9, 8) == pytest.approx(0.04)
    assert NO_LATENCY.all_to_all_seconds(10**9, 4) == pytest.approx(0.0075)


def test_latency_of_rings_and_trees():
    """Without bytes only latency is left. Sixteen devices in two hosts: a ring has 14 hops inside and 1 across."""
    (infiniband, *_) = NETWORKS
    ring = infiniband._replace(ways=(Way("ring", 6.6, 0.6, 2.7, 0.5),))
    assert ring.all_gather_seconds(0, 16) == pytest.approx((6.6 + 14 * 0.6 + 2.7) * 1e-6)
    assert ring.all_reduce_seconds(0, 16) == pytest.approx((6.6 + 2 * (14 * 0.6 + 2.7)) * 1e-6)
    # A tree: seven devices after each other in a host, and log2 of the hosts.
    tree = infiniband._replace(ways=(Way("tree", 6.8, 0.6, 5.0, 1 / 3.8),))
    assert tree.all_reduce_seconds(0, 512) == pytest.approx((6.8 + 2 * (7 * 0.6 + 6 * 5.0)) * 1e-6)
    assert infiniband.all_reduce_seconds(0, 512) == tree.all_reduce_seconds(0, 512)
    assert infiniband.ways == NCCL


def test_a_step_on_many_devices():
    """Eight devices in two hosts, two puzzles each; a gigabyte is summed."""
    step = predict_step({2: 0.5, 4: 0.8}, NO_LATENCY, 8, 16, 10**9, row_size=0)
    assert (step.compute_ms, step.all_reduce_ms, step.all_gather_ms) == (500, pytest.approx(35), 0)
    assert step.puzzles_per_second == pytest.approx(16 / 0.535)
    # Alone, a device does best with four puzzles: five in a second.
    assert step.efficiency == pytest.approx(16 / 0.535 / 40)
    assert step.puzzles_per_second_per_host == pytest.approx(16 / 0.535 / 2)


def test_ways_to_hold_a_table():
    """A table of 1,000 rows of 255 numbers: 1,020 bytes a row, 1,024 with the identifier. Sixteen puzzles."""
    everywhere, host, shared = (
        predict_table(layout, NO_LATENCY, 8, 16, 1000, 255) for layout in ("replicated", "host", "all")
    )
    assert everywhere.gb_per_device == pytest.approx(1020e-6)
    assert everywhere.mb_received == pytest.approx(16 * 1024 * 7 / 8 / 1e6)
    # Of its two rows a device looks 3/4 up elsewhere in its host.
    assert host.gb_per_device == pytest.approx(1020e-6 / 4)
    assert host.mb_received == pytest.approx((16 * 1024 * 7 / 8 + 2 * 1024 * 3 / 4) / 1e6)
    # It gets the rows of its two puzzles, and the gradients of two of its own rows.
    assert shared.gb_per_device == pytest.approx(1020e-6 / 8)
    assert shared.mb_received == pytest.approx(2 * 2 * 1024 * 7 / 8 / 1e6)
    assert host.ms > everywhere.ms


def test_cores_that_load():
    assert loader_cores(30_000, 40_000) == 0.75


def test_a_slice_is_timed(puzzle_dir: Path):
    spread = time_slice(read_puzzle_set(puzzle_dir, "train"), host_batch=4, hosts=2, repeats=3, steps=2)
    assert spread["n"] == 3
    assert 0 < spread["min"] <= spread["median"] <= spread["max"]


def test_batches_that_devices_can_share():
    assert [shared_batch(768, devices) for devices in (8, 64, 512)] == [768, 768, 1024]


@pytest.mark.slow
def test_the_exchange_does_not_grow_with_the_devices():
    """One sum of the gradients and a few metrics, and one gather of as many rows as the batch has puzzles."""
    config = with_batch(tiny_config(), 8)
    metadata = similar_metadata(config, 1000)
    parameters = count_parameters(abstract_state(config, metadata).model)
    two, four = (count_exchange(config, metadata, make_mesh(devices)) for devices in (2, 4))
    assert two[:-1] == four[:-1]
    assert two.collectives == 2
    assert two.other_bytes == 0
    assert 0 < two.all_reduce_bytes // 4 - parameters < 20
    assert two.all_gather_bytes == 8 * 4 * (config.model.row_size + 1)


@pytest.mark.slow
@pytest.mark.processes
def test_the_command(tmp_path: Path):
    """As a program of its own: for eight devices, more than the tests have. No recorded step is of this network."""
    out, tiny = tmp_path / "scale.jsonl", tmp_path / "tiny.toml"
    tiny.write_text(
        'base = "sudoku_mlp"\n[model]\nhidden_size = 16\nnum_heads = 2\nL_layers = 1\nH_cycles = 1\nL_cycles = 1\n'
    )
    command = [sys.executable, SCRIPTS / "plan_scale.py", tiny, "--devices", "2", "--devices", "8", "--json", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = read_records(out)
    programs = [record for record in records if record.benchmark == "scale-program"]
    assert [record.case for record in programs] == [{"devices": n, "batch_size": 768} for n in (2, 8)]
    assert [record.figures["collectives"] for record in programs] == [2, 2]
    assert {record.benchmark for record in records} == {"scale-program", "scale-network", "scale-table"}


def test_a_program_without_a_record():
    with pytest.raises(InputError, match="found no record of quickstart, expected one of sudoku_mlp, "):
        plan_scale.main(configs=["quickstart"], compiled=False)


def test_the_records_follow_from_the_recorded_steps(tmp_path: Path, capsys: pytest.CaptureFixture):
    """The predictions of the README are those of today's records of steps, programs and loaders."""
    out = tmp_path / "scale.jsonl"
    plan_scale.main(compiled=False, json_out=out)

    def figures(path: Path) -> dict:
        return {
            (record.benchmark, record.config, *record.case.values()): record.figures for record in read_records(path)
        }

    computed, recorded = figures(out), figures(SCRIPTS / "results" / "scale.jsonl")
    assert {benchmark for benchmark, *_ in computed} == {
        f"scale-{name}" for name in ("network", "speed", "table", "loader")
    }
    for key, values in computed.items():
        assert values == pytest.approx(recorded[key]), key
