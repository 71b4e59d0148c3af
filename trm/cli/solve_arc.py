"""`trm solve` with ARC: tasks as JSON in, grids out. Entry: `solve_arc`; `read_tasks`, `read_names`."""

import csv
import json
import sys
from pathlib import Path

from jax.sharding import Mesh
from rich.text import Text

from trm.cli.options import Output
from trm.errors import InputError
from trm.evaluation.arc import ATTEMPTS
from trm.puzzles.identifiers import read_shared_identifiers
from trm.puzzles.identity import fingerprint_names
from trm.puzzles.json_files import unpack
from trm.puzzles.kinds.arc.draw import draw_grid
from trm.puzzles.kinds.arc.frames import to_frame
from trm.puzzles.kinds.arc.grids import ARC_SIDE, Grid
from trm.puzzles.kinds.arc.tasks import Task, parse_tasks, task_name
from trm.puzzles.text.decode import read_standard_input
from trm.show.console import console, print_lines, print_warning
from trm.show.terminal import side_by_side
from trm.solving.arc import SolvedTest, solve_tasks
from trm.solving.options import SolverOptions
from trm.solving.trained_model import SLOTS, TrainedModel


def solve_arc(
    model: TrainedModel,
    source: str,
    trained_on: Path | None,
    options: SolverOptions,
    views: int | None,
    mesh: Mesh,
    output: Output,
) -> None:
    """Solve tasks, given as JSON, a file or `-` for standard input, and write the best answers to each test input."""
    names = read_names(model, trained_on)
    tasks = read_tasks(source)
    solved = solve_tasks(model.weights, model.config, mesh, tasks, names, options, SLOTS * mesh.size, views)
    if output == "text":
        _draw(tasks, solved)
    elif output == "plain":
        for test in solved:
            print(json.dumps(_grid(test, 0)))
    elif output == "json":
        print(json.dumps([_describe(test) for test in solved]))
    else:
        _write_csv(solved)


def read_names(model: TrainedModel, trained_on: Path | None) -> list[str]:
    """Return the names of the model's identifiers, from the puzzle set that it was trained on."""
    directories = [str(trained_on)] if trained_on else model.config.data.train_paths
    where = ", ".join(directories)
    if not where:
        raise InputError(
            f"--trained-on: missing, expected the puzzle set that {model.name} was trained on: it names its tasks"
        )
    names, expected = read_shared_identifiers(directories), len(model.weights.puzzle_table)
    if len(names) != expected:
        found = f"{len(names):,} puzzle identifiers in {where}"
        raise InputError(f"--trained-on: found {found}, expected {expected:,}, one for each of the model's embeddings")
    known = model.description.identity.get("identifiers")
    if known is None:
        print_warning(
            f"{model.name}: has no fingerprint of its identifiers (an earlier format, or an imported file): their "
            f"names are not compared with those of {where}"
        )
    elif fingerprint_names(directories) != known:
        raise InputError(
            f"--trained-on: found other names of puzzle identifiers in {where}, expected the puzzle set that "
            f"{model.name} was trained on"
        )
    return names


def read_tasks(source: str) -> list[Task]:
    """Return the tasks in JSON, in a file, or in standard input (`-`)."""
    if source == "-":
        return parse_tasks(read_standard_input(), "standard input")
    if source.lstrip().startswith(("{", "[")):
        return parse_tasks(source, "puzzle")
    # A single task is named by its file, as in the official repositories.
    return parse_tasks(unpack(Path(source)), source, task_name(source))


def _grid(test: SolvedTest, attempt: int) -> list[list[int]]:
    return test.candidates[attempt].grid.tolist()


def _describe(test: SolvedTest) -> dict:
    attempts = [
        {"grid": _grid(test, i), "votes": candidate.votes, "confidence": round(candidate.confidence, 6)}
        for i, candidate in enumerate(test.candidates[:ATTEMPTS])
    ]
    return {"task": test.task, "test": test.test, "votes": test.votes, "steps": test.steps, "attempts": attempts}


def _write_csv(solved: list[SolvedTest]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["task", "test", "attempt", "answer", "votes", "of", "confidence"])
    for test in solved:
        for i, candidate in enumerate(test.candidates[:ATTEMPTS]):
            row = [json.dumps(_grid(test, i)), candidate.votes, test.votes, round(candidate.confidence, 6)]
            writer.writerow([test.task, test.test, i + 1, *row])


def _draw(tasks: list[Task], solved: list[SolvedTest]) -> None:
    questions = [[pair.input for pair in task.pairs if pair.is_test] for task in tasks]
    asked = [(question, len(of_task)) for of_task in questions for question in of_task]
    for (question, count), test in zip(asked, solved, strict=True):
        drawings = {"test input": _picture(question)}
        for i, candidate in enumerate(test.candidates[:ATTEMPTS], start=1):
            drawings[f"attempt {i}"] = _picture(candidate.grid)
        print_lines(f"{test.task}: test input {test.test + 1} of {count}")
        console.print(side_by_side(drawings, console.width), highlight=False)
        shares = ", ".join(
            f"{candidate.votes} of {test.votes} votes (confidence {candidate.confidence:.3f})"
            for candidate in test.candidates[:ATTEMPTS]
        )
        print_lines(f"{shares}; {test.steps} supervision steps\n")


def _picture(grid: Grid) -> Text:
    return draw_grid(to_frame(grid).reshape(ARC_SIDE, ARC_SIDE))
