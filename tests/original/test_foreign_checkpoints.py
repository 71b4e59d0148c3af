"""Checkpoints as programs derived from the original write them, given to every command unchanged.

Each file holds the same weights in another layout, so that the arrays read can be compared with those written.
"""

import dataclasses
import gzip
import itertools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import yaml
from conftest import check_mistake, run_trm, tiny_config

import trm
from trm.configuration.reading import config_to_toml
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.weights import Weights, abstract_weights
from trm.original.convert import import_weights
from trm.original.files import open_tensors
from trm.original.names import bare_name, choose
from trm.original.settings import flatten_settings, read_settings, settings_from_config
from trm.original.state_dict import PUZZLE_TABLE, to_state_dict
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.writing import write_puzzle_set
from trm.storage.safetensors import write_safetensors

Tensors = dict[str, np.ndarray]
METADATA = sudoku_build.metadata_of(20, 4)
MLP = {"mixer": "mlp", "positions": "none", "expansion": 20.0, "forward_dtype": "bfloat16"}
CONFIG = tiny_config(model=MLP)


def make_weights(config: Config = CONFIG, rows: int = 1, seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    like = abstract_weights(config.model, METADATA.vocab_size, METADATA.seq_len, rows)
    return jax.tree.map(lambda leaf: (0.3 * rng.normal(size=leaf.shape)).astype(leaf.dtype), like)


WEIGHTS = make_weights()
TENSORS = to_state_dict(WEIGHTS)
BARE = {name.removeprefix("inner."): tensor for name, tensor in TENSORS.items()}


def settings_of(config: Config = CONFIG, **changes: Any) -> dict[str, Any]:
    """Return what the original writes into all_config.yaml."""
    arch = settings_from_config(config) | {"name": "recursive_reasoning.trm@TRM"}
    arch |= {"loss": {"loss_type": config.loss.type}}
    return {"arch": arch | changes.pop("arch", {}), "ema": True, "lr": 1e-4, "global_batch_size": 8} | changes


def write(path: Path, tensors: Mapping[str, Any], settings: dict | None = None, name: str = "all_config.yaml") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    elif path.suffix == ".safetensors":
        write_safetensors(path, tensors, {"format": "pt"})
    else:
        torch = pytest.importorskip("torch")
        torch.save(as_torch(tensors), path)
    if settings is not None:
        (path.parent / name).write_text(yaml.dump(settings))
    return path


def as_torch(value: Any) -> Any:
    torch = pytest.importorskip("torch")
    if isinstance(value, np.ndarray):
        if value.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(value.view(np.int16).copy()).view(torch.bfloat16)
        return torch.from_numpy(np.array(value))
    if isinstance(value, list):
        return [as_torch(item) for item in value]
    return {key: as_torch(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def check_same(found: Weights, expected: Weights = WEIGHTS, places: int | None = None) -> None:
    for (path, a), b in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):
        assert a.dtype == b.dtype, path
        if places is None:
            np.testing.assert_array_equal(a, b, err_msg=str(path))
        else:
            np.testing.assert_allclose(a.astype(np.float32), b.astype(np.float32), rtol=10.0**-places, atol=1e-7)


# Prefixes


def test_every_nesting_of_prefixes(tmp_path: Path):
    parts = ["module", "_orig_mod", "model", "inner"]
    prefixes = [p for n in range(5) for p in itertools.permutations(parts, n)] + [("model", "_orig_mod", "model")]
    assert len(prefixes) == 66
    for prefix in prefixes:
        names = [".".join((*prefix, name)) for name in BARE]
        chosen = choose(names)
        assert {key: name.removeprefix(".".join((*prefix, ""))) for key, name in chosen.places.items()} == {
            f"inner.{name}": name for name in BARE
        }, prefix
        assert (chosen.averaged, chosen.extras) == (None, ())
    # Parts that are compiled or sharded by themselves.
    assert bare_name("model.inner.L_level._orig_mod.layers.0.module.mlp.down_proj.weight") == (
        "",
        "inner.L_level.layers.0.mlp.down_proj.weight",
    )
    for prefix in ("", "module.", "_orig_mod.module.model."):
        path = write(tmp_path / "m.safetensors", {prefix + name: t for name, t in BARE.items()}, settings_of())
        check_same(trm.load(path).weights)


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt", "", ".safetensors", ".npz"])
def test_every_kind_of_file(ending: str, tmp_path: Path):
    """Also under the name of another kind: the content decides."""
    path = write(tmp_path / f"step_12{ending}", {f"model.{name}": t for name, t in TENSORS.items()}, settings_of())
    model = trm.load(path)
    check_same(model.weights)
    assert (model.description.step, model.description.averaged) == (12, True)
    assert model.config.model == dataclasses.replace(CONFIG.model, puzzle_emb_ndim=16)
    assert model.kind.name == "sudoku"
    renamed = path.rename(tmp_path / "weights.pt")
    check_same(trm.load(renamed).weights)


DTYPES = {"float16": 3, "bfloat16": 2, "float64": None}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pt"])
def test_other_precisions(dtype: str, ending: str, tmp_path: Path):
    """With the settings and without: the initial latents show the compute dtype, whatever they are stored as."""
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    tensors = {name: tensor.astype(kind) for name, tensor in TENSORS.items()}
    path = write(tmp_path / f"a{ending}", tensors, settings_of())
    check_same(trm.load(path).weights, places=DTYPES[dtype])
    known = dataclasses.asdict(CONFIG.model)
    assert import_weights(path, known=known).description.config.model.forward_dtype == "bfloat16"


# Containers and moving averages


OTHER = to_state_dict(make_weights(seed=1))


def trained(tensors: Tensors) -> Tensors:
    """Return what a moving average of the original holds: the parameters, not the buffers."""
    return {name: t for name, t in tensors.items() if not re.search(r"_init$|puzzle_emb", name)}


CONTAINERS: dict[str, Callable[[], dict[str, Any]]] = {
    # As locuslab/EqR saves it, and forks of the original.
    "model, ema.shadow": lambda: {
        "step": 7,
        "total_steps": 9,
        "model": {f"_orig_mod.model.{n}": t for n, t in OTHER.items()},
        "optimizers": [{"state": {"0": {"exp_avg": OTHER[PUZZLE_TABLE]}}, "param_groups": [{"lr": 1e-4}]}],
        "ema": {"mu": 0.999, "shadow": {f"model.{n}": t for n, t in trained(TENSORS).items()}},
    },
    "model_state_dict, ema_state_dict": lambda: {
        "model_state_dict": {f"module.{n}": t for n, t in OTHER.items()},
        "ema_state_dict": {f"module.{n}": t for n, t in trained(TENSORS).items()},
        "optimizer_state_dict": {"state": {}},
    },
    "state_dict, model_ema": lambda: {"state_dict": OTHER, "model_ema": trained(TENSORS), "epoch": 3},
    "flat, ema_model": lambda: (
        {f"online_model.{n}": t for n, t in OTHER.items()}
        | {f"ema_model.module.{n}": t for n, t in trained(TENSORS).items()}
    ),
    "shadow beside the names": lambda: OTHER | {f"shadow.{n}": t for n, t in trained(TENSORS).items()},
}


@pytest.mark.parametrize("layout", CONTAINERS)
def test_the_moving_average_is_taken(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """What it does not hold, because it is not trained, comes from the weights beside it; --raw takes those alone."""
    path = write(tmp_path / "c.pt", CONTAINERS[layout](), settings_of())
    expected = OTHER | trained(TENSORS)
    model = trm.load(path)
    found = to_state_dict(model.weights)
    assert {name: t.tobytes() for name, t in found.items()} == {n: expected[n].tobytes() for n in found}
    assert len(found) == len(expected)
    assert model.description.averaged is True
    assert any("the moving average of the weights is taken" in line for line in model.notes)
    raw = trm.load(path, averaged=False)
    check_same(raw.weights, make_weights(seed=1))
    assert raw.description.averaged is False
    assert model.description.step == (7 if "shadow" in layout and "model," in layout else 0)


def test_a_model_that_is_there_alone(tmp_path: Path):
    """A file with one model: the setting `ema` says whether it is an average; without the setting it is none."""
    for ema, averaged in ((True, True), (False, False), (None, False)):
        settings = settings_of(ema=ema)
        if ema is None:
            del settings["ema"]
        path = write(tmp_path / "step_1.safetensors", TENSORS, settings)
        model = trm.load(path)
        assert (model.description.averaged, model.config.optimizer.ema) == (averaged, averaged)
    with pytest.raises(InputError, match=r"step_1\.safetensors: found only the moving average, expected a checkpoint"):
        trm.load(write(tmp_path / "step_1.safetensors", TENSORS, settings_of()), averaged=False)


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    more = {
        "inner.extra_head.weight": np.ones((3, 3), np.float32),
        "decoder.bias": np.ones(2, np.float32),
        "score": 0.5,
    }
    local = {"inner.puzzle_emb.local_weights": np.ones((8, 16), np.float32)}
    path = write(tmp_path / "step_3", TENSORS | more | local, settings_of())
    code, _, err = run_trm(capsys, "info", path)
    assert code == 0
    assert "not part of the model, left out: inner.extra_head.weight, decoder.bias, score" in err
    assert "local_weights" not in err
    check_same(trm.load(path).weights)
    # Not what a network computes with.
    tensors = TENSORS | {"inner.L_level.layers.0.mlp.dwconv.weight": np.ones((3, 3), np.float32)}
    with pytest.raises(InputError, match=r"dwconv\.weight: found a tensor of shape \(3, 3\), expected none: no key of"):
        trm.load(write(tmp_path / "step_3", tensors, settings_of()))


def test_a_number_among_the_tensors(tmp_path: Path):
    """Beside the model it is left out; in the place of a tensor it is the one that is named."""
    tensors = TENSORS | {"inner.q_head.bias": 5}
    with pytest.raises(InputError, match=r"step_3: inner\.q_head\.bias: found 5, expected a tensor$"):
        trm.load(write(tmp_path / "step_3", tensors, settings_of()))
    check_same(trm.load(write(tmp_path / "step_3", TENSORS | {"epoch": 5}, settings_of())).weights)


def test_two_models_in_a_file(tmp_path: Path):
    tensors = {f"{name}.{n}": t for name in ("teacher", "student") for n, t in TENSORS.items()}
    with pytest.raises(InputError, match=r"found the models student, teacher, expected one \(and its moving average\)"):
        trm.load(write(tmp_path / "a.safetensors", tensors, settings_of()))
    twice = TENSORS | {f"model.{n}": t for n, t in TENSORS.items()}
    check_same(trm.load(write(tmp_path / "a.safetensors", twice, settings_of())).weights)
    twice["model.inner.q_head.bias"] = twice["model.inner.q_head.bias"] + 1
    with pytest.raises(InputError, match=r"q_head\.bias: found it as inner\.q_head\.bias and as model\.inner"):
        trm.load(write(tmp_path / "a.safetensors", twice, settings_of()))


def test_numpy_beside_the_tensors(tmp_path: Path):
    """Random states and metrics of a training; other objects are refused, and not made."""
    torch = pytest.importorskip("torch")
    content = {"model": as_torch(TENSORS), "numpy": np.random.RandomState(0).get_state(), "loss": np.float64(0.5)}
    torch.save(content | {"python": (3, (1, 2), None)}, tmp_path / "a.pth")
    (tmp_path / "all_config.yaml").write_text(yaml.dump(settings_of()))
    check_same(trm.load(tmp_path / "a.pth").weights)
    torch.save(content | {"carry": Path("x")}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"found an object of pathlib\.\w+, expected tensors, numbers and text: save"):
        trm.load(tmp_path / "a.pth")


class FalseType:
    """A type of integers whose state says that they are objects: NumPy would follow them as addresses."""

    def __reduce__(self):
        return np.dtype, ("i8", False, True), (3, "<", None, None, None, -1, -1, 1)


class FalseArray:
    def __reduce__(self):
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (4,), FalseType(), False, b"A" * 32)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.filterwarnings("error")
def test_states_of_numpy_in_a_pickle_are_not_taken(tmp_path: Path):
    """With NumPy's own types Python prints an internal error where the array is freed, which is an error here."""
    torch = pytest.importorskip("torch")
    values = {"w": torch.zeros(1), "array": FalseArray(), "step": np.int64(3), "big": np.dtype(">f4").type(0.5)}
    torch.save(values, tmp_path / "a.pt")
    file = open_tensors(tmp_path / "a.pt")
    assert (file.others["step"], type(file.others["step"]), file.others["big"]) == (3, int, 0.5)
    assert repr(file.others["array"]) == "an array of NumPy of shape (4,)"


def test_the_numbers_of_numpy_in_a_pickle(tmp_path: Path):
    """Each as NumPy itself reads it, in both byte orders."""
    torch = pytest.importorskip("torch")
    numbers = {code: np.dtype(code).type(3) for code in "?bBhHiIlLqQefd"}
    torch.save({"w": torch.zeros(1)} | numbers, tmp_path / "a.pt")
    others = open_tensors(tmp_path / "a.pt").others
    assert others == {code: number.item() for code, number in numbers.items()}


# Settings


@pytest.mark.parametrize(
    "name",
    [
        *("all_config.yaml", "config.yaml", "step_3.yaml", "hparams.yaml", "anything.yml", "../all_config.yaml"),
        *("Config.YAML", "config.json", ".hydra/config.yaml"),
    ],
)
def test_settings_under_any_name(name: str, tmp_path: Path):
    path = write(tmp_path / "run" / "step_3.safetensors", TENSORS)
    (path.parent / "another.yaml").write_text("a: [1, 2]")
    (path.parent / name).parent.mkdir(exist_ok=True)
    (path.parent / name).write_text((json.dumps if name.endswith("json") else yaml.dump)(settings_of()))
    model = trm.load(path)
    assert (model.config.model.H_cycles, model.config.model.L_cycles) == (CONFIG.model.H_cycles, CONFIG.model.L_cycles)
    check_same(model.weights)


def test_numbers_as_text(tmp_path: Path):
    text = """
    lr: 1e-4
    weight_decay: "1.0"
    global_batch_size: "768"
    arch:
      H_cycles: "3"
      hidden_size: 32
      puzzle_emb_ndim: ${.hidden_size}
      rms_norm_eps: 1e-5
      mlp_t: "True"
      pos_encodings: none
      forward_dtype: torch.bfloat16
      loss: {loss_type: stablemax_cross_entropy}
    """
    (tmp_path / "c.yaml").write_text(text)
    settings = read_settings(tmp_path / "c.yaml")
    assert settings | {"arch": 0, "loss": 0} == {
        "lr": 1e-4,
        "weight_decay": 1.0,
        "global_batch_size": 768,
        "H_cycles": 3,
        "hidden_size": 32,
        "puzzle_emb_ndim": 32,
        "rms_norm_eps": 1e-5,
        "mlp_t": True,
        "pos_encodings": "none",
        "forward_dtype": "bfloat16",
        "loss_type": "stablemax_cross_entropy",
        "arch": 0,
        "loss": 0,
    }
    assert type(settings["H_cycles"]) is int
    # YAML reads it as text.
    assert yaml.safe_load(text)["lr"] == "1e-4"


def test_settings_in_the_file(tmp_path: Path):
    path = write(tmp_path / "x.pth", {"model": TENSORS, "config": settings_of()})
    assert trm.load(path).config.model.L_cycles == CONFIG.model.L_cycles
    assert flatten_settings({"a": 1}) is None


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        (
            {"lambda_": 0.95, "noise_scale": 0.01},
            r"lambda_: found 0\.95, expected 1: no key of model\.\* stands for it",
        ),
        ({"use_conv_swiglu": True}, r"use_conv_swiglu: found True, expected False: no key of"),
        ({"attn_gate_type": "headwise"}, r"attn_gate_type: found 'headwise', expected it unset: no key of"),
        ({"mlp_t": False, "pos_encodings": "rope2d"}, r"pos_encodings: found 'rope2d', expected rope, learned or none"),
    ],
)
def test_networks_that_no_configuration_makes(arch: dict, says: str, tmp_path: Path):
    with pytest.raises(InputError, match=says) as caught:
        trm.load(write(tmp_path / "s.safetensors", TENSORS, settings_of(arch=arch)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_that_starts_from_random_latents(tmp_path: Path):
    """As EqR's, whose latents are no tensors."""
    tensors = {name: t for name, t in TENSORS.items() if not name.endswith("_init")}
    with pytest.raises(InputError, match=r"inner\.H_init, inner\.L_init: missing, expected the initial latents"):
        trm.load(write(tmp_path / "s.safetensors", tensors, settings_of()))


# nano-trm


def test_the_layout_of_nano_trm(tmp_path: Path):
    """A checkpoint of Lightning: other names, its own settings, one halting output, and a token more in Sudokus."""
    theirs = {"embed_tokens": "input_embedding", "L_level": "lenet", "H_init": "z_H_init", "L_init": "z_L_init"}
    state = {}
    for name, tensor in BARE.items():
        first, *rest = name.split(".")
        state[".".join((theirs.get(first, first), *rest))] = tensor
    for name in ("input_embedding.embedding_weight", "lm_head.weight"):
        state[name] = np.insert(state[name], 1, 99, axis=0)
    for name in ("q_head.weight", "q_head.bias"):
        state[name] = state[name][:1]
    settings = {
        "hidden_size": 16,
        "num_layers": CONFIG.model.L_layers,
        "num_heads": 2,
        "max_grid_size": 4,
        "H_cycles": 3,
        "L_cycles": 5,
        "N_supervision": 9,
        "ffn_expansion": 20.0,
        "puzzle_emb_dim": 16,
        "puzzle_emb_len": 2,
        "pos_emb_type": None,
        "use_mlp": True,
        "use_conv_swiglu": False,
        "attn_gate_type": None,
        "vocab_size": 7,
        "num_puzzles": 1,
        "seq_len": 16,
        "learning_rate": 2e-4,
    }
    content = {"state_dict": state, "hyper_parameters": settings, "global_step": 40, "pytorch-lightning_version": "2"}
    model = trm.load(write(tmp_path / "last.ckpt", content))
    assert (model.metadata.vocab_size, model.metadata.seq_len, model.kind.name) == (6, 16, "sudoku")
    assert (model.config.model.H_cycles, model.config.model.L_cycles, model.config.halting.halt_max_steps) == (3, 5, 9)
    assert (model.config.optimizer.lr, model.description.step) == (2e-4, 40)
    expected, found = TENSORS, to_state_dict(model.weights)
    for name in expected:
        if "q_head" in name:
            np.testing.assert_array_equal(found[name][0], expected[name][0])
        else:
            np.testing.assert_array_equal(found[name], expected[name])


# Files that are none


def test_files_that_stand_for_others(tmp_path: Path, capsys: pytest.CaptureFixture):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 20000000\n"
    page = "<!DOCTYPE html><html>"
    for content, says in (
        (pointer, "found a git-lfs pointer, expected the file that it stands for"),
        (page, "found a web page, expected the file itself"),
    ):
        for name in ("step_5", "model.safetensors", "model.pt"):
            (tmp_path / name).write_text(content)
            for command in ("info", "solve", "evaluate"):
                check_mistake(capsys, [command, str(tmp_path / name)], says)
            with pytest.raises(InputError, match=says):
                open_tensors(tmp_path / name)


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture):
    for step, seed in ((9, 1), (10, 0)):
        write(tmp_path / "run" / f"step_{step}", to_state_dict(make_weights(seed=seed)), settings_of())
    model = trm.load(tmp_path / "run")
    check_same(model.weights)
    assert model.description.step == 10
    write(tmp_path / "one" / "model.safetensors", TENSORS, settings_of(), "config.yaml")
    write(tmp_path / "one" / "optimizer.pt", TENSORS)
    check_same(trm.load(tmp_path / "one").weights)
    code, out, _ = run_trm(capsys, "info", tmp_path / "one")
    assert code == 0
    assert "inner.lm_head.weight" in out
    write(tmp_path / "one" / "other.safetensors", TENSORS)
    with pytest.raises(InputError, match=r"one: found a folder with model\.safetensors, other\.safetensors, expected"):
        trm.load(tmp_path / "one")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: found a folder with no checkpoint, expected one file: name it"):
        trm.load(tmp_path / "empty")


def _encrypt(path: Path) -> None:
    """Set the encryption flag of every file in a zip archive: bit 0 of the flags in each header."""
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for match in re.finditer(re.escape(signature), bytes(data)):
            data[match.start() + flags] |= 1
    path.write_bytes(data)


def test_no_model_of_the_original(tmp_path: Path):
    other = {f"encoder.{i}": np.ones(2, np.float32) for i in range(9)}
    with pytest.raises(
        InputError, match=r"found encoder \(9\), expected inner\.L_level or inner\.H_level: no model of the"
    ) as caught:
        trm.load(write(tmp_path / "a.npz", other))
    assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"a\.npz: not a"):
        trm.load(tmp_path / "a.npz")
    write(tmp_path / "a.npz", other)
    _encrypt(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"a\.npz: not a whole \.npz file: .* is encrypted"):
        trm.load(tmp_path / "a.npz")
    (tmp_path / "a.safetensors").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InputError, match=r"a\.safetensors: not a whole safetensors file"):
        trm.load(tmp_path / "a.safetensors")


