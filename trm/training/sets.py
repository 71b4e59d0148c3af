"""The puzzle sets of a run, for training, validation and test, and the steps of its evaluations.

Puzzles held back from training (`data.validation`) decide the best weights and early stopping. Without them the test
set decides, as in the original, which biases the result upwards.

Entry: `open_sets`, `fingerprints`, `evaluation_steps`.
"""

import os
from typing import Literal, NamedTuple

from trm.configuration.schema import Config
from trm.errors import InputError
from trm.evaluation.arc import knows_tasks
from trm.evaluation.data import check_fits
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.identifiers import read_shared_identifiers
from trm.puzzles.identity import fingerprint
from trm.puzzles.kinds.arc.tasks import TEST_PUZZLES
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import Metadata
from trm.puzzles.reading import read_puzzle_sets
from trm.puzzles.validation import hold_back
from trm.training.state import total_steps

TEST = "test "
"""Begins the names of the parts of a test set in the fingerprints of a run."""


class Sets(NamedTuple):
    """The puzzle sets of a run."""

    train: PuzzleSet
    """The training set without puzzles that are held back."""
    validation: PuzzleSet | None
    """Puzzles held back from training; None: the test set is used instead."""
    test: PuzzleSet

    @property
    def chosen_on(self) -> Literal["validation", "test"]:
        """The split that the best weights are chosen on."""
        return "validation" if self.validation else "test"


def open_sets(config: Config) -> Sets:
    """Open the puzzle sets of a configuration.

    Raises InputError when they do not fit each other, or are too small for a single step.
    """
    if not config.data.path:
        raise InputError("data.path: found nothing, expected the directory of a puzzle set (--set data.path=DIR)")
    for path in {*config.data.train_paths, *config.data.test_paths}:
        if not os.path.isdir(path):
            raise InputError(f"data.path: found no folder {path}, expected a puzzle set (`trm data` builds one)")
    train_set = read_puzzle_sets(config.data.train_paths, "train")
    if len(config.data.train_paths) > 1:
        # Puzzles of different names would share a row of the puzzle table.
        read_shared_identifiers(config.data.train_paths)
    validation = None
    if config.data.validation:
        train_set, validation = hold_back(
            train_set, config.data.validation, config.train.seed, has_embeddings=bool(config.model.row_size)
        )
    _check_answers(config, train_set)
    test_set = read_puzzle_sets(config.data.test_paths, "test")
    check_fits(test_set, train_set.metadata)
    steps, examples = total_steps(config, train_set.metadata), train_set.metadata.examples_per_epoch
    if steps < 1:
        raise InputError(
            f"train.epochs: found {config.train.epochs}, which make {steps} steps of {config.train.global_batch_size} "
            f"from {examples:g} examples an epoch, expected at least one step"
        )
    if config.train.best_metric == "pass@2" and not knows_tasks(test_set, config.data.test_paths):
        raise InputError(
            f"train.best_metric: found 'pass@2', expected a puzzle set of ARC with a {TEST_PUZZLES}: {test_set.name}"
        )
    return Sets(train_set, validation, test_set)


def fingerprints(config: Config, sets: Sets) -> dict[str, str]:
    """Return the fingerprints of the training set and, where it decides the best weights, of the test set (`TEST`)."""
    found = fingerprint(config.data.train_paths, "train")
    if sets.chosen_on == "test":
        found |= {TEST + part: digest for part, digest in fingerprint(config.data.test_paths, "test").items()}
    return found


def _check_answers(config: Config, train_set: PuzzleSet) -> None:
    """Raise InputError for the state "digits" where an answer holds a token that is no digit: it has no logit."""
    # A known kind says whether it has digits. An unknown kind shows it by its answers alone.
    if config.model.state != "digits" or kind_of(train_set.metadata).solved_from != "nothing":
        return
    for name, arrays in train_set.sets.items():
        for token in {0, 1} - {train_set.metadata.ignore_label_id}:
            if (arrays.labels == token).any():
                raise InputError(
                    f"model.state: found 'digits' for {train_set.name}, whose set {name} has token {token} in an "
                    "answer, expected tokens from 2 on: 0 is padding, 1 a blank (or state 'cells')"
                )


def evaluation_steps(config: Config, metadata: Metadata, steps: int) -> list[int]:
    """Return the steps after which to evaluate: the end of each interval, and the last step."""
    per_interval = config.train.eval_interval * metadata.examples_per_epoch / config.train.global_batch_size
    intervals = range(config.train.min_eval_interval + 1, int(steps / per_interval) + 1)
    return sorted({max(1, int(i * per_interval)) for i in intervals} | {steps})
