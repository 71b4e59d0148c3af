"""The map of the package: every module with the first sentence of its docstring, as in trm/README.md.

`python scripts/house_map.py` prints it; `--write` puts it into trm/README.md between its markers.
"""

import ast
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parent.parent
README = ROOT / "trm" / "README.md"
BEGIN, END = "<!-- map -->\n", "<!-- end of map -->"
PACKAGES = (
    "storage configuration parallel puzzles model supervision checkpoints original solving evaluation training show cli"
).split()
"""In the order of the data: a package imports only packages before it."""


def house_map(package: Path = ROOT / "trm") -> str:
    """Return the map as Markdown: the modules at the top, then each package in the order of the data."""
    lines = ["```"]
    lines += [_line(path, 0) for path in sorted(package.glob("*.py"))]
    for name in PACKAGES:
        lines += _folder(package / name, 0)
    return "\n".join([*lines, "```\n"])


def write(text: str, readme: Path = README) -> str:
    """Return the text of a README with the map in it."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + text + END + after


def _folder(folder: Path, depth: int) -> list[str]:
    lines = [_line(folder / "__init__.py", depth, f"{folder.name}/")]
    lines += [_line(path, depth + 1) for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        lines += _folder(inner, depth + 1)
    return lines


def _line(path: Path, depth: int, name: str = "") -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{path}: found no docstring, expected one that says what the module is")
    first = " ".join(docstring.split("\n\n")[0].split())
    # The first sentence: a full stop before a capital or the end, not the one of `config.toml`.
    sentence = first.split(". ")[0].rstrip(".")
    return f"{'  ' * depth}{name or path.name}".ljust(28) + sentence


def main(to_readme: Annotated[bool, typer.Option("--write", help="Put it into trm/README.md.")] = False) -> None:
    """Print the map of the package."""
    if to_readme:
        README.write_text(write(house_map()), encoding="utf-8")
    else:
        print(house_map(), end="")


if __name__ == "__main__":
    typer.run(main)