# Every command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    tokens = np.random.default_rng(0).integers(2, 6, size=(8, 16))
    split = PuzzleSet.from_arrays(tokens, tokens, 6)
    write_puzzle_set(tmp_path / "set", {"train": split, "test": split})
    return tmp_path / "set"


@pytest.mark.slow
def test_every_command_takes_such_a_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    path = write(tmp_path / "theirs" / "step_5", {f"_orig_mod.model.{n}": t for n, t in TENSORS.items()}, settings_of())
    code, out, err = run_trm(capsys, "info", path)
    assert code == 0, err
    assert "its tensors fit puzzles of 16 cells of 6 tokens, sudoku" in err
    assert "H_cycles = 2" in out
    code, out, err = run_trm(capsys, "solve", path, "1...............", "--steps", 1, "--format", "csv")
    assert code in (0, 1), err
    assert "1..............." in out
    code, out, err = run_trm(capsys, "evaluate", path, "--data", data, "--devices", 1)
    assert code == 0, err
    assert "all: 8 puzzles" in out
    run = tmp_path / "run"
    config = tiny_config(model=MLP, data={"path": str(data)}, train={"epochs": 1, "eval_interval": 1})
    (tmp_path / "c.toml").write_text(config_to_toml(config))
    code, out, err = run_trm(capsys, "train", tmp_path / "c.toml", "-o", run, "--init", path, "--devices", 1)
    assert code == 0, err
    assert f"starting from {path}" in out
    # Without its settings the run's own say what the tensors do not.
    (path.parent / "all_config.yaml").unlink()
    shutil.rmtree(run)
    code, out, err = run_trm(capsys, "train", tmp_path / "c.toml", "-o", run, "--init", path, "--devices", 1)
    assert code == 0, err
    for command in ("info", "solve", "evaluate"):
        check_mistake(capsys, [command, str(path)], "missing: model.H_cycles, model.L_cycles; put the all_config.yaml")
    code, out, err = run_trm(capsys, "info", path)
    assert (code, out.count("_orig_mod.model.")) == (2, len(TENSORS))


