"""Puzzles from a user: an argument, a file or standard input. Entry: `read_questions`, `check_questions`."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer.core

from trm.errors import InputError
from trm.puzzles.kinds.kind import PuzzleKind, Question
from trm.puzzles.text.decode import read_standard_input, read_text
from trm.show.console import print_warning, printable
from trm.solving.trained_model import TrainedModel

FORMER_NAMES = {"--trained-on": "--data"}
"""Names that options of these commands had before. They still work; the help does not list them."""


class PuzzleCommand(typer.core.TyperCommand):
    """A command whose arguments may begin with `-` if they are puzzles."""

    def make_parser(self, ctx: Any) -> Any:
        parser, parameters = super().make_parser(ctx), list[Any](self.params)
        for parameter in parameters:
            former = [FORMER_NAMES[name] for name in parameter.opts if name in FORMER_NAMES]
            if former:
                parser.add_option(parameter, former, dest=parameter.name, nargs=parameter.nargs)
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for parameter in self.params for name in parameter.opts}
        puzzles = [i for i, arg in enumerate(args) if _is_puzzle(arg) and arg not in known]
        if puzzles and "--" not in args:
            # Arguments after `--` are not options, even if they begin with `-`.
            args = [*(arg for i, arg in enumerate(args) if i not in puzzles), "--", *(args[i] for i in puzzles)]
        return super().parse_args(ctx, args)


def _is_puzzle(argument: str) -> bool:
    """Return whether an argument that begins with `-` consists of cells rather than of the letters of an option."""
    letters = sum(c.isalpha() and c not in "xX" for c in argument)
    return len(argument) > 8 and argument.startswith("-") and 2 * letters < len(argument)


def read_questions(puzzle: str, model: TrainedModel, columns: Mapping[str, str] | None = None) -> list[Question]:
    """Return the questions in an argument, a file, or standard input; raise InputError where there is none."""
    if puzzle == "-":
        return model.read(read_standard_input(), "standard input", columns)
    if os.path.isdir(puzzle):
        raise InputError(f"{puzzle}: found a folder, expected a puzzle or a file of them")
    if os.path.exists(puzzle):  # A file or a pipe.
        return model.read(read_text(puzzle), puzzle, columns)
    try:
        return model.read(puzzle, "puzzle", columns)
    except InputError as error:
        like_a_path = re.search(r"[/\\]\w|\.[a-zA-Z]\w+$", puzzle) and not puzzle.lstrip().startswith(("[", "{", "<"))
        if like_a_path and "\n" not in puzzle:
            raise InputError(f"{puzzle}: no such file, and not a puzzle") from error
        if any(c.isalpha() for c in puzzle) and "\n" not in puzzle and len(puzzle) < 200:
            raise InputError(f"{error} (and there is no file {puzzle!r})") from error
        raise


def check_questions(questions: Sequence[Question], kind: PuzzleKind) -> None:
    """Print one line for each question that has a problem; raise InputError if one of them has no answer."""
    hopeless = []
    for question in questions:
        problem = kind.problem(question.tokens)
        if problem is None:
            continue
        line = f"{question.where}: {problem.text}"
        if problem.hopeless:
            hopeless.append(line)
        else:
            print_warning(line)
    if hopeless:
        for line in hopeless[:-1]:
            print("error: " + printable(line), file=sys.stderr)
        raise InputError(f"{hopeless[-1]} (--no-check lets the network try all the same)")
