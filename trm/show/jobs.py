"""Jobs: puzzles that a live page asks a network to solve, checked, and the answer, one message for each step.

Entry: `Boards` (Sudokus, mazes), `Tasks` (ARC); `think`.
"""

import base64
import dataclasses
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Integer

from trm.errors import InputError
from trm.model.digits import BLANK
from trm.puzzles.kinds.arc.grids import Grid, parse_grid
from trm.puzzles.kinds.arc.tasks import Pair, Task, parse_tasks
from trm.puzzles.ranges import check_range
from trm.show.html.live import MOST_ATTEMPTS, MOST_STEPS, STEPS
from trm.solving.arc import check_trained_on, identifiers_by_task
from trm.solving.arc_traces import stream_test
from trm.solving.attempt_traces import AttemptTrace, stream_attempts
from trm.solving.trained_model import TrainedModel

MOST_NOISE = 10
"""Maximum standard deviation of the noise."""
_NAMELESS = "a task without a name"


class Job(NamedTuple):
    """Attempts at one puzzle."""

    steps: Iterator[list[AttemptTrace]]
    """The attempts after each supervision step; a step is computed when it is requested."""
    attempts: int
    stop: Literal["halt", "rules", "never"]


@dataclasses.dataclass(frozen=True)
class Boards:
    """A model of Sudokus or mazes, and the number of its views."""

    model: TrainedModel
    most_views: int

    def read(self, values: dict[str, Any]) -> Job:
        """Return the job in a request; raise InputError, naming the key, if it is invalid.

        `puzzle` is text, in any form that `trm solve` takes, or a list of tokens.
        """
        question = self._read_question(values.get("puzzle"))
        views = _read_views(values, self.most_views)
        noise = values.get("noise", 0.0)
        if type(noise) not in (int, float) or not 0 <= noise <= MOST_NOISE:
            raise InputError(f"noise: found {noise!r:.60}, expected 0 to {MOST_NOISE}")
        steps = _read_integer(values, "steps", default=STEPS, least=1, most=MOST_STEPS)
        seed = _read_integer(values, "seed", default=0, least=0, most=2**31 - 1)
        stop = values.get("stop", "halt")
        if stop not in ("halt", "rules", "never"):
            raise InputError(f"stop: found {stop!r:.60}, expected 'halt', 'rules' or 'never'")
        given = self._read_guesses(values.get("guesses"), question, len(views))
        made = stream_attempts(self.model, question, views, steps, float(noise), seed, given)
        return Job(made, len(views), stop)

    def _read_question(self, puzzle: Any) -> Integer[np.ndarray, " seq_len"]:
        model = self.model
        cells, tokens = model.metadata.seq_len, model.metadata.vocab_size
        if isinstance(puzzle, str):
            question = model.parse(puzzle)
        elif _are_integers(puzzle) and len(puzzle) == cells and all(0 < token < tokens for token in puzzle):
            question = np.array(puzzle)
        else:
            raise InputError(f"puzzle: found {puzzle!r:.60}, expected text, or {cells} tokens from 1 to {tokens - 1}")
        problem = model.kind.problem(question)
        if problem is not None and problem.hopeless:
            raise InputError(f"puzzle: {problem.text}")
        return question

    def _read_guesses(
        self, guesses: Any, question: Integer[np.ndarray, " seq_len"], views: int
    ) -> Integer[np.ndarray, "views seq_len"]:
        """Return the puzzle as each attempt sees it: with its guesses as given."""
        given = np.repeat(question[None], views, axis=0)
        if guesses is None:
            return given
        if type(guesses) is not list or len(guesses) != views or any(type(pairs) is not list for pairs in guesses):
            raise InputError(
                f"guesses: found {guesses!r:.60}, expected for each view ({views}) a list of [cell, token]"
            )
        digits = range(BLANK + 1, self.model.metadata.vocab_size)
        for attempt, pairs in enumerate(guesses):
            for pair in pairs:
                if not (_are_integers(pair) and len(pair) == 2 and 0 <= pair[0] < question.size and pair[1] in digits):
                    raise InputError(f"guesses: found {pair!r:.60}, expected a cell and the token of a digit")
                if not self.model.kind.has_digits or question[pair[0]] != BLANK:
                    raise InputError(f"guesses: found {pair!r:.60}, expected a blank cell of a puzzle with digits")
                given[attempt, pair[0]] = pair[1]
        return given


