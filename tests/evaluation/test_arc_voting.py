"""Votes on ARC against dictionaries and loops, one prediction at a time."""

import json
import math
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import GOLDEN, run_trm

from trm.errors import InputError
from trm.evaluation.arc import Voter, pass_at, submission, voter_for
from trm.evaluation.report import Predictions
from trm.puzzles.kinds.arc.augmentations import Augmentation, name_augmentation
from trm.puzzles.kinds.arc.frames import crop, to_frame
from trm.puzzles.kinds.arc.tasks import Pair, Task, read_test_puzzles
from trm.puzzles.kinds.arc.votes import Candidate, Ranking, Votes, count_votes, grid_bytes, grid_of, merge, rank
from trm.puzzles.loader import load_test_batches
from trm.puzzles.metadata import IGNORED_LABEL
from trm.puzzles.reading import read_puzzle_set
from trm.solving.reason import confidence

# Made-up evaluations


def count(answered: Predictions, names: list[str], blank: int) -> Votes:
    identifiers, inputs, predictions, logits = answered
    return count_votes(identifiers, inputs, predictions, confidence(logits), names, blank)


BLANK = 0


class Evaluation(NamedTuple):
    """Tasks with predictions for them, right and wrong."""

    tasks: list[Task]
    names: list[str]
    predictions: Predictions


def draw_augmentation(rng: np.random.Generator) -> Augmentation:
    return Augmentation(int(rng.integers(8)), np.insert(1 + rng.permutation(9), 0, 0).astype(np.uint8))


def draw_grid(rng: np.random.Generator, limit: int) -> np.ndarray:
    return rng.integers(10, size=rng.integers(1, limit + 1, size=2)).astype(np.uint8)


def draw_evaluation(seed: int) -> Evaluation:
    """Draw few grids, so that they tie, and few confidences; every kind of prediction, blanks among them."""
    rng = np.random.default_rng(seed)
    tasks, names, rows = [], ["<blank>"], []
    shared = draw_grid(rng, 4)
    for name in ("a", "b", "c", "unknown"):
        # An input of several tasks, and others of its own.
        questions = [shared] + [draw_grid(rng, 4) for _ in range(rng.integers(1, 4))]
        tests = [Pair(question, draw_grid(rng, 4), is_test=True) for question in questions]
        demonstration = Pair(draw_grid(rng, 4), draw_grid(rng, 4), is_test=False)
        tasks.append(Task(name, [demonstration, *tests], {}))
        augmentations = [draw_augmentation(rng) for _ in range(5)]
        names += [name] + [name_augmentation(name, augmentation) for augmentation in augmentations]
        wrong = [draw_grid(rng, 3) for _ in range(3)]
        identity = Augmentation(0, np.arange(10, dtype=np.uint8))
        # The last is answered by nobody.
        for test in [demonstration, *tests][:-1]:
            known = [test.output] * rng.integers(3) + wrong
            for i, augmentation in enumerate([identity, *augmentations]):
                answers = [to_frame(augmentation.apply(grid)) for grid in known]
                garbage = [np.zeros(900), rng.integers(-5, 20, 900), rng.integers(2, 12, 900)]
                for frame in [answers[k] for k in rng.integers(len(answers), size=2)] + garbage[: rng.integers(3)]:
                    logit = rng.choice([-2.0, 0.5, 3.0])
                    rows.append((len(names) - 6 + i, to_frame(augmentation.apply(test.input)), frame, logit))
    rows += [(BLANK, np.zeros(900), np.zeros(900), 9.0)] * 5
    columns = zip(*(rows[i] for i in rng.permutation(len(rows))), strict=True)
    dtypes = (np.int32, np.int32, np.int32, np.float32)
    predictions = Predictions(*(np.array(c).astype(dtype) for c, dtype in zip(columns, dtypes, strict=True)))
    return Evaluation(tasks[:3], names, predictions)


def vote(evaluation: Evaluation, rows: Any = slice(None)) -> Votes:
    return count(Predictions(*(field[rows] for field in evaluation.predictions)), evaluation.names, BLANK)


# The same in plain Python

