"""Inspection: latents, halting, cycles and mixing of a trained model on a sample of a puzzle set, as arrays. Entry:
`inspect`; `Inspection`."""

import dataclasses
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer

from trm.errors import InputError
from trm.evaluation.data import Directories, check_fits, open_data
from trm.evaluation.measures import Stopped, stop
from trm.evaluation.mixing import Mixing, mixing_of
from trm.evaluation.recording import CycleRecord, Record, record, record_cycles
from trm.parallel.environment import settled
from trm.puzzles.arrays import PuzzleSet
from trm.puzzles.loader import HostBatch, read_examples
from trm.puzzles.metadata import IGNORED_LABEL
from trm.solving.attempt_traces import PuzzleTrace, judge_attempt
from trm.solving.trace import trace
from trm.solving.trained_model import TrainedModel, load

BATCH = 64
"""Largest number of puzzles computed at a time."""
MIXING_PUZZLES = 8
"""Largest number of puzzles in the mean of the mixing of positions."""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Measurements of a model on puzzles, which are the batch of `record`."""

    inputs: Integer[np.ndarray, "puzzles seq_len"]
    labels: Integer[np.ndarray, "puzzles seq_len"]
    """Labels; -100 where a cell does not count."""
    puzzle_identifiers: Integer[np.ndarray, " puzzles"]
    examples: Integer[np.ndarray, " puzzles"]
    """Number of each puzzle in its split, from 0, over all sets."""
    record: Record
    cycles: CycleRecord
    """Cycles of the first puzzles, at most `BATCH`: they take several times as long as the steps."""
    mixing: tuple[Mixing, ...]
    """Mixing of positions, one entry for each block."""
    answer_latent: str
    """Name of the latent that the heads read."""

    @cached_property
    def accuracy(self) -> Float[np.ndarray, "steps puzzles"]:
        """Share of the labelled cells that are right after each step."""
        right = (self.record.predictions == self.labels).sum(axis=-1)
        return right / (self.labels != IGNORED_LABEL).sum(axis=-1)

    @cached_property
    def exact(self) -> Bool[np.ndarray, "steps puzzles"]:
        """Whether every labelled cell is right after each step."""
        return ((self.record.predictions == self.labels) | (self.labels == IGNORED_LABEL)).all(axis=-1)

    @property
    def stopped(self) -> Stopped:
        """Where the halting head stops each puzzle, by the rule of the model."""
        return stop(self.record.halts, self.exact)

    def stopped_at(self, threshold: float) -> Stopped:
        """Return where each puzzle would stop if sigmoid(q_halt) had to exceed a threshold."""
        return stop(self.record.q_halt > threshold, self.exact)

    def hardest(self, count: int) -> Integer[np.ndarray, " hardest"]:
        """Return the indices of the puzzles that are hardest for the model, the hardest first.

        Puzzles with a wrong answer come first, by number of wrong cells; then those that were wrong after most steps.
        """
        wrong_steps = (~self.exact).sum(axis=0)
        order = np.lexsort((-wrong_steps, self.accuracy[-1], self.exact[-1]))
        return order[:count]


@settled()
def inspect(
    model: TrainedModel | str | Path,
    data: PuzzleSet | Directories | None = None,
    *,
    puzzles: int = 300,
    split: str = "test",
    trained_on: Directories | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Inspection:
    """Measure a model on `puzzles` examples of a puzzle set, drawn at random with `seed`.

    `data`, `split` and `trained_on` are those of `trm.evaluate`. Every puzzle gets `steps` supervision steps (default:
    as in training), whether or not the halting head would stop. Raises InputError for a puzzle set that the model
    cannot read, and for one without labels.
    """
    model = (model if isinstance(model, TrainedModel) else load(model)).in_fast_dtype()
    if isinstance(data, PuzzleSet):
        puzzle_set = data
        check_fits(puzzle_set, model.metadata)
    else:
        puzzle_set = open_data(model, data, split, trained_on).puzzles
    examples, batch = _sample(puzzle_set, puzzles, seed)
    steps = steps or model.config.halting.halt_max_steps
    size = min(BATCH, len(examples))
    records = []
    for start in range(0, len(examples), size):
        # The last batch is filled up with its last puzzle: another size would need a compilation.
        rows = np.minimum(np.arange(start, start + size), len(examples) - 1)
        records.append(
            record(
                model.weights,
                model.config,
                batch.inputs[rows],
                batch.labels[rows],
                batch.puzzle_identifiers[rows],
                steps,
            )
        )
    joined = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, : len(examples)], *records)
    cycles = record_cycles(
        model.weights, model.config, batch.inputs[:size], batch.labels[:size], batch.puzzle_identifiers[:size], steps
    )
    few = slice(0, MIXING_PUZZLES)
    mixing = mixing_of(model.weights, model.config.model, batch.inputs[few], batch.puzzle_identifiers[few])
    answer_latent = model.weights.model.recursion.answer_latent
    return Inspection(*batch, examples, joined, cycles, tuple(mixing), answer_latent)


@settled()
def trace_examples(
    model: TrainedModel, inspection: Inspection, chosen: Integer[np.ndarray, " chosen"]
) -> list[PuzzleTrace]:
    """Trace some of the puzzles of an inspection, judged by their labels; cells without one show padding."""
    model = model.in_fast_dtype()
    inputs, identifiers = inspection.inputs[chosen], inspection.puzzle_identifiers[chosen]
    found = trace(model.weights, model.config, inputs, identifiers, len(inspection.record.predictions))
    ignored = inspection.labels[chosen] == IGNORED_LABEL
    pad = model.metadata.pad_id
    found = found._replace(predictions=np.where(ignored, pad, found.predictions))
    truths = np.where(ignored, pad, inspection.labels[chosen])
    return [
        PuzzleTrace(question, truth, (judge_attempt(model.kind, question, truth, found, i),))
        for i, (question, truth) in enumerate(zip(inputs, truths, strict=True))
    ]


def _sample(puzzles: PuzzleSet, count: int, seed: int) -> tuple[Integer[np.ndarray, " examples"], HostBatch]:
    """Draw examples that have a label, in random order."""
    if count < 1:
        raise InputError(f"puzzles: found {count}, expected 1 or more")
    order = np.random.default_rng(seed).permutation(puzzles.examples)
    parts, found = [], 0
    for start in range(0, len(order), count):
        examples = order[start : start + count]
        batch = _read(puzzles, examples)
        labelled = np.flatnonzero((batch.labels != IGNORED_LABEL).any(axis=1))[: count - found]
        parts.append((examples[labelled], *(array[labelled] for array in batch)))
        found += len(labelled)
        if found == count:
            break
    if not found:
        raise InputError(f"{puzzles.name}: labels: found none, expected puzzles with known answers")
    examples, *arrays = (np.concatenate(column) for column in zip(*parts, strict=True))
    return examples, HostBatch(*arrays)


def _read(puzzles: PuzzleSet, examples: Integer[np.ndarray, " examples"]) -> HostBatch:
    """Read examples by their numbers over all sets, in the order given."""
    starts = np.cumsum([0, *(arrays.examples for arrays in puzzles.sets.values())])
    parts, places = [], []
    for start, arrays in zip(starts.tolist(), puzzles.sets.values(), strict=False):
        here = np.flatnonzero((examples >= start) & (examples < start + arrays.examples))
        of_set = examples[here] - start
        owners = np.searchsorted(np.asarray(arrays.puzzle_indices), of_set, side="right") - 1
        parts.append(read_examples(puzzles, arrays, of_set, owners))
        places.append(here)
    back = np.argsort(np.concatenate(places))
    return HostBatch(*(np.concatenate(column)[back] for column in zip(*parts, strict=True)))