@dataclasses.dataclass(frozen=True)
class Tasks:
    """A model of ARC, the names of its puzzle identifiers, and the tasks that its page lists."""

    model: TrainedModel
    names: Sequence[str]
    listed: Sequence[Task] = ()

    def read(self, values: dict[str, Any]) -> Job:
        """Return the job in a request; raise InputError, naming the key, if it is invalid.

        `task` is the name of a task that the model was trained on, `input` the grid of a test input, `output` its
        solution, where it is known. A view is an augmentation of the task, by its number.
        """
        name, output = values.get("task"), values.get("output")
        if not isinstance(name, str):
            raise InputError(f"task: found {name!r:.60}, expected the name of a task")
        identifiers = self._identifiers.get(name, [])
        check_trained_on(name, identifiers)
        question = parse_grid(values.get("input"), "input")
        test = Pair(question, question if output is None else parse_grid(output, "output"), True, output is not None)
        views = _read_views(values, len(identifiers))
        steps = _read_integer(values, "steps", default=STEPS, least=1, most=MOST_STEPS)
        stop = values.get("stop", "halt")
        if stop not in ("halt", "never"):
            raise InputError(f"stop: found {stop!r:.60}, expected 'halt' or 'never'")
        made = stream_test(self.model, test, [identifiers[view] for view in views], self.names, steps)
        return Job(made, len(views), stop)

    def read_tasks(self, text: Any) -> list[dict[str, Any]]:
        """Return the tasks of a pasted text that the model was trained on, as `describe` does.

        A task without a name gets that of the listed task with the same examples. Raises InputError for a text without
        tasks, and if the model was trained on none of them.
        """
        if not isinstance(text, str):
            raise InputError(f"text: found {text!r:.60}, expected tasks as JSON")
        tasks = parse_tasks(text, "pasted", _NAMELESS)
        if tasks[0].name == _NAMELESS:
            same = [task.name for task in self.listed if _examples(task) == _examples(tasks[0])]
            tasks = [tasks[0]._replace(name=same[0])] if same else parse_tasks(text, "pasted")
        return self.describe(tasks)

    def describe(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        """Return the data of tasks for a page, without tasks that the model was not trained on.

        Raises InputError if none is left.
        """
        known = [task for task in tasks if task.name in self._identifiers]
        if tasks and not known:
            check_trained_on(tasks[0].name, [])
        return [
            {
                "name": task.name,
                "views": len(self._identifiers[task.name]),
                "train": [_describe_pair(pair) for pair in task.pairs if not pair.is_test],
                "test": [_describe_pair(pair) for pair in task.pairs if pair.is_test],
            }
            for task in known
        ]

    @cached_property
    def _identifiers(self) -> dict[str, list[int]]:
        return identifiers_by_task(self.names)


def think(job: Job) -> Iterator[dict[str, Any]]:
    """Yield a message after each supervision step, in the form of the page's worker, then one at the end."""
    done = np.zeros(job.attempts, bool)
    begun = time.perf_counter()
    for step, attempts in enumerate(job.steps, start=1):
        # An attempt that has halted stays as it is.
        described = [None if halted else _describe(a) for a, halted in zip(attempts, done, strict=True)]
        yield {"step": step, "attempts": described, "seconds": time.perf_counter() - begun}
        begun = time.perf_counter()
        if job.stop == "halt":
            done |= [attempt.halting_step is not None for attempt in attempts]
        if done.all() or (job.stop == "rules" and any(attempt.solved_after for attempt in attempts)):
            break
    yield {"end": True}


def _read_views(values: dict[str, Any], most: int) -> list[int]:
    """Return the view of each attempt."""
    views = values.get("views", [0])
    if not _are_integers(views) or not 1 <= len(views) <= MOST_ATTEMPTS:
        raise InputError(f"views: found {views!r:.60}, expected 1 to {MOST_ATTEMPTS} numbers of views")
    check_range("views", np.array(views), most)
    return views


def _are_integers(found: Any) -> bool:
    """Return whether a value is a list of integers; a type checker would look at one of them."""
    return type(found) is list and all(type(number) is int for number in found)


def _read_integer(values: dict[str, Any], key: str, default: int, least: int, most: int) -> int:
    found = values.get(key, default)
    if type(found) is not int or not least <= found <= most:
        raise InputError(f"{key}: found {found!r:.60}, expected {least} to {most}")
    return found


def _examples(task: Task) -> list[tuple[Any, Any]]:
    return [(pair.input.tolist(), pair.output.tolist()) for pair in task.pairs if not pair.is_test]


def _describe_pair(pair: Pair) -> dict[str, Any]:
    def rows(grid: Grid) -> list[str]:
        return ["".join(map(str, row)) for row in grid.tolist()]

    return {"input": rows(pair.input), "output": rows(pair.output) if pair.known else None}


def _describe(attempt: AttemptTrace) -> dict[str, Any]:
    return {
        "tokens": _encode(attempt.predictions.astype("<u2")),
        "confidence": _encode(np.rint(attempt.confidence * 255).astype(np.uint8)),
        "wrong": _encode(attempt.wrong.astype(np.uint8)),
        "solved": None if attempt.solved is None else attempt.solved.ravel().tolist(),
        "q_halt": attempt.q_halt.astype(float).ravel().tolist(),
        "halts": attempt.halting_step is not None,
    }


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
