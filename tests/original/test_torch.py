"""The original's checkpoints: read and written bit for bit; damaged and unfitting files are errors."""

import dataclasses
import io
import json
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import yaml
from conftest import GOLDEN, check_mistake, run_trm, tiny_config

from trm.checkpoints.description import Description
from trm.checkpoints.format import load_weights, save
from trm.configuration.reading import config_from_tables, config_to_tables
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.weights import Weights, abstract_weights
from trm.original.convert import import_weights
from trm.original.files import read_state_dict, write_state_dict
from trm.original.names import bare
from trm.original.settings import read_settings, settings_from_config, tables_from_settings
from trm.original.shapes import recursion_of, tables_from_tensors
from trm.original.state_dict import COMPILED_PREFIX, PUZZLE_TABLE, from_state_dict, to_state_dict
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.writing import write_puzzle_set
from trm.storage.safetensors import read_safetensors
from trm.training.state import abstract_state

METADATA = sudoku_build.metadata_of(20, 4)
NO_CYCLES = {"L_layers": 0, "H_cycles": 0, "L_cycles": 0}
RECURSIONS: dict[str, dict[str, dict]] = {
    "trm": {"model": {"recursion": "trm"}},
    "trm, MLP": {"model": {"mixer": "mlp", "positions": "none", "expansion": 20.0}},
    "trm, learned positions": {"model": {"positions": "learned"}},
    "trm, no puzzle embedding": {"model": {"puzzle_emb_ndim": 0}},
    "hrm": {
        "model": {"recursion": "hrm", "H_layers": 2, "puzzle_emb_len": 0},
        "halting": {"q_continue": "learned"},
    },
    "trm_singlez": {"model": {"recursion": "trm_singlez"}, "halting": {"q_continue": "learned"}},
    "trm_hier6": {"model": {"recursion": "trm_hier6"}},
    "transformers_baseline": {
        "model": {"recursion": "transformers_baseline", "H_layers": 2, "puzzle_emb_len": 0} | NO_CYCLES,
        "halting": {"q_continue": "compared", "act_inference": True},
    },
}


CYCLES = ["H_cycles", "L_cycles"]
ATTENTION = ["num_heads", "positions", *CYCLES]
NOT_SAID: dict[str, list[str]] = {
    "trm": [*ATTENTION, "puzzle_emb_len"],
    "trm, MLP": CYCLES,
    "trm, learned positions": ["num_heads", *CYCLES],
    "trm, no puzzle embedding": ATTENTION,
    "hrm": ATTENTION,
    "trm_singlez": [*ATTENTION, "puzzle_emb_len"],
    "trm_hier6": [*ATTENTION, "puzzle_emb_len"],
    "transformers_baseline": ["num_heads", "positions"],
}
"""What tensors do not say of each."""


def configure(kind: str, dtype: str = "bfloat16") -> Config:
    sections = RECURSIONS[kind]
    return tiny_config(**sections | {"model": sections["model"] | {"forward_dtype": dtype}})


def make_weights(config: Config) -> Weights:
    """Return weights with random numbers in every place."""
    rng = np.random.default_rng(0)
    abstract = abstract_weights(config.model, METADATA.vocab_size, METADATA.seq_len, METADATA.num_puzzle_identifiers)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), abstract)


def settings_file(config: Config, path: Path) -> None:
    """Write what the original's training script writes of a model."""
    arch = settings_from_config(config) | {"name": "x@Y", "loss": {"name": "l@L", "loss_type": config.loss.type}}
    path.write_text(yaml.dump({"arch": arch, "lr": config.optimizer.lr, "ema": config.optimizer.ema}))


@pytest.mark.parametrize("kind", RECURSIONS)
def test_state_dicts_go_there_and_back(kind: str):
    config = configure(kind)
    weights = make_weights(config)
    tensors = to_state_dict(weights)
    like = jax.eval_shape(lambda s: Weights(s.model, s.puzzle_table), abstract_state(config, METADATA))
    back = from_state_dict({COMPILED_PREFIX + name: tensor for name, tensor in tensors.items()}, like)
    for (path, a), b in zip(jax.tree.leaves_with_path(weights), jax.tree.leaves(back), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), path
        np.testing.assert_array_equal(a, b)
    assert recursion_of(tensors) == config.model.recursion


