"""The package map: thirteen packages in the order of the data, each importing only packages before it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "storage configuration parallel puzzles model supervision checkpoints original solving evaluation training show cli"
).split()
"""A package imports only packages before it."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its name, packages by theirs."""
    paths = (ROOT / "trm").rglob("*.py")
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(modules())


def test_the_packages_are_the_folders():
    folders = {path.parent.name for path in (ROOT / "trm").glob("*/__init__.py")}
    assert folders == set(PACKAGES)


def test_a_package_imports_only_packages_before_it():
    upward = []
    for name, path in modules().items():
        _, _, rest = name.partition("trm.")
        package = rest.split(".")[0]
        if package not in PACKAGES:
            continue
        later = set(PACKAGES[PACKAGES.index(package) + 1 :])
        upward += [
            f"{name} imports {other}"
            for other in imports(path)
            if other.split(".")[1:2] and other.split(".")[1] in later
        ]
    assert not upward


def test_no_cycle():
    """Not in a package, and so, with the order of the packages, nowhere."""
    arrows = {name: imports(path) - {name} for name, path in modules().items()}
    # A package's own file is a module that its modules do not wait for.
    arrows = {name: {o for o in others if o not in name.rpartition(".")[0]} for name, others in arrows.items()}
    done: set[str] = set()
    while ready := {name for name in arrows.keys() - done if arrows[name] <= done}:
        done |= ready
    assert not arrows.keys() - done
