"""Evaluators: evaluations of a run on one split, and their results.

Entry: `Evaluator`; calling it with weights returns an `Evaluation`.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from trm.configuration.schema import Config
from trm.evaluation.arc import pass_at, voter_for
from trm.evaluation.every_step import EvaluationStep, FinalAnswers, Sums, evaluate_every_step, make_evaluation_step
from trm.evaluation.report import Predictions, Report
from trm.model.weights import Weights
from trm.puzzles.arrays import PuzzleSet
from trm.supervision.batch import Batch
from trm.training.best import as_score
from trm.training.signals import StopRequest


class Evaluation(NamedTuple):
    """Accuracy of some weights on the puzzles of an evaluator."""

    prefix: str
    """Beginning of the names of the metrics."""
    reports: dict[str, Report]
    """Reports by set."""
    passed: dict[str, float]
    """pass@K, for ARC with its tasks; else empty."""

    def score(self, metric: str) -> float:
        """Return a metric, larger is better; of several sets together, NaN where no puzzle has labels."""
        score = self.passed.get(metric)
        if score is None:
            labelled = [report for report in self.reports.values() if report.examples]
            weights = [report.examples for report in labelled]
            values = [report.metrics[metric] for report in labelled]
            score = float(np.average(values, weights=weights)) if labelled else math.nan
        return as_score(metric, score)

    def lines(self, step: int) -> Iterator[dict[str, Any]]:
        """Yield the lines of the metrics file."""
        for name, report in self.reports.items():
            # The weight of this set in the score.
            count = {"puzzles": report.examples} if len(self.reports) > 1 else {}
            values = count | report.metrics
            yield {"step": step} | {f"{self.prefix}{name}/{key}": value for key, value in values.items()}
        if self.passed:
            yield {"step": step} | {f"{self.prefix}arc/{key}": value for key, value in self.passed.items()}

    def texts(self, step: int) -> Iterator[str]:
        """Yield the lines to print."""
        for name, report in self.reports.items():
            yield (
                f"step {step}: {self.prefix}{name}: exact accuracy {report.metrics['exact_accuracy']:.4f}, "
                f"token accuracy {report.metrics['accuracy']:.4f} on {report.examples} puzzles"
            )
        if self.passed:
            yield (
                f"step {step}: {self.prefix}arc: pass@1 {self.passed['pass@1']:.4f}, pass@2 {self.passed['pass@2']:.4f}"
            )


class Evaluator:
    """Evaluates weights on puzzles, with one compiled program."""

    def __init__(
        self,
        step: "CompiledEvaluation",
        puzzles: PuzzleSet,
        directories: Sequence[str],
        prefix: str = "",
    ):
        self._step, self._puzzles, self._directories, self._prefix = step, puzzles, directories, prefix

    def __call__(self, weights: Weights) -> Evaluation:
        """Evaluate weights; raise Stopped when a signal comes before the end."""
        voter = voter_for(self._puzzles, self._directories)

        def see(batch: Predictions) -> None:
            self._step.stop.check()
            if voter:
                voter.see(batch)

        step = self._step
        self._step.stop.check()
        reports = evaluate_every_step(step, weights, self._puzzles, step.batch_size, step.mesh, see)
        return Evaluation(self._prefix, reports, pass_at(voter.rankings()) if voter else {})


class CompiledEvaluation:
    """The evaluation of one batch, compiled when it is first used, so that a signal can stop the compilation."""

    def __init__(self, config: Config, mesh: Mesh, stop: StopRequest):
        self.mesh, self.stop, self.batch_size = mesh, stop, config.train.global_batch_size
        self._jitted: Any = make_evaluation_step(config, mesh)
        self._compiled: EvaluationStep | None = None

    def __call__(self, weights: Weights, batch: Batch) -> tuple[Sums, FinalAnswers]:
        if self._compiled is None:
            self._compiled = self.stop.compile(self._jitted, weights, batch)
        return self._compiled(weights, batch)
