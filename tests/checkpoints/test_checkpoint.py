"""Checkpoints: saved and loaded bit for bit; damaged and unfitting files are errors."""

import json
import os
from contextlib import suppress
from pathlib import Path

import equinox as eqx
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from conftest import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from trm.checkpoints.describe import describe
from trm.checkpoints.description import Description
from trm.checkpoints.format import load_weights, save
from trm.errors import InputError
from trm.model.weights import Weights
from trm.parallel.mesh import make_mesh
from trm.puzzles.kinds.sudoku.build import metadata_of
from trm.storage.safetensors import read_safetensors, write_safetensors
from trm.training.state import TrainState, load_state, make_state, save_state, trained_weights

METADATA = metadata_of(20, 4)
CONFIG = tiny_config(model={"forward_dtype": "bfloat16"})
BEST = {"score": 0.5, "step": 2.0, "evaluations_since": 1.0}
DESCRIPTION = Description("checkpoint", CONFIG, METADATA, 3, best=BEST, identity={"identifiers": "ab"})


@pytest.fixture(scope="module")
def state() -> TrainState:
    return make_state(CONFIG, METADATA, make_mesh(1))


@pytest.fixture
def checkpoint(state: TrainState, tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    save_state(path, state, DESCRIPTION)
    return path


def assert_same_tree(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_array_equal(x, y)


def test_state_round_trip(state: TrainState, checkpoint: Path):
    loaded, description = load_state(checkpoint)
    assert_same_tree(loaded, state)
    assert jax.tree.leaves(loaded.carry.latents)[0].dtype == ml_dtypes.bfloat16
    assert (description.kind, description.step, description.config) == ("checkpoint", 3, CONFIG)
    assert description.metadata == METADATA
    assert description == DESCRIPTION
    assert description.versions["jax"] == jax.__version__


def test_weights_round_trip(state: TrainState, checkpoint: Path, tmp_path: Path):
    weights = trained_weights(state)
    path = tmp_path / "weights.safetensors"
    save(path, weights, DESCRIPTION.of_weights())
    loaded, description = load_weights(path)
    assert_same_tree(loaded, weights)
    assert description.kind == "weights"
    assert_same_tree(load_weights(checkpoint)[0], weights)
    with pytest.raises(InputError, match="found only weights, expected a checkpoint that can be resumed"):
        load_state(path)


def test_averaged_and_raw_weights_differ(state: TrainState, tmp_path: Path):
    moved = eqx.tree_at(lambda s: s.model.lm_head, state, state.model.lm_head + 1)
    save_state(tmp_path / "moved.safetensors", moved, DESCRIPTION)
    averaged, raw = (load_weights(tmp_path / "moved.safetensors", averaged=a)[0] for a in (True, False))
    np.testing.assert_array_equal(averaged.model.lm_head, state.model.lm_head)
    np.testing.assert_array_equal(raw.model.lm_head, moved.model.lm_head)


def test_equal_states_make_equal_files(state: TrainState, checkpoint: Path):
    again = checkpoint.with_name("again.safetensors")
    save_state(again, state, DESCRIPTION)
    assert again.read_bytes() == checkpoint.read_bytes()


def test_other_programs_can_read_the_names(state: TrainState, checkpoint: Path):
    """Only numbers that NumPy has: a float32 network's file is plain safetensors."""
    config = tiny_config()
    path = checkpoint.with_name("plain.safetensors")
    save(path, trained_weights(make_state(config, METADATA, make_mesh(1))), Description("weights", config, METADATA, 0))
    arrays = safetensors.numpy.load_file(path)
    assert arrays["model.recursion.network.blocks.0.mlp.down"].shape == (16, 256)
    assert arrays["puzzle_table"].shape == (1, 16)


def test_description_without_loading(checkpoint: Path):
    description, arrays = describe(checkpoint)
    assert description.step == 3
    assert arrays["step"] == ("int32", ())
    assert arrays["carry.halted"] == ("bool", (8,))
    assert arrays["model.recursion.initial.z_H"] == ("bfloat16", (16,))


def rewrite(path: Path, change) -> None:
    arrays, text = read_safetensors(path)
    description = json.loads(text["trm"])
    # Without checksums, or the change itself would be what is found.
    description["arrays"] = {}
    del description["checksum"]
    change(arrays, description)
    write_safetensors(path, arrays, {"trm": json.dumps(description)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, m: a.pop("model.lm_head"), "model.lm_head: missing"),
        (lambda a, m: a.update(extra=np.zeros(2, np.float32)), "extra: found an array that a model of the file"),
        (lambda a, m: a.update(step=np.zeros(1, np.int32)), "step: found int32 (1,), expected int32 ()"),
        (lambda a, m: a.update(step=np.zeros((), np.float32)), "step: found float32 (), expected int32 ()"),
        (lambda a, m: m.clear(), "format: found None, expected 'trm 3'"),
        (lambda a, m: m.update(format="trm 99"), "format: found 'trm 99', expected 'trm 3'"),
        (lambda a, m: m.update(kind="sausage"), "kind: found 'sausage', expected one of checkpoint, weights"),
        (lambda a, m: m.update(config={"model": 3}), "model: found 3, expected a table"),
        (lambda a, m: m.update(puzzle_set={"pad_id": 0}), "puzzle_set: ignore_label_id: missing"),
        (lambda a, m: m["puzzle_set"].update(seq_len="x"), "puzzle_set: seq_len: found 'x', expected int"),
        (lambda a, m: m.update(step="a"), "step: found 'a', expected int"),
        (lambda a, m: m.update(versions=3), "versions: found 3, expected dict"),
        (lambda a, m: m.update(skipped=3), "skipped: found 3, expected a list of steps"),
        (lambda a, m: m.update(skipped=[True]), "skipped: found [True], expected a list of steps"),
        (lambda a, m: m.pop("step"), "metadata: found 'step'"),
        (
            lambda a, m: m["config"]["model"].update(hidden_siez=3),
            "model.hidden_siez: unknown key, did you mean 'hidden_size'?",
        ),
        (lambda a, m: m["config"]["model"].update(L_layers=2), "blocks.1.mixer.attention.qkv: missing"),
    ],
)
def test_files_that_do_not_fit_are_refused(checkpoint: Path, change, message: str):
    rewrite(checkpoint, change)
    with pytest.raises(InputError) as caught:
        load_state(checkpoint)
    assert message in str(caught.value)
    assert str(checkpoint) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_files_are_refused(checkpoint: Path, tmp_path: Path):
    data = checkpoint.read_bytes()
    # A header that claims to be as large as memory, a cut file, no file, a folder, something else altogether.
    broken = {
        "huge": (2**62).to_bytes(8, "little") + data[8:],
        "cut": data[:-5],
        "cut early": data[:100],
        "empty": b"",
        "text": b"x" * 999,
    }
    for name, content in broken.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a whole safetensors file"):
            load_weights(path)
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            load_weights(path)


def test_a_failed_save_keeps_the_old_file(state: TrainState, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    before = checkpoint.read_bytes()

    def disk_full(arrays: dict, path: Path, metadata: dict) -> None:
        path.write_bytes(b"a part")
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", disk_full)
    with pytest.raises(InputError, match=r"cannot write: .*No space left on device"):
        save_state(checkpoint, state, DESCRIPTION)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_links_are_followed_and_devices_kept(state: TrainState, tmp_path: Path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    save_state(tmp_path / "link", state, DESCRIPTION)
    assert (tmp_path / "link").is_symlink()
    load_state(tmp_path / "far" / "file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: cannot write: found a folder or a device"):
        save_state(tmp_path / "pipe", state, DESCRIPTION)
    assert (tmp_path / "pipe").is_fifo()


def test_every_flipped_bit_is_noticed(checkpoint: Path):
    """Header, description, numbers: whatever bit of the file changes, the file is refused."""
    data = bytearray(checkpoint.read_bytes())
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    places = [*range(header, len(data), len(data) // 40), *rng.integers(0, header, 200).tolist()]
    places.append(data.index(b'checksum\\"'))
    unnoticed = []
    for place in places:
        bit = 1 << int(rng.integers(8))
        data[place] ^= bit
        checkpoint.write_bytes(data)
        with suppress(InputError):
            load_state(checkpoint)
            unnoticed.append(place)
        data[place] ^= bit
    # Spaces that fill the header up say nothing.
    assert [place for place in unnoticed if bytes(data[place : place + 1]) != b" "] == []


def test_a_raw_file_is_called_raw(state: TrainState, checkpoint: Path, tmp_path: Path):
    """What is not the average is not refused as the average, and says what it is."""
    weights, description = load_weights(checkpoint, averaged=False)
    raw = tmp_path / "raw.safetensors"
    save(raw, weights, description.of_weights(averaged=False))
    loaded, described = load_weights(raw, averaged=False)
    assert described.averaged is False
    assert_same_tree(loaded, weights)
    average = tmp_path / "average.safetensors"
    save(average, weights, description.of_weights())
    with pytest.raises(InputError, match="found only the moving average"):
        load_weights(average, averaged=False)


def test_a_header_that_claims_ten_million_layers(checkpoint: Path):
    rewrite(checkpoint, lambda arrays, m: m["config"]["model"].update(L_layers=10_000_000))
    for load in (load_weights, load_state):
        with pytest.raises(InputError, match="expected those of 10000000 layers"):
            load(checkpoint)


@settings(max_examples=25, deadline=None)
@given(
    arrays=st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from([np.float32, np.int32, bool, ml_dtypes.bfloat16]), st.lists(st.integers(0, 3), max_size=3)
        ),
        min_size=1,
        max_size=4,
    ),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_any_arrays_survive(arrays: dict, metadata: dict, tmp_path_factory: pytest.TempPathFactory):
    rng = np.random.default_rng(0)
    named = {name: rng.integers(0, 100, shape).astype(dtype) for name, (dtype, shape) in arrays.items()}
    path = tmp_path_factory.mktemp("any") / "file.safetensors"
    write_safetensors(path, named, metadata)
    read, text = read_safetensors(path)
    assert text == metadata
    assert read.keys() == named.keys()
    for name, array in named.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()


def test_weights_are_an_argument_of_compiled_functions(state: TrainState):
    """Every leaf is an array: what is static stays in the tree's structure."""
    weights = trained_weights(state)
    doubled = jax.jit(lambda weights: jax.tree.map(lambda leaf: leaf + leaf, weights))(weights)
    assert isinstance(doubled, Weights)
    for found, leaf in zip(jax.tree.leaves(doubled), jax.tree.leaves(weights), strict=True):
        np.testing.assert_array_equal(found, 2 * np.asarray(leaf))