def test_puzzles_are_guessed_by_tokens_and_positions(tmp_path: Path):
    """With the original's prefix of 16 positions, and with the shortest."""
    for vocab, positions, length in (
        (11, 97, 81),
        (11, 82, 81),
        (12, 916, 900),
        (6, 901, 900),
        (6, 32, 16),
        (6, 17, 16),
    ):
        config = tiny_config(model=MLP | {"puzzle_emb_len": 0})
        rng = np.random.default_rng(0)
        like = abstract_weights(config.model, vocab, positions - 1, 1)
        weights = jax.tree.map(lambda leaf, rng=rng: rng.normal(size=leaf.shape).astype(leaf.dtype), like)
        path = write(tmp_path / "a.safetensors", to_state_dict(weights))
        known = dataclasses.asdict(CONFIG.model)
        assert import_weights(path, known=known).description.metadata.seq_len == length


# Names of puzzle embeddings


def write_named(folder: Path, names: list[str], kind: str | None = None) -> Path:
    """Write a set whose dataset.json is the original's, which does not name a kind."""
    frames = np.zeros((len(names) - 1, 900), np.int64)
    frames[:, :2] = 3
    split = PuzzleSet.from_arrays(
        frames, frames, 12, puzzle_identifiers=np.arange(1, len(names)), num_puzzle_identifiers=len(names)
    )
    write_puzzle_set(folder, {"train": split, "test": split}, names)
    for file in folder.glob("*/dataset.json"):
        values = json.loads(file.read_text())
        values.pop("kind", None)
        file.write_text(json.dumps(values | ({"kind": kind} if kind else {})))
    return folder