Rows = tuple[tuple[int, ...], ...]
UNDO: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda grid: grid,
    lambda grid: np.rot90(grid, -1),
    lambda grid: np.rot90(grid, -2),
    lambda grid: np.rot90(grid, -3),
    np.fliplr,
    np.flipud,
    np.transpose,
    lambda grid: np.rot90(grid, 2).T,
]


def as_rows(grid: Any) -> Rows:
    return tuple(tuple(int(color) for color in row) for row in grid)


def plain_answer(frame: np.ndarray, name: str) -> Rows:
    """Crop a frame and undo the augmentation that a name says."""
    board = frame.reshape(30, 30).tolist()
    best, width = (0, 0), 30
    for i, row in enumerate(board):
        width = min(width, next((j for j, token in enumerate(row) if not 2 <= token <= 11), 30))
        if (i + 1) * width > best[0] * best[1]:
            best = (i + 1, width)
    grid = [[token - 2 for token in row[: best[1]]] for row in board[: best[0]]]
    if "|||" in name and grid:
        _, transform, colors = name.split("|||")
        turned = UNDO[int(transform[1:])](np.array(grid))
        grid = [[colors.index(str(color)) for color in row] for row in turned.tolist()]
    return as_rows(grid)


PlainRanking = list[tuple[Rows, int, Fraction]]


def plain_rankings(evaluation: Evaluation) -> dict[str, list[PlainRanking]]:
    """Rank what was voted for each test input: grid, votes and mean confidence."""
    votes: dict[tuple[str, Rows], dict[Rows, list[Fraction]]] = {}
    for identifier, question, frame, logit in zip(*evaluation.predictions, strict=True):
        if identifier == BLANK:
            continue
        name = evaluation.names[identifier]
        answers = votes.setdefault((name.split("|||")[0], plain_answer(question, name)), {})
        answers.setdefault(plain_answer(frame, name), []).append(Fraction(1 / (1 + math.exp(-float(logit)))))
    rankings = {}
    for task in evaluation.tasks:
        rankings[task.name] = []
        for pair in task.pairs:
            if pair.is_test:
                answers = votes.get((task.name, as_rows(pair.input)), {})
                ranking = [(grid, len(c), sum(c, Fraction(0)) / len(c)) for grid, c in answers.items()]
                ranking.sort(key=lambda entry: entry[1:], reverse=True)
                rankings[task.name].append(ranking)
    return rankings


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_votes_are_those_of_a_plain_loop(seed: int):
    evaluation = draw_evaluation(seed)
    found, expected = rank(vote(evaluation), evaluation.tasks), plain_rankings(evaluation)
    solved = {k: Fraction(0) for k in (1, 2, 3)}
    for task in evaluation.tasks:
        truths = [as_rows(pair.output) for pair in task.pairs if pair.is_test]
        for truth, ranking, plain in zip(truths, found[task.name], expected[task.name], strict=True):
            assert [(as_rows(c.grid), c.votes) for c in ranking.candidates] == [entry[:2] for entry in plain]
            means = [float(mean) for _, _, mean in plain]
            np.testing.assert_allclose([c.confidence for c in ranking.candidates], means, rtol=1e-14)
            places = [i for i, (grid, _, _) in enumerate(plain, start=1) if grid == truth]
            assert ranking.truth_rank == (places[0] if places else None)
            for k in solved:
                solved[k] += Fraction(truth in [grid for grid, _, _ in plain[:k]], len(truths) * len(evaluation.tasks))
        for places, plain in zip(submission(found)[task.name], expected[task.name], strict=True):
            best = [[list(row) for row in grid] or [[0]] for grid, _, _ in plain] or [[[0]]]
            assert places == {"attempt_1": best[0], "attempt_2": best[1] if len(best) > 1 else best[0]}
    metrics = pass_at(found, tuple(solved))
    assert list(metrics) == ["pass@1", "pass@2", "pass@3"]
    np.testing.assert_allclose(list(metrics.values()), [float(share) for share in solved.values()], rtol=1e-14)


