"""The API reference: a page for each module, made from docstrings and annotations with pdoc (extra `dev`).

`python scripts/make_reference.py OUT` writes it into a folder; it ends with an error where pdoc warns.
"""

import pkgutil
import warnings
from pathlib import Path
from typing import Annotated

import typer

import trm


def make_reference(folder: Path) -> None:
    """Write the reference into a folder. Raise whatever pdoc warns of."""
    import pdoc
    import pdoc.render

    # Names of the package are imported when they are first used: pdoc looks for those that are there.
    for name in trm.__all__:
        setattr(trm, name, getattr(trm, name))
    pdoc.render.configure(docformat="markdown", show_source=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pdoc.pdoc("trm", *packages(), output_directory=folder)


def packages() -> list[str]:
    """Return the packages and modules of `trm`, without the command line: its reference is `--help`."""
    found = (module.name for module in pkgutil.iter_modules(trm.__path__, "trm."))
    return [name for name in found if name not in ("trm.cli", "trm.__main__", "trm.configs")]


def main(out: Annotated[Path, typer.Argument(help="Folder to write.")]) -> None:
    """Write the API reference from the docstrings."""
    make_reference(out)
    print(f"{out}/index.html: the reference")


if __name__ == "__main__":
    typer.run(main)