@pytest.mark.slow
def test_names_of_puzzle_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Matched by name where they are known, refused where they are not."""
    config = tiny_config(model={"forward_dtype": "bfloat16"})
    rng = np.random.default_rng(0)
    like = abstract_weights(config.model, 12, 900, 3)
    weights = jax.tree.map(lambda leaf: (0.1 * rng.normal(size=leaf.shape)).astype(leaf.dtype), like)
    path = write(tmp_path / "theirs" / "step_5.safetensors", to_state_dict(weights), settings_of(config))
    original = write_named(tmp_path / "original", ["<blank>", "a", "b"])
    swapped = write_named(tmp_path / "swapped", ["<blank>", "b", "a"], "arc")
    out = tmp_path / "out.safetensors"
    command = ["import", str(path), "-o", str(out), "--overwrite", "--data"]
    # Of a set that the original built, the names are those of its order.
    code, _, err = run_trm(capsys, *command, original)
    assert code == 0, err
    known = trm.load(out).description.identity["identifiers"]
    # Of a set that trm built, they are not, unless the user says so, or the names lie beside the file.
    check_mistake(
        capsys, [*command, str(swapped)], "the names of its 3 puzzle embeddings are not known: found those of"
    )
    code, _, err = run_trm(capsys, *command, swapped, "--identifiers", original)
    assert code == 0, err
    assert trm.load(out).description.identity["identifiers"] == known
    more = write_named(tmp_path / "more", ["<blank>", "a", "b", "c"])
    check_mistake(capsys, [*command, str(more)], "are not known: found 4 in")
    check_mistake(capsys, [*command, str(original), "--identifiers", str(more)], "are not known: found 4 in")
    # An evaluation on the swapped set matches them by name.
    code, _, err = run_trm(capsys, "evaluate", out, "--data", swapped, "--trained-on", original, "--devices", 1)
    assert code == 0, err
    # The file itself names nothing.
    check_mistake(
        capsys, ["evaluate", str(path), "--data", str(swapped)], "found no names of its 3 puzzle embeddings, expected"
    )
    shutil.copy(original / "identifiers.json", path.parent)
    assert trm.load(path).description.identity["identifiers"] == known
    code, _, err = run_trm(capsys, *command, swapped)
    assert code == 0, err
