"""The package as users install it: a wheel that works from any folder, a source archive without collected data."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the source archive, built from a tree in which work has been done."""
    tree = tmp_path_factory.mktemp("source") / "trm"
    unwanted = shutil.ignore_patterns(".git", "__pycache__", "*.egg-info", "build", "dist", "runs", "data", ".venv")
    shutil.copytree(ROOT, tree, ignore=unwanted)
    for collected in ("data/sudoku/train/all__inputs.npy", "runs/first/weights.safetensors", "trm/data/set.npy"):
        (tree / collected).parent.mkdir(parents=True)
        (tree / collected).write_bytes(b"collected")
    out = tree.parent / "out"
    code = f"import setuptools.build_meta as b; b.build_wheel({str(out)!r}); b.build_sdist({str(out)!r})"
    _run([sys.executable, "-c", code], cwd=tree)
    return out


@pytest.mark.slow
@pytest.mark.processes
def test_the_wheel_solves_a_puzzle_from_another_folder(archives: Path, tmp_path: Path):
    venv.create(tmp_path / "environment", with_pip=False)
    python = tmp_path / "environment" / "bin" / "python"
    (packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    # The wheel itself is installed, its dependencies are those of the running environment.
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    (wheel,) = archives.glob("*.whl")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    _run([sys.executable, "-m", "pip", "--python", str(python), *install])

    where = _run([str(python), "-c", "import trm; print(trm.__file__)"], cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    command = [str(python.with_name("trm")), "solve", "sudoku", PUZZLE, "--format", "plain"]
    assert _run(command, cwd=tmp_path).strip() == ANSWER
    # A configuration by its name, its puzzles and the network that solves them.
    assert "hidden_size = 512" in _run([str(python), "-m", "trm", "info", "sudoku_mlp"], cwd=tmp_path)


@pytest.mark.slow
def test_archives_hold_the_package_and_nothing_collected(archives: Path, tmp_path: Path):
    (wheel,) = archives.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    ours = {p.relative_to(tmp_path / "wheel") for p in (tmp_path / "wheel").rglob("*") if p.is_file()}
    for folder in ("trm", "configs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".toml", ".safetensors", ".gz", ".typed") and "__pycache__" not in path.parts:
                installed = path.relative_to(ROOT)
                assert (Path("trm") / installed if folder == "configs" else installed) in ours
    (sdist,) = archives.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(name.endswith("/configs/sudoku_mlp.toml") for name in names)
    for name in [*names, *map(str, ours)]:
        assert not re.search(r"(^|/)(data|runs)/.*\.(npy|safetensors)$", name)


def _run(command: list[str], cwd: Path | None = None) -> str:
    """Run a command that knows nothing of this checkout; return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_packages_are_listed():
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    assert listed == {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("trm/**/__init__.py")} | {
        "trm.configs"
    }


def test_what_is_imported_is_declared():
    """At the top of a module: a dependency; inside a function, where it is needed: a dependency or an extra."""
    extras = {name for required in PROJECT["optional-dependencies"].values() for name in map(_package, required)}
    declared = set(map(_package, PROJECT["dependencies"]))
    packages_of_modules = packages_distributions()
    for path in (ROOT / "trm").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_once = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            for module in _imported(node):
                if module in sys.stdlib_module_names or module == "trm":
                    continue
                packages = {name.lower().replace("_", "-") for name in packages_of_modules.get(module, [module])}
                allowed = declared if id(node) in at_once else declared | extras
                assert packages & allowed, f"{path}: {module} is not declared in pyproject.toml"


def _imported(node: ast.AST) -> list[str]:
    """Return the packages that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    return []


def _package(requirement: str) -> str:
    """Return the name of a package in a requirement such as `jax>=0.10`."""
    name = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert name
    return name[0].lower().replace("_", "-")
