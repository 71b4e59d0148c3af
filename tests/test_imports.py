"""Imports follow the data: nothing reaches upward."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = [
    "trm.errors",
    "trm.files",
    "trm.config",
    "trm.hub",
    "trm.named",
    "trm.devices",
    "trm.data.csv_files",
    "trm.data.processes",
    "trm.data.puzzles",
    "trm.data.puzzle_writer",
    "trm.data.dihedral",
    "trm.data.sudoku",
    "trm.data.sudoku_generator",
    "trm.data.maze",
    "trm.data.maze_generator",
    "trm.data.arc",
    "trm.data.arc_builder",
    "trm.data.augmentation",
    "trm.data.loader",
    "trm.data.puzzle_check",
    "trm.model.precision",
    "trm.model.attention",
    "trm.model.layers",
    "trm.model.recursion",
    "trm.model.reasoner",
    "trm.halting",
    "trm.loss",
    "trm.supervision",
    "trm.muon",
    "trm.optimizer",
    "trm.train_step",
    "trm.feed",
    "trm.curriculum",
    "trm.plan",
    "trm.checkpoint",
    "trm.warm_start",
    "trm.inference",
    "trm.selection",
    "trm.views",
    "trm.solver",
    "trm.torch_weights",
    "trm.torch_files",
    "trm.original_config",
    "trm.torch_import",
    "trm.model_card",
    "trm.report",
    "trm.evaluate",
    "trm.evaluate_thinking",
    "trm.arc_voting",
    "trm.arc_solver",
    "trm.run_log",
    "trm.train",
    "trm.render",
    "trm.boards",
    "trm.printing",
    "trm.quickstart",
    "trm.cli_data",
    "trm.cli_weights",
    "trm.cli_thinking",
    "trm.cli_evaluate",
    "trm.cli_solve_arc",
    "trm.cli_solve",
    "trm.cli",
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
