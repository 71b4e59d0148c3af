"""`trm inspect`: a page of figures on how a model reasons about the puzzles of a set. Entry: `inspect_command`."""

from pathlib import Path
from typing import Annotated

import typer

from trm.checkpoints.card import describe_weights
from trm.cli.options import (
    CheckpointFile,
    EvaluatedSet,
    EvaluatedSplit,
    IdentifiersOf,
    OutFile,
    Overwrite,
    Raw,
    SolverSeed,
    Steps,
    check_out,
)
from trm.evaluation.data import open_data
from trm.evaluation.inspection import inspect, trace_examples
from trm.parallel.programs import keep_programs
from trm.puzzles.reading import read_puzzle_set
from trm.show.console import print_lines, print_warning
from trm.show.html.page import PAGES
from trm.show.inspection.charts import number, percent
from trm.show.inspection.page import make_page
from trm.solving.trained_model import load
from trm.storage.files import atomic_write


def inspect_command(
    checkpoint: CheckpointFile,
    data: EvaluatedSet = None,
    out: OutFile = Path("report.html"),
    overwrite: Overwrite = False,
    puzzles: Annotated[int, typer.Option(help="Number of puzzles, drawn at random.", min=1)] = 300,
    hardest: Annotated[int, typer.Option(help="Number of the hardest among them that the page plays.", min=1)] = 6,
    split: EvaluatedSplit = "test",
    trained_on: IdentifiersOf = None,
    raw: Raw = False,
    steps: Steps = None,
    seed: SolverSeed = None,
) -> None:
    """Write a page of figures on how a network reasons about the puzzles of a set.

    It shows accuracy after every supervision step and every cycle, the steps at which halting stops, convergence of the
    latents, mixing between cells and calibration of q_halt, and plays the hardest puzzles. The page is one file that
    works offline.

    Example: `trm inspect sudoku --data data/sudoku -o report.html`
    """
    check_out(out, overwrite, PAGES)
    keep_programs()
    metadata = read_puzzle_set(data, split).metadata if data else None
    model = load(checkpoint, averaged=not raw, metadata=metadata)
    opened = open_data(model, data, split, trained_on)
    for line in (*model.notes, *opened.warnings):
        print_warning(line)
    found = inspect(model, opened.puzzles, puzzles=puzzles, steps=steps, seed=seed or 0)
    chosen = found.hardest(hardest)
    traces = trace_examples(model, found, chosen)
    count = len(found.examples)
    description = (
        f"{count:,} of {opened.puzzles.examples:,} puzzles of {', '.join(opened.directories)} ({split}), "
        f"{describe_weights(model.description)}"
    )
    picture = model.kind.picture(model.metadata.seq_len, model.metadata.vocab_size)
    page = make_page(f"{checkpoint}: how it thinks", description, picture, found, chosen.tolist(), traces)
    with atomic_write(out) as path:
        path.write_text(page, encoding="utf-8")
    stopped = found.stopped
    print_lines(
        f"{out}: {count:,} puzzles, {percent(found.exact[-1].mean())} right after {len(found.exact)} steps, "
        f"{percent(stopped.exact.mean())} where halting stops, after {number(stopped.steps.mean())}; "
        "open it in a browser"
    )
