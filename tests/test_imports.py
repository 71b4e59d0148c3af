"""Imports follow the data: nothing reaches upward."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = [
    "trm.errors",
    "trm.storage.files",
    "trm.configuration.schema",
    "trm.storage.hub",
    "trm.storage.bundled",
    "trm.parallel.mesh",
    "trm.puzzles.csv_files",
    "trm.puzzles.processes",
    "trm.puzzles.metadata",
    "trm.puzzles.writing",
    "trm.puzzles.kinds.dihedral",
    "trm.puzzles.kinds.sudoku.boards",
    "trm.puzzles.kinds.sudoku.generate",
    "trm.puzzles.kinds.maze.boards",
    "trm.puzzles.kinds.maze.generate",
    "trm.puzzles.kinds.arc.grids",
    "trm.puzzles.kinds.arc.build",
    "trm.puzzles.augmentation",
    "trm.puzzles.loader",
    "trm.puzzles.check",
    "trm.model.precision",
    "trm.model.attention",
    "trm.model.layers",
    "trm.model.recursion",
    "trm.model.reasoner",
    "trm.supervision.halting",
    "trm.supervision.loss",
    "trm.supervision.step",
    "trm.training.optim.muon",
    "trm.training.optim.assemble",
    "trm.training.step",
    "trm.training.feed",
    "trm.training.curriculum",
    "trm.training.estimate",
    "trm.checkpoints.format",
    "trm.training.start_from",
    "trm.solving.reason",
    "trm.solving.selection",
    "trm.solving.views",
    "trm.solving.solve",
    "trm.original.state_dict",
    "trm.original.files",
    "trm.original.settings",
    "trm.original.convert",
    "trm.checkpoints.card",
    "trm.evaluation.report",
    "trm.evaluation.every_step",
    "trm.evaluation.solver",
    "trm.evaluation.arc",
    "trm.solving.arc",
    "trm.training.tracking.metrics",
    "trm.training.run",
    "trm.show.terminal",
    "trm.puzzles.kinds.boards",
    "trm.show.console",
    "trm.cli.quickstart",
    "trm.cli.data",
    "trm.cli.weights",
    "trm.cli.options",
    "trm.cli.evaluate",
    "trm.cli.solve_arc",
    "trm.cli.solve",
    "trm.cli.main",
    "trm.__main__",
]
"""Every module, those that others build on first."""


def modules() -> dict[str, Path]:
    paths = (ROOT / "trm").rglob("*.py")
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name: path for name, path in named.items() if not name.endswith("__init__")}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_every_module_has_its_place():
    assert sorted(modules()) == sorted(ORDER)


def test_imports_follow_the_data():
    for name, path in modules().items():
        above = set(ORDER[ORDER.index(name) :])
        assert not imports(path) & above, f"{name} imports {imports(path) & above}"


def test_packages_below_are_empty():
    """One way to import a name; but for the few that `import trm` offers, on demand."""
    for path in (ROOT / "trm").glob("*/__init__.py"):
        assert not imports(path)