@pytest.mark.parametrize("kind", RECURSIONS)
def test_settings_go_there_and_back(kind: str):
    config = configure(kind)
    settings = settings_from_config(config)
    tables = tables_from_settings(settings, config.model.recursion)
    ours = config_to_tables(config)
    again = config_from_tables({"model": tables["model"], "halting": tables["halting"]})
    # What the original has no setting for, it has not: act_enabled but in its baseline.
    assert config_from_tables({"model": ours["model"]}).model.prefix_len == again.model.prefix_len
    same = dataclasses.replace(again.model, puzzle_emb_len=config.model.puzzle_emb_len)
    assert same == dataclasses.replace(config.model, puzzle_emb_ndim=config.model.row_size)
    assert again.halting == config.halting


@pytest.mark.parametrize("kind", RECURSIONS)
def test_shapes_say_what_they_can(kind: str):
    config = configure(kind)
    found = tables_from_tensors(to_state_dict(make_weights(config)), METADATA)["model"]
    theirs = dataclasses.asdict(config.model) | {"puzzle_emb_ndim": config.model.row_size}
    del found["expansion"]  # Any that makes the same widths is right: the import below finds out.
    found.pop("num_heads", None)
    assert {name: theirs[name] for name in found} == found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokens = np.random.default_rng(0).integers(1, 6, size=(8, 16))
    split = PuzzleSet.from_arrays(tokens, tokens, 6, num_puzzle_identifiers=1)
    folder = tmp_path_factory.mktemp("data") / "set"
    write_puzzle_set(folder, {"train": split, "test": split})
    return folder


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind == next(iter(RECURSIONS)) else [pytest.mark.slow]) for kind in RECURSIONS],
)
def test_exported_and_imported_again(kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Through files and the command line: the same tensors, byte for byte, and the same model."""
    config = configure(kind)
    weights = make_weights(config)
    save(tmp_path / "ours.safetensors", weights, Description("weights", config, METADATA, 7, averaged=True))
    code, out, err = run_trm(
        capsys, "export", tmp_path / "ours.safetensors", "-o", tmp_path / "step_7.safetensors", "--format", "torch"
    )
    assert code == 0, err
    assert f"arch={config.model.recursion} " in out
    exported = read_state_dict(tmp_path / "step_7.safetensors")
    assert all(name.startswith(COMPILED_PREFIX) for name in exported)

    settings_file(config, tmp_path / "all_config.yaml")
    command = ["import", tmp_path / "step_7.safetensors", "--data", data, "-o"]
    code, _, err = run_trm(capsys, *command, tmp_path / "back.safetensors")
    assert code == 0, err
    back, description = load_weights(tmp_path / "back.safetensors")
    assert description.step == 7
    same = dataclasses.replace(description.config.model, puzzle_emb_len=config.model.puzzle_emb_len)
    assert same == dataclasses.replace(config.model, puzzle_emb_ndim=config.model.row_size)
    again = to_state_dict(back)
    assert {name: tensor.tobytes() for name, tensor in again.items()} == {
        name: tensor.tobytes() for name, tensor in bare(exported).items()
    }

    # Without the settings, what tensors cannot say has to be said.
    (tmp_path / "all_config.yaml").unlink()
    for some in ([], NOT_SAID[kind][:1]):
        said = [f"--set=model.{name}={getattr(config.model, name)}" for name in some]
        code, _, err = run_trm(capsys, *command, tmp_path / "again.safetensors", *said)
        assert code == 2
        missing = ", ".join(f"model.{name}" for name in NOT_SAID[kind] if name not in some)
        assert f"step_7.safetensors: missing: {missing}; put the all_config.yaml" in err
        assert f"trm import {tmp_path / 'step_7.safetensors'} --data DIR" in err
        assert len(err.splitlines()) == 1
    said = [f"--set=model.{name}={getattr(config.model, name)}" for name in NOT_SAID[kind]]
    code, _, err = run_trm(capsys, *command, tmp_path / "again.safetensors", *said)
    assert code == 0, err


def test_a_model_that_the_original_cannot_build():
    for changes, says in (
        ({"model": {"recursion": "hrm", "H_layers": 1}, "halting": {"q_continue": "learned"}}, "puzzle_emb_len"),
        ({"model": {"gate": "norm"}}, "model: found gate 'norm', register false"),
        ({"model": {"differentiated_cycles": 2}}, "model.differentiated_cycles: found 2, expected 1"),
        ({"model": {"recursion": "mine:Mine"}}, "model.recursion: found 'mine:Mine', expected one of the"),
        ({"model": {"register": True, "puzzle_emb_ndim": 0}}, "model: found gate 'silu', register true"),
        ({"model": {"recursion": "hrm", "H_layers": 1, "puzzle_emb_len": 0}}, "halting.q_continue: found 'unused'"),
        (
            {
                "model": {"recursion": "transformers_baseline", "H_layers": 1, "puzzle_emb_len": 0, "positions": "none"}
                | NO_CYCLES
            },
            "expected attention and positions",
        ),
    ):
        with pytest.raises(InputError, match=says):
            settings_from_config(tiny_config(**changes))


def test_numbers_are_not_rounded_on_import():
    config = configure("trm", "bfloat16")
    tensors = to_state_dict(make_weights(config))
    tensors["inner.H_init"] = tensors["inner.H_init"].astype(np.float32) + np.float32(1e-4)
    like = jax.eval_shape(lambda s: Weights(s.model, s.puzzle_table), abstract_state(config, METADATA))
    with pytest.raises(InputError, match=r"inner\.H_init: found float32 numbers that bfloat16 cannot hold"):
        from_state_dict(tensors, like)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda tensors: tensors.pop("inner.lm_head.weight"), "inner.lm_head.weight: missing, expected shape (6, 16)"),
        (
            lambda tensors: tensors.update({"inner.L_level.layers.0.mlp.dwconv.bias": np.zeros(3, np.float32)}),
            "inner.L_level.layers.0.mlp.dwconv.bias: found a tensor of shape (3,), expected none: no key of model.*",
        ),
        (
            lambda tensors: tensors.update({"inner.q_head.bias": np.zeros(2, np.int32)}),
            "inner.q_head.bias: found int32, expected floating-point numbers",
        ),
        (
            lambda tensors: tensors.update({"inner.q_head.bias": np.zeros(3, np.float32)}),
            "inner.q_head.bias: found shape (3,), expected (2,)",
        ),
        (
            lambda tensors: tensors.update({"inner.embed_tokens.embedding_weight": np.zeros((9, 16), np.float32)}),
            "vocab_size: found 9 in the tensors, expected 6",
        ),
        (
            lambda tensors: tensors.update({"inner.embed_tokens.embedding_weight": np.zeros((6, 0), np.float32)}),
            "inner.embed_tokens.embedding_weight: found width 0, expected 1 or more",
        ),
        (
            lambda tensors: tensors.update({"inner.L_level.layers.0.mlp.gate_up_proj.weight": np.zeros((512, 0))}),
            "inner.L_level.layers.0.mlp.gate_up_proj.weight: found shape (512, 0), expected (512, 16)",
        ),
        (
            lambda tensors: tensors.update(
                {"inner.q_head.weight": np.zeros((1, 16)), "inner.q_head.bias": np.zeros(())}
            ),
            "inner.q_head.weight: found shape (1, 16), expected (2, 16)",
        ),
        (
            lambda tensors: tensors.update({"inner.q_head.bias": np.array([1e300, 0])}),
            "inner.q_head.bias: found float64 numbers that float32 cannot hold",
        ),
        (
            lambda tensors: tensors.update({PUZZLE_TABLE: np.zeros((), np.float32)}),
            f"{PUZZLE_TABLE}: found shape (), expected 2 axes",
        ),
        (
            lambda tensors: tensors.update({"inner.L_level.weight": np.zeros(1, np.float32)}),
            "inner.L_level.weight: found a tensor",
        ),
        (lambda tensors: tensors.clear(), "found no tensors, expected inner.L_level or inner.H_level"),
        (
            lambda tensors: tensors.update({"inner.q_head.bias": np.full(2, np.nan, np.float32)}),
            "found weights whose answer is not finite",
        ),
    ],
)
def test_tensors_that_do_not_fit(spoil: Any, says: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    config = configure("trm")
    tensors = to_state_dict(make_weights(config))
    spoil(tensors)
    write_state_dict(tmp_path / "model.safetensors", tensors)
    settings_file(config, tmp_path / "all_config.yaml")
    out = tmp_path / "out.safetensors"
    check_mistake(capsys, ["import", str(tmp_path / "model.safetensors"), "--data", str(data), "-o", str(out)], says)
    assert not out.exists()


def _with_header(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        # A header that says it has 2 ** 62 bytes.
        (struct.pack("<Q", 2**62) + b"{}", "not a whole safetensors file"),
        (b"", "not a whole safetensors file"),
        (b"{}", "not a whole safetensors file"),
        # An array of nothing may have any other sizes.
        (
            _with_header({"a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}),
            r"step_1: a: found shape \(0, 46",
        ),
    ],
)
def test_safetensors_that_are_none(content: bytes, says: str, tmp_path: Path):
    (tmp_path / "step_1").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_state_dict(tmp_path / "step_1")


def test_safetensors_with_metadata_of_null(tmp_path: Path):
    header = {"__metadata__": None, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    (tmp_path / "a.safetensors").write_bytes(_with_header(header) + np.float32(2).tobytes())
    arrays, text = read_safetensors(tmp_path / "a.safetensors")
    assert (arrays["a"].tolist(), text) == ([2], {})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        # Layers are built one by one: ten million would take hours.
        ({"L_layers": 10**7}, r"found \d+ arrays, expected those of 10000000 layers"),
        ({"num_layers": 10**7}, r"found \d+ arrays, expected those of 10000000 layers"),
        ({"expansion": 1e308}, r"model\.expansion: found 1e\+308, expected in \(0, 1000000\]"),
    ],
)
def test_sizes_that_no_tensors_have(changes: dict[str, Any], says: str, tmp_path: Path):
    config = configure("trm")
    write_state_dict(tmp_path / "a.safetensors", to_state_dict(make_weights(config)))
    (tmp_path / "all_config.yaml").write_text(yaml.dump({"arch": settings_from_config(config) | changes}))
    with pytest.raises(InputError, match=says):
        import_weights(tmp_path / "a.safetensors", tmp_path / "all_config.yaml", METADATA)


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("name", ["GLOBAL", "STACK_GLOBAL"])
def test_a_class_with_a_name_of_many_letters(name: str, archived: bool, tmp_path: Path):
    """PyTorch alone would search its own message for minutes."""
    torch = pytest.importorskip("torch")
    path, long = tmp_path / "a.pt", b"x" * 200_000
    data = b"\x80\x02c" + long + b"\n" + long + b"\n."
    if name == "STACK_GLOBAL":
        text = b"X" + struct.pack("<I", len(long)) + long
        data = b"\x80\x04" + text + text + b"\x93."
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=archived)
    if archived:
        with zipfile.ZipFile(path) as archive:
            files = {entry: archive.read(entry) for entry in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in files.items():
                archive.writestr(entry, data if entry.endswith("/data.pkl") else content)
    else:
        path.write_bytes(b"".join(pickle.dumps(number, 2) for number in (1, 2, 3)) + data)
    with pytest.raises(
        InputError, match=r"a\.pt: not a state dict of torch\.save: found a class whose name has 400,001"
    ):
        read_state_dict(path)


@pytest.mark.parametrize("length", [0x80, 0x280, 0x580])
def test_safetensors_that_begin_like_a_pickle(length: int, tmp_path: Path):
    """The first byte is the lowest of the header's length."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode().ljust(length)
    path = tmp_path / "step_1"
    path.write_bytes(struct.pack("<Q", length) + header + np.array([1, 2], np.float32).tobytes())
    assert path.read_bytes().startswith(b"\x80")
    np.testing.assert_array_equal(read_state_dict(path)["a"], [1, 2])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 3000, "all_config.yaml: not a YAML file: "),
        ("{" * 600 + "a," * 100_000, "all_config.yaml: found more than 100,000 bytes, expected the settings"),
        ("arch: [", "all_config.yaml: not a YAML file: "),
        ("- 1", "all_config.yaml: arch: missing, expected the original's all_config.yaml"),
        ("lr: 3", "all_config.yaml: arch: missing, expected the original's all_config.yaml"),
        (
            "!!python/object/apply:os.system [echo]",
            "all_config.yaml: not a YAML file: could not determine a constructor",
        ),
        ("arch: {hidden_size: wide}", "m.safetensors: model."),
    ],
)
def test_settings_that_are_none(text: str, says: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    write_state_dict(tmp_path / "m.safetensors", to_state_dict(make_weights(configure("trm"))))
    (tmp_path / "all_config.yaml").write_text(text)
    command = ["import", str(tmp_path / "m.safetensors"), "--data", str(data), "-o", str(tmp_path / "out.safetensors")]
    check_mistake(capsys, command, says)


def test_without_yaml_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings_file(configure("trm"), tmp_path / "all_config.yaml")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r"all_config\.yaml: the package pyyaml is missing, .*'trm\[original\]'"):
        read_settings(tmp_path / "all_config.yaml")


