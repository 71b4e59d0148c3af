"""Configurations with a base, and the source of each value."""

import re
from pathlib import Path

import pytest

from trm.configuration.reading import config_to_toml, read_config, read_layers, sources
from trm.errors import InputError
from trm.storage.bundled import config_names, config_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_chain_of_bases(tmp_path: Path):
    write(tmp_path / "deep" / "first.toml", 'base = "sudoku_mlp"\n[train]\nseed = 1\nepochs = 11\n')
    write(tmp_path / "second.toml", 'base = "deep/first.toml"\n[train]\nseed = 2\n[model]\nH_cycles = 2\n')
    config = read_config(tmp_path / "second.toml", ["model.H_cycles=1"])
    bundled = read_config(config_path("sudoku_mlp"))
    assert (config.train.seed, config.train.epochs, config.model.H_cycles) == (2, 11, 1)
    assert (config.model.mixer, config.optimizer) == ("mlp", bundled.optimizer)

    layers = read_layers(tmp_path / "second.toml", ["model.H_cycles=1"])
    found = sources(layers)
    assert found["train"]["seed"] == str(tmp_path / "second.toml")
    assert Path(found["train"]["epochs"]) == tmp_path / "deep" / "first.toml"
    assert found["model"]["mixer"] == str(config_path("sudoku_mlp"))
    assert found["model"]["H_cycles"] == "settings"
    assert found["model"]["L_cycles"] == "default"

    # What is written out holds every value: the bases may go.
    text = config_to_toml(config)
    assert "base" not in text
    assert read_config(write(tmp_path / "elsewhere" / "config.toml", text)) == config


def test_a_base_is_looked_for_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not in the current folder, where a run may be called like a configuration."""
    write(tmp_path / "sudoku_mlp" / "config.toml", "[train]\nseed = 77\n")
    own = write(tmp_path / "own" / "mine.toml", 'base = "sudoku_mlp"\n')
    monkeypatch.chdir(tmp_path)
    assert read_config(own).train.seed == 0
    assert read_config(config_path("sudoku_mlp_no_ema")).train.seed == 0
    # A run folder beside the file is a base.
    beside = write(tmp_path / "mine.toml", 'base = "sudoku_mlp"\n')
    assert read_config(beside).train.seed == 77


def test_mistakes_name_the_file_they_are_in(tmp_path: Path):
    first = write(tmp_path / "first.toml", "[train]\nsed = 1\n")
    second = write(tmp_path / "second.toml", 'base = "first.toml"\n')
    for text, message in {
        'base = "second.toml"': f"{first}: train.sed: unknown key",
        'base = "nowhere"': f"{tmp_path / 'own.toml'}: nowhere: no such configuration, expected a TOML file or one of",
        "base = 3": f"{tmp_path / 'own.toml'}: base: found 3, expected the name or path of another configuration",
        'base = ""': "base: found '', expected the name or path",
        '[model]\nbase = "second"': "model.base: unknown key",
    }.items():
        own = write(tmp_path / "own.toml", text)
        with pytest.raises(InputError) as caught:
            read_config(own)
        assert message in str(caught.value)
    assert second.exists()


def test_bases_in_a_circle(tmp_path: Path):
    write(tmp_path / "a.toml", 'base = "b.toml"')
    write(tmp_path / "b.toml", 'base = "../c.toml"'.replace("../", "./"))
    write(tmp_path / "c.toml", 'base = "b.toml"')
    b, c = (tmp_path / name for name in ("b.toml", "c.toml"))
    with pytest.raises(InputError) as caught:
        read_config(tmp_path / "a.toml")
    assert str(caught.value) == f"{c}: base: found a circle: {b} -> {c} -> {b}"
    itself = write(tmp_path / "itself.toml", 'base = "itself.toml"')
    with pytest.raises(InputError, match=r"base: found a circle: .*itself\.toml -> .*itself\.toml$"):
        read_config(itself)


def test_the_readme_lists_the_bundled_configurations(tmp_path: Path):
    readme = (config_path("sudoku_mlp").parent / "README.md").read_text(encoding="utf-8")
    table, _, _ = readme.partition("## Recursions")
    tables = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert sorted(re.findall(r"`(\w+)`", tables)) == config_names()
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert read_config(write(tmp_path / "own.toml", example)).model.H_cycles == 4
    # The published accuracy of a file stands in its comment, too.
    for name, accuracy in re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+)(?: ± [\d.]+)? % \|$", table, re.MULTILINE):
        assert f"{accuracy} " in config_path(name).read_text(encoding="utf-8")
    # All but one of them choose the best weights as the original does.
    assert [name for name in config_names() if read_config(config_path(name)).data.validation] == ["sudoku_digits"]
