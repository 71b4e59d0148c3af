"""`python scripts/tables`: writes the tables of the READMEs, or checks them with `--check`."""

import sys
from pathlib import Path
from typing import Annotated

# Python puts this folder on the path; the package is found from the folder above.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer
from records import read_records
from starting import start

from tables.markers import ROOT, readmes, update


def main(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Markdown files.", show_default="all READMEs")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if a table is out of date.")
    ] = False,
) -> None:
    """Write the tables between `<!-- table: NAME -->` and `<!-- end of table -->` from scripts/results/*.jsonl."""
    records = read_records(ROOT / "scripts" / "results")
    outdated = 0
    for path in files or readmes():
        text = path.read_text(encoding="utf-8")
        updated = update(str(path), text, records)
        if updated == text:
            continue
        outdated += 1
        if check:
            print(f"{path}: tables are out of date, expected what `python scripts/tables` writes", file=sys.stderr)
        else:
            path.write_text(updated, encoding="utf-8")
            print(f"{path}: tables written")
    raise typer.Exit(1 if check and outdated else 0)


if __name__ == "__main__":
    start(main)