# Files of torch.save


def test_without_torch_one_line_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        InputError, match=r"step_3: the package torch is missing, expected `pip install 'trm\[torch\]'`"
    ):
        read_state_dict(GOLDEN / "checkpoint" / "step_3")


def test_the_recorded_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Imported, evaluated, exported: the same tensors, byte for byte."""
    pytest.importorskip("torch")
    tokens = np.random.default_rng(0).integers(0, 12, size=(9, 8))
    split = PuzzleSet.from_arrays(tokens, tokens, 12, num_puzzle_identifiers=7)
    write_puzzle_set(tmp_path / "set", {"test": split}, [f"task{i}" for i in range(7)])
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "step_3.pt"
    settings = json.loads((GOLDEN / "checkpoint" / "case.json").read_text())["config"]
    values = {"num_heads": settings["num_heads"], "positions": "rope", "H_cycles": 1, "L_cycles": 1}
    said = [f"--set=model.{name}={value}" for name, value in (values | {"puzzle_emb_len": 2}).items()]
    step_3 = GOLDEN / "checkpoint" / "step_3"
    code, out, err = run_trm(capsys, "import", step_3, "--data", tmp_path / "set", "-o", ours, *said)
    assert code == 0, err
    code, out, err = run_trm(capsys, "evaluate", ours)
    assert code == 0, err
    assert "all: 9 puzzles" in out
    code, out, err = run_trm(capsys, "export", ours, "--format", "torch", "-o", theirs)
    assert code == 0, err
    expected, found = read_state_dict(step_3), read_state_dict(theirs)
    assert {n: (t.dtype, t.tobytes()) for n, t in found.items()} == {
        n: (t.dtype, t.tobytes()) for n, t in expected.items()
    }


def test_bfloat16_goes_through_torch(tmp_path: Path):
    pytest.importorskip("torch")
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3).astype(ml_dtypes.bfloat16)}
    write_state_dict(tmp_path / "file.pt", tensors)
    for name, tensor in read_state_dict(tmp_path / "file.pt").items():
        assert tensor.dtype == tensors[name].dtype
        np.testing.assert_array_equal(tensor, tensors[name])


class Malicious:
    def __reduce__(self):
        return exec, ("open('executed', 'w')",)


def test_torch_files_that_are_no_state_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "step_1"

    def check(says: str) -> None:
        with pytest.raises(InputError, match=says) as caught:
            read_state_dict(path)
        assert len(str(caught.value).splitlines()) == 1

    path.write_bytes(pickle.dumps(Malicious()))
    check("not a state dict of torch.save")
    torch.save({"weights": Malicious()}, path)
    check(r"not a state dict of torch\.save: found an object of exec, expected tensors, numbers and text")
    assert not Path("executed").exists()
    torch.save([1, 2], path)
    check("found a list of nothing, expected a state dict")
    torch.save({"model": {"a": 2}}, path)
    check("found a dict of 'model', expected a state dict")
    torch.save({"a": torch.zeros(1).expand(1_000_000)}, path)
    check(r"a: found shape \(1000000,\), more than a file of")
    whole = io.BytesIO()
    torch.save(OrderedDict(a=torch.zeros(1000)), whole)
    path.write_bytes(whole.getvalue()[:-100])
    check("not a")
    # An archive of a kilobyte that unpacks to a hundred megabytes.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(100_000_000))
    check("found 100,000,000 bytes compressed to")
    path.unlink()
    check("cannot read: No such file")
