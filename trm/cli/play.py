"""`trm play`: a page served on this machine that shows each supervision step of a network. Entry: `play_command`."""

import math
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from trm.cli.options import CheckpointFile, TrainedOn
from trm.cli.read_puzzles import PuzzleCommand, read_questions
from trm.cli.solve_arc import read_names, read_tasks
from trm.errors import InputError
from trm.parallel.programs import keep_programs
from trm.puzzles.kinds.arc.tasks import TEST_PUZZLES, Task, read_test_puzzles
from trm.show.console import print_lines, print_warning
from trm.show.html.embedded import KINDS
from trm.show.html.live import MOST_ATTEMPTS, make_live_page
from trm.show.html.tasks import make_task_page
from trm.show.jobs import Boards, Tasks
from trm.show.server import PageServer
from trm.solving.trained_model import TrainedModel, load

PORT = 8642


def play_command(
    checkpoint: CheckpointFile = "sudoku",
    puzzles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PUZZLE...",
            help="Examples on the page: puzzles or files of them; with ARC tasks as JSON.",
            show_default="generated puzzles; with ARC the evaluation tasks of the puzzle set",
        ),
    ] = None,
    trained_on: TrainedOn = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any free port.", min=0, max=65535)] = PORT,
    open_browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Serve a page on this machine: type a Sudoku, draw a maze or choose an ARC task; see each supervision step.

    The page is that of `trm render --live`, but JAX runs the network, on any device and at any size. The page shows
    each step as soon as it is computed. Other machines cannot reach the page; other users of this machine need the
    token in its address. Ctrl-C ends the server.
    """
    keep_programs()
    model = load(checkpoint)
    for line in model.notes:
        print_warning(line)
    title = f"{checkpoint}: watch it think"
    if model.kind.solved_from == "tasks":
        reader = Tasks(
            model.in_fast_dtype(), read_names(model, trained_on), _read_listed(model, puzzles or [], trained_on)
        )
        page = make_task_page(title, model, reader.describe(reader.listed))
    elif model.kind.name not in KINDS:
        raise InputError(f"{checkpoint}: found a model of {model.kind.name}, expected one of {', '.join(KINDS)} or arc")
    elif trained_on:
        raise InputError(f"--trained-on: found a model of {model.kind.name}, expected a model of arc")
    else:
        examples = [found.tokens for puzzle in puzzles or [] for found in read_questions(puzzle, model)]
        page = make_live_page(title, model, examples, embed=False)
        views = min(MOST_ATTEMPTS, model.kind.most_views(model.metadata.seq_len) or math.inf)
        reader = Boards(model.in_fast_dtype(), int(views))
    server = PageServer(reader, page, port)
    print_lines(f"open {server.address} in a browser; Ctrl-C ends it")
    if open_browser:
        # A browser in the terminal keeps this call from returning, and waits for the page.
        threading.Thread(target=webbrowser.open, args=[server.address_once], daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        # Ctrl-C is the documented way to end the server.
        print_lines("ended")
    finally:
        server.close()


def _read_listed(model: TrainedModel, sources: list[str], trained_on: Path | None) -> list[Task]:
    """Return the tasks in the sources or, without sources, the evaluation tasks of the puzzle sets."""
    if sources:
        return [task for source in sources for task in read_tasks(source)]
    directories = [str(trained_on)] if trained_on else model.config.data.train_paths
    known = [directory for directory in directories if (Path(directory) / TEST_PUZZLES).is_file()]
    return [task for directory in known for task in read_test_puzzles(directory)]


COMMAND_CLASS = PuzzleCommand
"""Class of the command, which `trm.cli.lazy` looks for."""
