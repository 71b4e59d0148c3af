"""Starting from weights: the network as it was, puzzle embeddings by number or by name."""

import dataclasses
import json
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from conftest import check_mistake, run_trm, tiny_config

from trm.checkpoints.description import Description
from trm.checkpoints.format import load_weights, save
from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.weights import Weights
from trm.parallel.mesh import fetch, make_mesh
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.identifiers import read_shared_identifiers
from trm.puzzles.metadata import Metadata
from trm.puzzles.reading import read_puzzle_set
from trm.puzzles.writing import write_puzzle_set
from trm.training.start_from import WarmStart, fit_rows, map_rows, start_from
from trm.training.state import make_state

OLD, NEW = ["<blank>", "apple", "pear", "plum"], ["<blank>", "plum", "cherry", "apple", "fig"]


def write_set(directory: Path, names: list[str]) -> Metadata:
    tokens = np.random.default_rng(0).integers(1, 6, size=(2 * len(names), 16))
    identifiers = np.arange(2 * len(names)) % len(names)
    split = PuzzleSet.from_arrays(tokens, tokens, 6, puzzle_identifiers=identifiers)
    write_puzzle_set(directory, {"train": split, "test": split}, names)
    return read_puzzle_set(directory, "train").metadata


def make_weights(config: Config, metadata: Metadata) -> Weights:
    state = fetch(make_state(config, metadata, make_mesh(1)))
    table = np.random.default_rng(1).normal(size=state.puzzle_table.shape).astype(np.float32)
    return Weights(eqx.tree_at(lambda m: m.lm_head, state.model, state.model.lm_head + 1), table)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Weights]:
    """Return the file of weights that know the old names, and what is in it."""
    metadata = write_set(tmp_path / "old", OLD)
    weights = make_weights(tiny_config(), metadata)
    save(tmp_path / "weights.safetensors", weights, Description("weights", tiny_config(), metadata, 5, averaged=True))
    return tmp_path / "weights.safetensors", weights


def test_rows_by_number():
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert fit_rows(table, 3) is table
    np.testing.assert_array_equal(fit_rows(table, 2), [[2, 3], [2, 3]])


def test_rows_by_name():
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    mean = table.mean(axis=0)
    np.testing.assert_array_equal(map_rows(table, OLD, NEW, 5), [table[0], table[3], mean, table[1], mean])
    later = [*NEW, "<blank>", "pear"]
    expected = [table[0], table[3], mean, table[1], mean, mean, table[2], mean]
    np.testing.assert_array_equal(map_rows(table, OLD, later, 8), expected)


def test_names_that_sets_share(tmp_path: Path):
    for directory, names in (("a", NEW), ("b", ["<blank>"] * 5 + ["pear"]), ("c", NEW[:2])):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "identifiers.json").write_text(json.dumps(names))
    shared = [*NEW, "pear"]
    for order in ("ab", "ba", "abc"):
        assert read_shared_identifiers([tmp_path / directory for directory in order]) == shared
    (tmp_path / "c" / "identifiers.json").write_text(json.dumps(OLD))
    with pytest.raises(
        InputError, match=r"c/identifiers\.json: identifier 1: found 'apple', expected 'plum' as in .*a \(--puzzle-id"
    ):
        read_shared_identifiers([tmp_path / directory for directory in "abc"])


