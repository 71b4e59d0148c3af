"""Settings for all tests: four CPU devices, strict types and ranks, and the small things that many tests need."""

import atexit
import os
import shutil
import tempfile
from importlib.metadata import version

# Processes of these tests share one cache of compiled programs: pytest's, its workers' and those that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="trm-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Before JAX looks for devices. A GPU, where there is one, is used as it is.
if "--xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
# Compiling is most of the work. Without LLVM's optimisations it takes half the time; with the older emitters of
# fusions, which jaxlib 0.11 no longer has, a sixth.
if "--xla_backend_optimization_level" not in os.environ["XLA_FLAGS"]:
    os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0"
    if version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import TINY as NETWORK

from trm.cli.main import main
from trm.configuration.reading import config_from_tables
from trm.configuration.schema import Config
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.kinds.sudoku import build as sudoku_build
from trm.puzzles.kinds.sudoku import generate as sudoku_generator
from trm.puzzles.kinds.tables import Puzzle, Table
from trm.puzzles.writing import write_puzzle_set
from trm.solving.trained_model import TrainedModel

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

GOLDEN = Path(__file__).parent / "golden"
TINY = NETWORK | {"train": {"global_batch_size": 8, "epochs": 6, "eval_interval": 3}}
"""A network that compiles in seconds, and a short run."""


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of worker processes: one for each CPU, of which each takes 1 to 2 GB of memory."""
    return min(os.cpu_count() or 1, 8)


def tiny_config(**sections: dict) -> Config:
    """Return the tiny configuration with some keys changed."""
    return config_from_tables({name: TINY.get(name, {}) | sections.get(name, {}) for name in TINY | sections})


def in_float32(model: TrainedModel) -> TrainedModel:
    """Return the model in float32: bfloat16, fast on some processors, rounds otherwise in a batch of another size."""
    section = dataclasses.replace(model.config.model, forward_dtype="float32")
    return model._with_config(dataclasses.replace(model.config, model=section))


def run_trm(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    """Call the command line in this process; return exit code, output and errors."""
    sys.argv = ["trm", *map(str, arguments)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def check_mistake(capsys: pytest.CaptureFixture, arguments: list[str], says: str) -> None:
    """Call the command line; require exit code 2 and one line that says what is wrong."""
    code, _, err = run_trm(capsys, *arguments)
    assert code == 2
    assert says in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Free the memory of compiled programs after each file; what another file needs again is in the cache on disk."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def tables() -> dict[str, Table]:
    """Return a few generated 4x4 Sudokus for each split."""

    def stack(puzzles: list[Puzzle]) -> Table:
        return Table(*(np.array(column) for column in zip(*puzzles, strict=True)))

    puzzles = list(sudoku_generator.generate_many(4, 30, seed=0))
    return {"train": stack(puzzles[:20]), "test": stack(puzzles[20:])}


@pytest.fixture(scope="session")
def splits(tables: dict[str, Table]) -> dict[str, PuzzleSet]:
    """Return a puzzle set of 4x4 Sudokus in memory."""
    rng = np.random.default_rng(0)
    return {
        "train": sudoku_build.build_split("train", tables["train"], rng, num_aug=3),
        "test": sudoku_build.build_split("test", tables["test"], rng),
    }


@pytest.fixture(scope="session")
def puzzle_dir(splits: dict[str, PuzzleSet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of that puzzle set on disk."""
    directory = tmp_path_factory.mktemp("puzzles") / "sudoku-4x4"
    write_puzzle_set(directory, splits, ["<blank>"])
    return directory


# Pages in headless Chromium, driven by Playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
DESK = {"viewport": {"width": 1280, "height": 950}, "color_scheme": "light"}


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Yield the browser; skip the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright (extra `browser`)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with api.sync_playwright() as playwright:
        # Without a sandbox, which a container seldom allows.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Yield a function that opens an address; at the end no page has complained or asked for anything else."""
    contexts, said, asked, opened, allowed = [], [], [], [], set()

    def open_one(address: str, also: tuple[str, ...] = (), **options: Any) -> Any:
        allowed.update(also)
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        opened.append(address)
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert said == []
    # A worker is made of a Blob, which is an address without a network.
    assert [address for address in asked if not address.startswith("blob:") and address not in allowed] == opened
