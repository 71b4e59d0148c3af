"""`trm render`: a page that plays how a network reasons about puzzles, or a picture of it. Entry: `render_command`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trm.cli.options import CheckpointFile, Columns, OutFile, Overwrite, SolverSeed, Steps, TrainedOn, check_out
from trm.cli.read_puzzles import PuzzleCommand, read_questions
from trm.cli.solve_arc import read_names, read_tasks
from trm.errors import InputError
from trm.parallel.programs import keep_programs
from trm.puzzles.text.columns import parse_columns
from trm.show.console import print_lines, print_warning
from trm.show.html.embedded import check_embeddable
from trm.show.html.live import make_live_page
from trm.show.html.page import PAGES
from trm.show.html.player import make_player
from trm.show.pictures import ENDINGS, write_pictures
from trm.solving.arc_traces import trace_tasks
from trm.solving.attempt_traces import PuzzleTrace, trace_puzzles
from trm.solving.trained_model import TrainedModel, load
from trm.storage.files import atomic_write

MOST_BOARDS = 64
"""Largest number of boards that browsers play smoothly on one page."""


def render_command(
    checkpoint: CheckpointFile,
    puzzles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PUZZLE...", help="Puzzles, files of them in any form, or - for standard input.", show_default=False
        ),
    ] = None,
    out: OutFile = Path("player.html"),
    overwrite: Overwrite = False,
    views: Annotated[
        int,
        typer.Option(
            help="Views of each puzzle side by side, under different symmetries; with ARC, augmentations.", min=1
        ),
    ] = 1,
    starts: Annotated[
        int, typer.Option(help="Further attempts, from random latents; not with ARC.", min=0, show_default=False)
    ] = 0,
    steps: Steps = None,
    seed: SolverSeed = None,
    columns: Columns = None,
    trained_on: TrainedOn = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Put the network into the page, to solve what a user types or draws; PUZZLE are its examples.",
        ),
    ] = False,
) -> None:
    """Write a page that plays how a network reasons about puzzles, step by step.

    It shows the answer after every supervision step and every H cycle: changed cells, wrong cells, and the network's
    confidence in each cell and in the whole answer. The page is one file that works offline. A name that ends in .svg,
    .png or .gif gives a picture of the winning attempt instead (PNG and GIF: extra `pictures`).

    With --live the network itself is in the page, of Sudokus or mazes: it solves what a user types or draws, without a
    server. --steps and --views are its defaults.

    Examples: `trm render sudoku-6x6 3654.24...5..32.4..4..232....4.....5 --views 4 -o player.html`,
    `trm render sudoku --live -o live.html`
    """
    check_out(out, overwrite, (*PAGES, *ENDINGS))
    ending = out.suffix.lower()
    keep_programs()
    model = load(checkpoint)
    for line in model.notes:
        print_warning(line)
    if live:
        _write_live(checkpoint, model, puzzles or [], out, steps, views, starts, seed, columns, trained_on)
        return
    if not puzzles:
        raise InputError("PUZZLE: found none, expected puzzles (--live needs none)")
    if model.kind.solved_from == "tasks":
        if starts:
            raise InputError(f"--starts: found {starts} with a model of ARC, expected only --views")
        tasks = [task for puzzle in puzzles for task in read_tasks(puzzle)]
        _check_count(sum(pair.is_test for task in tasks for pair in task.pairs), views)
        traced, names = trace_tasks(model, tasks, read_names(model, trained_on), views, steps)
    elif trained_on:
        raise InputError(f"--trained-on: found a model of {model.kind.name}, expected a model of arc")
    else:
        read = [found for puzzle in puzzles for found in read_questions(puzzle, model, parse_columns(columns))]
        _check_count(len(read), views + starts)
        names = [
            f"Puzzle {i}" if question.where == "puzzle" else question.where for i, question in enumerate(read, start=1)
        ]
        # `trm solve` answers in this dtype.
        fast = model.in_fast_dtype()
        questions = np.stack([question.tokens for question in read])
        traced = trace_puzzles(fast, questions, views, steps, seed or 0, starts=starts)
    picture = model.kind.picture(model.metadata.seq_len, model.metadata.vocab_size)
    with atomic_write(out) as path:
        if ending in ENDINGS:
            write_pictures(picture, traced, path, ending)
        else:
            page = make_player(f"{checkpoint}: how it reasons", picture, names, traced)
            path.write_text(page, encoding="utf-8")
    hint = "" if ending in ENDINGS else "; open it in a browser"
    print_lines(f"{out}: {_count_solved(traced)}{hint}")


def _write_live(
    checkpoint: str,
    model: TrainedModel,
    puzzles: list[str],
    out: Path,
    steps: int | None,
    views: int,
    starts: int,
    seed: int | None,
    columns: str | None,
    trained_on: Path | None,
) -> None:
    for name, found in (("starts", starts), ("trained-on", trained_on)):
        if found:
            raise InputError(f"--{name}: found {found} beside --live, expected none")
    if out.suffix.lower() in ENDINGS:
        raise InputError(f"{out}: found a picture beside --live, expected a page (.html)")
    check_embeddable(model)
    read = [found for puzzle in puzzles for found in read_questions(puzzle, model, parse_columns(columns))]
    examples = [question.tokens for question in read]
    page = make_live_page(f"{checkpoint}: watch it think", model, examples, steps=steps, attempts=views, seed=seed or 0)
    with atomic_write(out) as path:
        path.write_text(page, encoding="utf-8")
    print_lines(f"{out}: {len(page.encode()) / 2**20:.1f} MB, with the network in it; open it in a browser")


def _count_solved(traced: Sequence[PuzzleTrace]) -> str:
    """Return how many puzzles are solved, of those whose answers can be judged."""
    judged = [puzzle for puzzle in traced if puzzle.attempts[0].solved is not None]
    solved = sum(any(attempt.solved_after for attempt in puzzle.attempts) for puzzle in judged)
    parts = [f"{solved} of {len(judged)} puzzles solved"] if judged else []
    if unknown := len(traced) - len(judged):
        parts.append(f"{unknown} without a known solution")
    return ", ".join(parts)


def _check_count(puzzles: int, attempts: int) -> None:
    if puzzles * attempts > MOST_BOARDS:
        found = f"{puzzles} puzzles with {attempts} attempts"
        raise InputError(f"PUZZLE: found {found}, expected at most {MOST_BOARDS} boards on a page")


COMMAND_CLASS = PuzzleCommand
"""Class of the command, which `trm.cli.lazy` looks for."""