@pytest.mark.parametrize("devices", [1, 2])
def test_a_state_begins_with_the_weights(trained: tuple[Path, Weights], devices: int, tmp_path: Path):
    path, weights = trained
    metadata = write_set(tmp_path / "new", NEW)
    mesh = make_mesh(min(devices, len(jax.devices())))
    config = tiny_config(
        data={"path": str(tmp_path / "new")}, model={"forward_dtype": "bfloat16", "H_cycles": 1, "L_cycles": 3}
    )
    fresh = make_state(config, metadata, mesh)
    state = start_from(fresh, WarmStart(path, tmp_path / "old"), config)
    for new, old in zip(jax.tree.leaves(state), jax.tree.leaves(fresh), strict=True):
        assert (new.dtype, new.sharding) == (old.dtype, old.sharding)
    np.testing.assert_array_equal(state.model.lm_head, weights.model.lm_head)
    assert state.ema is not None
    np.testing.assert_array_equal(state.ema.lm_head, weights.model.lm_head)
    np.testing.assert_array_equal(state.puzzle_table[1], weights.puzzle_table[3])
    assert int(state.step) == 0
    np.testing.assert_array_equal(
        state.model.recursion.initial.z_H, weights.model.recursion.initial.z_H.astype(config.model.forward_dtype)
    )
    # Without names: another number of rows, so all are the mean.
    mean = start_from(fresh, WarmStart(path), config).puzzle_table
    np.testing.assert_allclose(mean, np.tile(weights.puzzle_table.mean(axis=0), (5, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"hidden_size": 32}, r"model\.embed_tokens: found \(6, 16\), expected \(6, 32\), as configured"),
        ({"L_layers": 2}, r"model\.recursion\.network\.blocks\.1\S+: found nothing, expected"),
        ({"recursion": "trm_singlez"}, r"model\.recursion\.initial\.z_H: found \(16,\), expected nothing"),
        ({"num_heads": 4}, r"model\.num_heads: found 2, expected 4, as configured"),
        ({"gate": "norm"}, r"model\.gate: found 'silu', expected 'norm'"),
        ({"rope_theta": 7.0}, r"model\.rope_theta: found 10000\.0, expected 7\.0"),
        ({"puzzle_emb_len": 3}, r"model\.prefix_len: found 2, expected 3"),
        ({"puzzle_emb_ndim": 8}, r"puzzle_table: found rows of 16 numbers, expected 8 \(model\.puzzle_emb_ndim\)"),
    ],
)
def test_weights_of_another_model(trained: tuple[Path, Weights], model: dict, says: str, tmp_path: Path):
    metadata = write_set(tmp_path / "new", NEW)
    config = tiny_config(data={"path": str(tmp_path / "new")}, model=model)
    state = make_state(config, metadata, make_mesh(1))
    with pytest.raises(InputError, match=says):
        start_from(state, WarmStart(trained[0]), config)


def test_another_recursion_of_the_same_arrays_is_told(trained: tuple[Path, Weights], tmp_path: Path):
    metadata = write_set(tmp_path / "new", NEW)
    config = tiny_config(data={"path": str(tmp_path / "new")}, model={"recursion": "equilibrium", "damping": 0.5})
    notes: list[str] = []
    state = start_from(make_state(config, metadata, make_mesh(1)), WarmStart(trained[0]), config, on_note=notes.append)
    np.testing.assert_array_equal(state.model.lm_head, trained[1].model.lm_head)
    assert notes == [
        f"{trained[0]}: model.recursion: found 'trm'; this run trains the weights with 'equilibrium'",
        f"{trained[0]}: model.damping: found 0.0; this run trains the weights with 0.5",
    ]


def test_names_of_another_set(trained: tuple[Path, Weights], tmp_path: Path):
    metadata = write_set(tmp_path / "new", NEW)
    config = tiny_config(data={"path": str(tmp_path / "new")})
    state = make_state(config, metadata, make_mesh(1))
    with pytest.raises(InputError, match=r"new/identifiers\.json: found 5 names, expected 4, one for each puzzle row"):
        start_from(state, WarmStart(trained[0], tmp_path / "new"), config)


@pytest.mark.slow
def test_fine_tuning_in_the_published_order(
    trained: tuple[Path, Weights], tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Embeddings first, then everything, through the command line."""
    write_set(tmp_path / "new", NEW)
    base = tiny_config(data={"path": str(tmp_path / "new")})
    first = dataclasses.replace(base, optimizer=dataclasses.replace(base.optimizer, freeze_weights=True, ema=False))
    for name, config in (("embeddings", first), ("all", base)):
        (tmp_path / f"{name}.toml").write_text(config_to_toml(config))
    runs = {name: tmp_path / "runs" / name for name in ("embeddings", "all")}
    init = ["--init", trained[0], "--init-data", tmp_path / "old"]
    code, out, err = run_trm(capsys, "train", tmp_path / "embeddings.toml", "-o", runs["embeddings"], *init)
    assert code == 0, err
    assert f"starting from {trained[0]}" in out
    half_way, _ = load_weights(runs["embeddings"] / "weights.safetensors")
    for a, b in zip(jax.tree.leaves(half_way.model), jax.tree.leaves(trained[1].model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (half_way.puzzle_table[1] != trained[1].puzzle_table[3]).any()
    init = ["--init", runs["embeddings"] / "weights.safetensors"]
    code, _, err = run_trm(capsys, "train", tmp_path / "all.toml", "-o", runs["all"], *init)
    assert code == 0, err
    tuned, _ = load_weights(runs["all"] / "weights.safetensors")
    assert (tuned.model.lm_head != half_way.model.lm_head).any()
    lines = [json.loads(line) for line in (runs["all"] / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 1


def test_names_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture):
    check_mistake(capsys, ["train", "sudoku_mlp", "--init-data", str(tmp_path)], "--init-data: found without --init")
