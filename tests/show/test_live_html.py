"""Live pages without a browser: what is in them, what they refuse, and the command."""

import base64
import dataclasses
import json
import re
from pathlib import Path

import equinox as eqx
import ml_dtypes
import numpy as np
import pytest
from conftest import check_mistake, run_trm

import trm
from trm.errors import InputError
from trm.show.html import embedded
from trm.show.html.embedded import embed_network
from trm.show.html.live import EXAMPLES, make_live_page

PUZZLE = "3654.24...5..32.4..4..232....4.....5"


def data_of(page: str) -> dict:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_weights_are_stored_in_bfloat16_where_that_loses_nothing():
    model = trm.load("sudoku-6x6")
    network = embed_network(model)
    stored = base64.b64decode(network["weights"])
    described = network["settings"]["arrays"]
    assert all(array["bfloat16"] for array in described)
    assert len(stored) == 2 * sum(int(np.prod(array["shape"])) for array in described)
    first = np.frombuffer(stored, ml_dtypes.bfloat16)[: 8 * 64].reshape(8, 64)
    assert described[0] == {"name": "embed_tokens", "shape": [8, 64], "bfloat16": True}
    np.testing.assert_array_equal(first.astype(np.float32), model.weights.model.embed_tokens)


def test_other_weights_stay_float32():
    model = trm.load("sudoku-6x6")
    thirds = np.full((64, 8), 1 / 3, np.float32)
    changed = trm.TrainedModel(
        eqx.tree_at(lambda weights: weights.model.lm_head, model.weights, thirds), model.description
    )
    network = embed_network(changed)
    wide = [array["name"] for array in network["settings"]["arrays"] if not array["bfloat16"]]
    assert wide == ["lm_head"]


def test_a_page_has_examples_and_asks_for_nothing():
    model = trm.load("sudoku-6x6")
    page = make_live_page("Live", model)
    data = data_of(page)
    assert len(data["examples"]) == EXAMPLES
    assert all(model.kind.problem(np.array(example)) is None for example in data["examples"])
    # An address of the page's own, and the name of the vocabulary of SVG.
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "connect-src" not in page
    given = data_of(make_live_page("Live", model, [model.parse(PUZZLE)]))
    assert given["examples"] == [model.parse(PUZZLE).tolist()]


def test_what_no_page_can_run_is_refused(monkeypatch: pytest.MonkeyPatch):
    model = trm.load("sudoku-6x6")
    monkeypatch.setattr(embedded, "MOST_BYTES", 300_000)
    with pytest.raises(InputError, match=r"^sudoku-6x6: found weights of 0.3 MB, expected at most 0 MB"):
        make_live_page("Live", model)
    with pytest.raises(InputError, match=r"^steps: found 129, expected at most 128"):
        make_live_page("Live", model, steps=129)
    with pytest.raises(InputError, match=r"^views: found 17, expected at most 16"):
        make_live_page("Live", model, attempts=17)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "live.html"
    code, printed, err = run_trm(capsys, "render", "sudoku-6x6", PUZZLE, "--live", "--steps", 5, "-o", out)
    assert (code, err) == (0, "")
    assert printed == f"{out}: 0.5 MB, with the network in it; open it in a browser\n"
    data = data_of(out.read_text(encoding="utf-8"))
    assert (data["steps"], len(data["examples"])) == (5, 1)
    for options, says in (
        (["-o", str(out)], "already exists"),
        (["-o", str(tmp_path / "a.png")], "found a picture beside --live"),
        (["-o", str(tmp_path / "a.html"), "--starts", "2"], "--starts: found 2 beside --live"),
    ):
        check_mistake(capsys, ["render", "sudoku-6x6", "--live", *options], says)
    check_mistake(capsys, ["render", "sudoku-6x6", "-o", str(tmp_path / "b.html")], "PUZZLE: found none")


def test_models_of_arc_and_own_recursions_are_refused():
    model = trm.load("sudoku-6x6")
    other = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, recursion="own:Recursion"))
    renamed = trm.TrainedModel(model.weights, dataclasses.replace(model.description, config=other), "mine")
    with pytest.raises(InputError, match=r"^mine: model.recursion: found 'own:Recursion', expected one of trm, "):
        make_live_page("Live", renamed)
    metadata = dataclasses.replace(model.metadata, kind="arc", seq_len=900, vocab_size=12)
    arc = trm.TrainedModel(model.weights, dataclasses.replace(model.description, metadata=metadata), "arc")
    with pytest.raises(InputError, match=r"^arc: found a model of arc, expected one of sudoku or maze"):
        make_live_page("Live", arc)
