"""The network of live pages compared with JAX: the same logits and the same q, in headless Chromium."""

from typing import Any

import numpy as np
import pytest
from conftest import in_float32
from networks import random_model, script

import trm
from trm.model.recursions import unused_sizes
from trm.show.html.embedded import RECURSIONS, embed_network
from trm.solving.trained_model import TrainedModel

pytestmark = [pytest.mark.browser, pytest.mark.processes]

STEPS = 2
"""Steps that are compared. A random network makes a difference in rounding up to five times as large in every step."""
RUN = """
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const { network, tokens, steps, withKernel } = argument;
const model = makeNetwork(network.settings, bytes(network.weights), withKernel ? bytes(network.kernel) : null);
const state = model.begin(0), found = [];
for (let i = 0; i < steps; i++) {
  const { logits, qHalt, qContinue } = model.step(tokens, state).at(-1);
  found.push([Array.from(logits), qHalt, qContinue]);
}
return { found, isFast: model.isFast };
"""
PUZZLES = {
    "sudoku": "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..",
    "sudoku-6x6": "3654.24...5..32.4..4..232....4.....5",
    "maze": "##########S  #   ## # # # ## # # # ## # # # ## # # # ## # # # ## #   #G##########",
}
NO_PREFIX = {"puzzle_emb_ndim": 0, "puzzle_emb_len": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "mlp": {"mixer": "mlp", "positions": "none"},
    "mlp, odd sizes": {"mixer": "mlp", "positions": "none", "hidden_size": 10, "inner_multiple": 3, "register": True}
    | NO_PREFIX,
    "mlp, norm in the gate": {"mixer": "mlp", "positions": "learned", "gate": "norm", "inner_multiple": 8},
    "attention, rope": {"mixer": "attention", "positions": "rope"},
    "attention, grid": {"mixer": "attention", "positions": "rope_grid", "hidden_size": 24} | NO_PREFIX,
    "attention, learned positions": {"mixer": "attention", "positions": "learned", "gate": "norm"},
    "attention, no positions": {"mixer": "attention", "positions": "none", "L_layers": 2},
    "digits, mlp": {"mixer": "mlp", "positions": "none", "state": "digits"} | NO_PREFIX,
    "digits, narrow mlp": {
        "mixer": "mlp",
        "positions": "none",
        "state": "digits",
        "expansion": 0.5,
        "inner_multiple": 4,
    }
    | NO_PREFIX,
    "digits, attention": {"mixer": "attention", "positions": "rope_grid", "state": "digits"} | NO_PREFIX,
}


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    """Yield an empty page."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def check(page: Any, model: TrainedModel, tokens: np.ndarray, with_kernel: bool = True) -> None:
    """Compare logits and q after every supervision step."""
    argument = {
        "network": embed_network(model),
        "tokens": tokens.tolist(),
        "steps": STEPS,
        "withKernel": with_kernel,
    }
    answer = page.evaluate(script(["network.js"], RUN), argument)
    assert answer["isFast"] is with_kernel
    expected = in_float32(model).reason(tokens.astype(np.int32), steps=STEPS).outputs
    assert len(answer["found"]) == STEPS
    for step, (logits, q_halt, q_continue) in enumerate(answer["found"]):
        found = np.array(logits).reshape(len(tokens), -1)
        np.testing.assert_allclose(found, expected.logits[step], atol=1e-3)
        assert q_halt == pytest.approx(float(expected.q_halt_logits[step]), abs=1e-3)
        assert q_continue == pytest.approx(float(expected.q_continue_logits[step]), abs=1e-3)
    # Steps and cells differ: nothing above compares constants.
    assert np.ptp(np.asarray(expected.logits[-1])) > 0.1
    assert not np.allclose(expected.logits[0], expected.logits[-1], atol=1e-2)


@pytest.mark.parametrize("with_kernel", [True, False])
@pytest.mark.parametrize("name", PUZZLES)
def test_bundled_models_agree_with_jax(page: Any, name: str, with_kernel: bool):
    model = trm.load(name)
    check(page, model, model.parse(PUZZLES[name]), with_kernel)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_agree_with_jax(page: Any, variant: str):
    model = random_model(model=VARIANTS[variant])
    check(page, model, np.random.default_rng(0).integers(1, 6, 16))


@pytest.mark.parametrize("mixer", ["mlp", "attention"])
@pytest.mark.parametrize("recursion", RECURSIONS)
def test_recursions_agree_with_jax(page: Any, recursion: str, mixer: str):
    sizes: dict[str, Any] = {"H_layers": 1, "L_layers": 1, "H_cycles": 2, "L_cycles": 3} | unused_sizes(recursion)
    if recursion == "equilibrium":
        sizes["damping"] = 0.25
    positions = "none" if mixer == "mlp" else "rope"
    model = random_model(model={"recursion": recursion, "mixer": mixer, "positions": positions} | sizes)
    check(page, model, np.random.default_rng(0).integers(1, 6, 16))


def test_odd_boards_of_mazes_agree_with_jax(page: Any):
    model = random_model(side=5, kind="maze", model={"mixer": "mlp", "positions": "none"})
    check(page, model, np.random.default_rng(0).integers(1, 5, 25))


def test_products_of_all_sizes(page: Any):
    rng = np.random.default_rng(0)
    body = """
    const kernel = Uint8Array.from(atob(argument.kernel), (c) => c.charCodeAt(0));
    return argument.cases.map(([m, k, n, a, b]) => [true, false].map((fast) => {
      const { f, multiply, isFast } = makeMatrices(fast ? kernel : null, m * k + k * n + m * n + 1);
      const right = m * k, result = right + k * n;
      f.set(a); f.set(b, right);
      multiply(0, right, result, m, k, n);
      return Array.from(f.subarray(result, result + m * n + 1)).concat(isFast === fast ? [] : "wrong kernel");
    }));
    """
    sizes = [(1, 1, 1), (4, 8, 8), (5, 3, 9), (7, 16, 12), (3, 5, 7), (9, 10, 16), (12, 4, 23)]
    cases = [(m, k, n, rng.normal(size=m * k), rng.normal(size=k * n)) for m, k, n in sizes]
    kernel = embed_network(random_model())["kernel"]
    argument = {"kernel": kernel, "cases": [[m, k, n, a.tolist(), b.tolist()] for m, k, n, a, b in cases]}
    found = page.evaluate(script(["network.js"], body), argument)
    for (m, k, n, a, b), both in zip(cases, found, strict=True):
        expected = (a.reshape(m, k) @ b.reshape(k, n)).ravel()
        for result in both:
            np.testing.assert_allclose(result[:-1], expected, atol=1e-5)
            # Nothing is written after the result.
            assert result[-1] == 0