def test_made_up_evaluations_have_what_is_to_be_tested():
    """Missing and empty answers, ties of votes, ties of both, right and wrong answers."""
    tied_votes = tied = missing = empty = first = later = never = 0
    for seed in SEEDS:
        evaluation = draw_evaluation(seed)
        for tests in rank(vote(evaluation), evaluation.tasks).values():
            for test in tests:
                missing += not test.candidates
                never += bool(test.candidates) and test.truth_rank is None
                first += test.truth_rank == 1
                later += (test.truth_rank or 1) > 1
                empty += any(not candidate.data for candidate in test.candidates)
                for a, b in zip(test.candidates, test.candidates[1:], strict=False):
                    tied_votes += a.votes == b.votes and a.confidence > b.confidence
                    tied += (a.votes, a.confidence) == (b.votes, b.confidence)
    assert min(tied_votes, tied, missing, empty, first, later, never) > 3


# Merging


@pytest.mark.parametrize("seed", SEEDS)
def test_votes_in_parts_are_those_at_once(seed: int):
    evaluation = draw_evaluation(seed)
    whole = vote(evaluation)
    rng = np.random.default_rng(seed)
    rows = np.arange(len(evaluation.predictions.inputs))
    # Empty parts among them.
    parts = [vote(evaluation, part) for part in np.split(rows, np.sort(rng.integers(len(rows), size=7)))]
    before = str(parts)
    merged = merge([merge(parts[:3]), merge(parts[3:])])
    assert merged == whole
    assert [list(answers) for answers in merged.values()] == [list(answers) for answers in whole.values()]
    assert str(parts) == before

    # In another order only complete ties are broken otherwise.
    shuffled = merge(vote(evaluation, part) for part in np.array_split(rng.permutation(rows), 5))

    def without_ties(votes: Votes) -> list[tuple[list[tuple], set[Candidate]]]:
        tests = [test for tests in rank(votes, evaluation.tasks).values() for test in tests]
        return [([(c.votes, c.confidence) for c in test.candidates], set(test.candidates)) for test in tests]

    assert without_ties(shuffled) == without_ties(whole)


def test_confidences_break_ties_whatever_the_order_of_votes():
    """Sums in floating point would depend on it."""
    tenths = [0.1, 0.2, 0.3]
    assert (0.1 + 0.2) + 0.3 != (0.3 + 0.2) + 0.1
    question, task = Pair(np.zeros((1, 1), np.uint8), np.ones((1, 1), np.uint8), is_test=True), "t"
    key, first, second = grid_bytes(
        np.stack([to_frame(np.full((1, 1), color, np.uint8)) for color in (0, 1, 2)]),
        [Augmentation(0, np.arange(10, dtype=np.uint8))] * 3,
    )
    for order in (tenths, tenths[::-1]):
        votes = {(task, key): {first: order, second: order[::-1]}}
        assert rank(votes, [Task(task, [question], {})])[task][0].truth_rank == 1


def test_blanks_alone_and_extreme_logits():
    """Processes may get nothing but padding; a confidence never overflows."""
    frames = np.stack([to_frame(np.full((2, 3), 4, np.uint8))] * 3).astype(np.int32)
    logits = np.array([-1e4, 1e4, 0.0], np.float32)
    assert count(Predictions(np.zeros(3, np.int32), frames, frames, logits), ["<blank>"], BLANK) == {}
    (answers,) = count(Predictions(np.ones(3, np.int32), frames, frames, logits), ["<blank>", "t"], 0).values()
    assert list(answers.values()) == [[0.0, 1.0, 0.5]]


# Grids


@pytest.mark.parametrize("transform", range(8))
def test_grids_of_every_shape_come_back(transform: int):
    rng = np.random.default_rng(transform)
    shapes = [(rows, columns) for rows in range(1, 31) for columns in (1, 2, 15, 29, 30)]
    grids = [rng.integers(10, size=shape).astype(np.uint8) for shape in shapes]
    augmentations = [Augmentation(transform, rng.permutation(10).astype(np.uint8)) for _ in grids]
    frames = np.stack([to_frame(a.apply(grid)) for a, grid in zip(augmentations, grids, strict=True)])
    data = grid_bytes(frames, augmentations)
    for found, grid in zip(data, grids, strict=True):
        np.testing.assert_array_equal(grid_of(found), grid)
    assert len(set(data)) == len({as_rows(grid) for grid in grids})
    # What is beside a grid does not matter.
    littered = np.where(frames == 0, rng.choice([0, 1, 5, 11], frames.shape), frames)
    for found, frame, augmentation in zip(grid_bytes(littered, augmentations), littered, augmentations, strict=True):
        np.testing.assert_array_equal(grid_of(found), augmentation.undo(crop(frame)))


