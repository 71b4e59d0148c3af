"""Configuration: what is read is what was written, and every mistake is named."""

from pathlib import Path

import pytest
from conftest import tiny_config

from trm.configuration.reading import config_from_tables, config_to_tables, config_to_toml, read_config
from trm.errors import InputError
from trm.storage.bundled import config_path
from trm.training.experiment import config as read_and_check


def test_toml_round_trip(tmp_path: Path):
    config = tiny_config(
        data={"path": 'a "quoted" \\ path', "test_path": ("one", "two")},
        optimizer={"lr": 3e-5, "ema": False},
        train={"curriculum": [[0.3, 1, 1], [0.6, 2, 1]]},
    )
    path = tmp_path / "config.toml"
    path.write_text(config_to_toml(config))
    assert read_config(path) == config
    assert config_from_tables(config_to_tables(config)) == config


def test_settings_override_the_file(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("[train]\nseed = 1\nepochs = 5\n")
    config = read_config(
        path, ["train.seed=7", "model.mixer=mlp", "model.positions='none'", "optimizer.lr=1", "train.epochs=1e3"]
    )
    assert (config.train.seed, config.train.epochs) == (7, 1000)
    assert (config.model.mixer, config.model.positions) == ("mlp", "none")
    assert config.optimizer.lr == 1.0


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("[model]\nhiden_size = 3", [], "model.hiden_size: unknown key, did you mean 'hidden_size'?"),
        ("[modle]\nhidden_size = 3", [], "modle: unknown section, did you mean 'model'?"),
        ("[train]\nlr = 0.1", [], "train.lr: unknown key, did you mean optimizer.lr?"),
        ("lr = 0.1", [], "lr: unknown section"),
        ("model = 3", [], "model: found 3, expected a table"),
        ("[model]\nhidden_size = '3'", [], "model.hidden_size: found '3', expected an integer"),
        ("[model]\nhidden_size = true", [], "model.hidden_size: found True, expected an integer"),
        ("[model]\nhidden_size = 2.5", [], "model.hidden_size: found 2.5, expected an integer"),
        ("[model]\nmixer = 'conv'", [], "model.mixer: found 'conv', expected one of 'attention', 'mlp'"),
        ("[model]\nrecursion = 'trm_singelz'", [], "model.recursion: found 'trm_singelz', did you mean 'trm_singlez'?"),
        ("[model]\nrecursion = 'nowhere:Mine'", [], "model.recursion: found 'nowhere:Mine', cannot import nowhere"),
        ("[optimizer]\ntype = 'moun'", [], "optimizer.type: found 'moun', did you mean 'muon'?"),
        (
            "[model]\ndifferentiated_cycles = 4",
            [],
            "model.differentiated_cycles: found 4, expected at most model.H_cycles 3",
        ),
        (
            "[model]\ndifferentiated_cycles = 2\n[train]\ncurriculum = [[0.5, 1, 6]]",
            [],
            "train.curriculum: model.differentiated_cycles: found 2, expected at most model.H_cycles 1",
        ),
        ("[data]\nvalidation = -1", [], "data.validation: found -1, expected 0 or more"),
        ("[data]\npath = []", [], "data.path: found [], expected a directory or a list of directories"),
        ("[train]\nepochs = 3_000_000_000", [], "train.epochs: found 3000000000, expected at most 2147483647"),
        ("[train]\nseed = 4_294_967_296", [], "train.seed: found 4294967296, expected in [0, 4294967296)"),
        ("[optimizer]\nema = 1", [], "optimizer.ema: found 1, expected true or false"),
        ("", ["train.seed"], "expected section.key=value"),
        ("", ["seed=3"], "expected section.key=value"),
        ("", ["train.sed=3"], "train.sed: unknown key, did you mean 'seed'?"),
        ("[model]\nH_cycles = 0", [], "model.H_cycles: found 0, expected more than 0"),
        ("[model]\nnum_heads = 12\nhidden_size = 36", [], "model.num_heads: found head size 3"),
        ("[model]\nmixer = 'mlp'", [], "model.positions: found 'rope' with mixer 'mlp'"),
        (
            "[model]\nfused_attention = true\nmixer = 'mlp'\npositions = 'none'",
            [],
            "model.mixer: found 'mlp', expected 'attention' with fused_attention true",
        ),
        (
            "[model]\nfused_attention = true\nforward_dtype = 'float32'",
            [],
            "model.forward_dtype: found 'float32', expected 'bfloat16' with fused_attention true",
        ),
        (
            "[model]\nfused_attention = true\nnum_heads = 2",
            [],
            "model.num_heads: found head size 256 = 512 // 2, expected a multiple of 8 up to 128",
        ),
        (
            "[model]\nunroll = true\nrecursion = 'hrm'\nH_layers = 2",
            [],
            "model.unroll: found True, expected False: recursion 'hrm' does not use it",
        ),
        (
            "[model]\npuzzle_emb_ndim = 1100\npuzzle_emb_len = 2",
            [],
            "model.puzzle_emb_len: found 2, expected 0 or at least 3",
        ),
        (
            "[halting]\nhalt_exploration_prob = 1.5",
            [],
            "halting.halt_exploration_prob: found 1.5, expected in [0, 1]",
        ),
        ("[optimizer]\nbeta2 = 1.0", [], "optimizer.beta2: found 1.0, expected in [0, 1)"),
        ("[optimizer]\nmuon_lr = 0.1", [], "optimizer.muon_lr: found 0.1, expected 0.02 with type 'adam_atan2'"),
        ("[optimizer]\nema = false\nema_start_step = 5", [], "optimizer.ema_start_step: found 5, expected 0 with ema"),
        ("[optimizer]\nema = false\nema_rate = 0.9", [], "optimizer.ema_rate: found 0.9, expected 0.999 with ema"),
        (
            "[optimizer]\nfreeze_weights = true\ntype = 'muon'",
            [],
            "optimizer.type: found 'muon', expected 'adam_atan2' with freeze_weights true",
        ),
        ("[optimizer]\nmax_gradient_norm = -1.0", [], "optimizer.max_gradient_norm: found -1.0, expected 0 or more"),
        (
            "[train]\ncurriculum = [[0.6, 1, 2], [0.3, 2, 4]]",
            [],
            "train.curriculum: found (0.3, 2, 4), expected stages",
        ),
        ("[train]\ncurriculum = [[0.3, 0, 2]]", [], "train.curriculum: found (0.3, 0, 2), expected stages"),
        (
            "[train]\ncurriculum = [[0.5, true, 2]]",
            [],
            "train.curriculum: found [[0.5, True, 2]], expected a list of stages",
        ),
        # One item of many is wrong, wherever it stands.
        ("[data]\npath = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 3]", [], "data.path: found ['a', 'b', 'c', 'd', 'e', "),
        ("[data]\npath = [3, 'b', 'c', 'd', 'e', 'f', 'g', 'h']", [], "data.path: found [3, 'b', 'c', 'd', 'e', "),
        ("[train]\ncurriculum = [[0.5, 1]]", [], "train.curriculum: found [[0.5, 1]], expected a list of stages"),
        (
            "[train]\ncurriculum = [[0.5, 1, 7]]\n[model]\nrecursion = 'trm_hier6'",
            [],
            "train.curriculum: model.L_cycles: found 7, expected at most 6",
        ),
        ("[loss]\nlabel_smoothing = 1.0", [], "loss.label_smoothing: found 1.0, expected in [0, 1)"),
        ("[loss]\nstep_decay = 0", [], "loss.step_decay: found 0.0, expected in (0, 1]"),
        ("[model]\nregister = true", [], "model.register: found true with puzzle_emb_ndim 512, expected 0"),
        ("[train]\nmicrobatches = 7", [], "train.microbatches: found 7, expected a divisor of global_batch_size 768"),
        (
            "[optimizer]\nfreeze_weights = true\n[model]\npuzzle_emb_ndim = 0",
            [],
            "optimizer.freeze_weights: found true",
        ),
        ("[model", [], "not a TOML file"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, settings: list[str], message: str):
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_and_check(path, settings)
    assert message in str(caught.value)
    # The source of the value that is wrong.
    assert str(caught.value).startswith("settings: " if settings and not text else f"{path}: ")
    assert "\n" not in str(caught.value)


def test_settings_of_a_program():
    """The same keys as a mapping, nested or not, and as options."""
    nested = {"train": {"epochs": 10, "seed": 3}, "data": {"path": Path("some/where")}}
    flat = {"train.epochs": 10.0, "train.seed": 3, "data.path": "some/where"}
    options = ["train.epochs=10", "train.seed=3", "data.path=some/where"]
    configs = [read_and_check("sudoku_mlp", settings) for settings in (nested, flat, options)]
    assert configs[0] == configs[1] == configs[2]
    assert (configs[0].train.epochs, configs[0].train.seed, configs[0].data.path) == (10, 3, "some/where")
    assert configs[0].model.mixer == "mlp"


def test_missing_files_are_named():
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot read"):
        read_config("nowhere.toml")
    with pytest.raises(InputError, match="did you mean 'sudoku_mlp'"):
        config_path("sudoku_mlq")


def test_prefix_holds_the_puzzle_row():
    lengths = {(75, 0): 3, (32, 0): 1, (32, 16): 16, (0, 16): 0, (0, 0): 0}
    for (ndim, length), expected in lengths.items():
        config = tiny_config(model={"hidden_size": 32, "puzzle_emb_ndim": ndim, "puzzle_emb_len": length})
        assert config.model.prefix_len == expected