# Submission


def test_every_test_input_keeps_its_place():
    """With one candidate it is given twice, with none [[0]] is, and so it is for a grid without cells."""
    one, two = (Candidate(bytes([color + 2]), votes, 0.5) for color, votes in ((7, 2), (8, 1)))
    nothing = Candidate(b"", 1, 0.5)
    rankings = {"t": [Ranking([], None), Ranking([one], 1), Ranking([one, two], 2)], "u": [Ranking([nothing], None)]}
    assert submission(rankings) == {
        "t": [
            {"attempt_1": [[0]], "attempt_2": [[0]]},
            {"attempt_1": [[7]], "attempt_2": [[7]]},
            {"attempt_1": [[7]], "attempt_2": [[8]]},
        ],
        "u": [{"attempt_1": [[0]], "attempt_2": [[0]]}],
    }
    assert pass_at(rankings) == {"pass@1": 1 / 6} | {f"pass@{k}": 1 / 3 for k in (2, 5, 10, 100, 1000)}


# Tasks of a set

PAIR = {"input": [[1]], "output": [[2]]}


def test_tasks_are_read_with_their_solutions():
    folder = GOLDEN / "arc_small" / "dataset"
    tasks = read_test_puzzles(folder)
    written = json.loads((folder / "test_puzzles.json").read_text())
    assert {task.name: task.source for task in tasks} == written
    for task in tasks:
        outputs = [pair.output.tolist() for pair in task.pairs if pair.is_test]
        assert outputs == [pair["output"] for pair in written[task.name]["test"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("{", "not a JSON file"),
        ("[]", "found [], expected an object with a task per name"),
        ("{}", "found {}, expected an object with a task per name"),
        (json.dumps({"t": 1}), "task t: found 1, expected an object"),
        (json.dumps({"t": {"train": [PAIR]}}), "task t: test: found no pairs"),
        (json.dumps({"t": {"train": [PAIR], "test": [{"input": [[1]]}]}}), "task t: test pair 1: output: missing"),
        (
            json.dumps({"t": {"train": [PAIR], "test": [PAIR, PAIR | {"output": [[10]]}]}}),
            "task t: test pair 2: output: found 10, expected a colour from 0 to 9",
        ),
    ],
)
def test_malformed_tasks_are_named(tmp_path: Path, text: str | None, message: str):
    path = tmp_path / "test_puzzles.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        read_test_puzzles(tmp_path)


@pytest.mark.slow
def test_votes_on_several_sets_of_the_same_tasks(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Each set calls its puzzles otherwise: right answers to both win every vote, and all of them count."""
    kaggle = GOLDEN / "arc_small" / "source" / "arc"
    voters, sequences = [], 0
    for seed in (1, 2):
        directory = tmp_path / str(seed)
        assert run_trm(capsys, "data", "arc", directory, kaggle, "--num-aug", 3, "--seed", seed)[0] == 0
        puzzles = read_puzzle_set(directory, "test")
        voters.append(voter_for(puzzles, [directory]))
        for _, batch in load_test_batches(puzzles, 64):
            answers = np.where(batch.labels == IGNORED_LABEL, 0, batch.labels)
            voters[-1].see(Predictions(batch.puzzle_identifiers, batch.inputs, answers, np.zeros(64, np.float32)))
            sequences += int((batch.puzzle_identifiers != BLANK).sum())
    rankings = voters[0].rankings(voters[1:])
    assert pass_at(rankings)["pass@1"] == 1.0
    tests = [test for tests in rankings.values() for test in tests]
    assert all(len(test.candidates) == 1 for test in tests)
    assert sum(test.candidates[0].votes for test in tests) == sequences
    with pytest.raises(InputError, match="found puzzle sets of different tasks"):
        voters[0].rankings([Voter([], [], BLANK)])
    names = directory / "identifiers.json"
    names.write_text(json.dumps(json.loads(names.read_text())[:-1]))
    with pytest.raises(InputError, match=r"test: identifiers\.json: found \d+ names, expected \d+"):
        voter_for(puzzles, [directory])
