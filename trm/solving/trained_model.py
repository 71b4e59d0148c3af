"""A trained model: weights with the description of their file. Entry: `load`; then `TrainedModel.solve`, `.reason`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Unpack, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Integer, Num

from trm.checkpoints.description import Description
from trm.configuration.neutral import with_neutral_settings
from trm.configuration.schema import Config
from trm.errors import InputError
from trm.model.reasoner import reconfigure
from trm.model.weights import Weights, abstract_weights
from trm.original.loading import open_weights
from trm.parallel.environment import settled
from trm.parallel.mesh import REPLICATED, make_mesh, place
from trm.parallel.processes import decide_on_first
from trm.parallel.processor import resolve_dtype
from trm.puzzles.kinds.kind import PuzzleKind, Question
from trm.puzzles.kinds.registry import kind_of
from trm.puzzles.metadata import Metadata
from trm.solving.answer import Answer, make_answers
from trm.solving.attempts import Attempted, AttemptSolver
from trm.solving.options import NoiseAt, NoiseOn, SolveOptions, SolverOptions, choose_attempts, make_options
from trm.solving.questions import broadcast_identifiers, parse_question, questions_of, read_questions
from trm.solving.reason import Reasoning, check_inputs, reason
from trm.solving.selection import SelectionMethod
from trm.solving.solve import solve
from trm.solving.views import make_views, most_views

SLOTS = 256
"""Largest number of sequences that each device refines at a time."""


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model, ready to solve puzzles of the kind that it was trained on."""

    weights: Weights
    description: Description
    """Description of the weights, from their file."""
    name: str = "model"
    """Name or path that the model was loaded from, for messages."""
    notes: tuple[str, ...] = ()
    """Lines on what was guessed, rounded or left out in the conversion of another program's file."""

    @property
    def config(self) -> Config:
        """The configuration that the model was trained with."""
        return self.description.config

    @property
    def metadata(self) -> Metadata:
        """The metadata of the training set."""
        return self.description.metadata

    @property
    def kind(self) -> PuzzleKind:
        """The kind of the puzzles: text, rules, symmetries, drawing."""
        return kind_of(self.metadata)

    @overload
    def solve(self, puzzles: str, **options: Unpack[SolveOptions]) -> Answer: ...

    @overload
    def solve(self, puzzles: list[str], **options: Unpack[SolveOptions]) -> list[Answer]: ...

    @overload
    def solve(self, puzzles: Num[np.ndarray, "..."], **options: Unpack[SolveOptions]) -> Any: ...

    @settled()
    def solve(
        self,
        puzzles: str | list[str] | Num[np.ndarray, "..."],
        *,
        attempts: int | None = None,
        seconds: float | None = None,
        guesses: int | None = None,
        views: int | None = None,
        rollouts: int = 1,
        noise: float = 0.0,
        noise_on: NoiseOn = "z_H",
        noise_at: NoiseAt = "steps",
        steps: int | None = None,
        halt: bool = True,
        select: SelectionMethod | None = None,
        seed: int = 0,
        identifiers: int | Sequence[int] | Num[np.ndarray, "..."] | None = None,
        devices: int | None = None,
        on_progress: Callable[[int, Attempted], None] | None = None,
    ) -> Answer | list[Answer]:
        """Answer a puzzle, or several at once.

        `puzzles` is one text, several texts, or tokens of shape (seq_len,), (side, side), (puzzles, seq_len) or
        (puzzles, side, side). Returns one `Answer` for a single puzzle, else a list of them.

        Where the kind of puzzle has rules, a puzzle whose answer breaks them is attempted again, through another
        symmetry or with noise, until the rules hold, for at most `attempts` attempts (default: 512 in puzzles with
        digits, else 64) or `seconds`. In puzzles with digits, an attempt from the third round on takes `guesses` cells
        of an earlier answer as given (default: 3). `on_progress` is called after every supervision step, as by
        `AttemptSolver.rounds`.

        With `views`, `rollouts` or `select` the candidates are fixed instead: `views` under symmetries, each with
        `rollouts` draws of noise; `select` is the method of selecting one answer (default: the most confident).

        `noise` is a standard deviation, on the latents `noise_on`, at every step or at the start (`noise_at`). A
        candidate has at most `steps` supervision steps (default: as trained); with `halt` the halting head may stop it
        earlier. `seed` is that of views, guesses and noise. `identifiers` are numbers of puzzle embeddings (default:
        the blank one). `devices` is the number of devices (default: all, at most one for each puzzle).

        Raises InputError, naming the puzzle, for text or tokens that are not a puzzle of the model's kind and size, and
        for options that contradict each other.
        """
        attempts = choose_attempts(attempts, seconds, views, rollouts, select, self.kind, guesses)
        options = make_options(
            steps=steps,
            halt=halt,
            views=1 if views is None else views,
            rollouts=rollouts,
            noise=noise,
            noise_on=noise_on,
            noise_at=noise_at,
            select=select,
            guesses=guesses,
            seed=seed,
        )
        questions, single = questions_of(puzzles, self.metadata, self.weights, self.name)
        rows = broadcast_identifiers(identifiers, len(questions))
        # A device without a puzzle would only wait for the others.
        mesh = make_mesh(devices or min(len(jax.devices()), max(len(questions), 1)))
        if attempts:
            answers = self._attempt(questions, rows, options, attempts, seconds, mesh, on_progress)
        else:
            answers = self._solve(questions, rows, options, 1 if views is None else views, mesh)
        return answers[0] if single else answers

    @property
    def has_rules(self) -> bool:
        """Whether answers can be checked by the rules of the kind of puzzle."""
        return self.kind.solved_from == "text"

    @settled()
    def reason(
        self,
        tokens: Integer[np.ndarray, "*batch seq_len"],
        identifiers: Integer[np.ndarray, "*batch"] | None = None,
        steps: int | None = None,
    ) -> Reasoning:
        """Run supervision steps on tokens, as many as in training unless `steps` says otherwise.

        Raises InputError for tokens and identifiers out of range. `trm.reason` is the same as a pure function.
        """
        check_inputs(self.weights, tokens, identifiers)
        inputs = jnp.asarray(tokens, jnp.int32)
        rows = None if identifiers is None else jnp.asarray(identifiers, jnp.int32)
        return _reason(self.weights, inputs, rows, steps=steps or self.config.halting.halt_max_steps)

    def with_settings(self, settings: Sequence[str]) -> "TrainedModel":
        """Return the model with settings such as "model.remat=true".

        Raises InputError for a key that changes the numbers by more than rounding (`trm.configuration.neutral`).
        """
        return self._with_config(with_neutral_settings(self.config, settings))

    def in_fast_dtype(self) -> "TrainedModel":
        """Return the model in the compute dtype that is fast here.

        A network that was trained in bfloat16 answers in float32 on a CPU without bfloat16 units. Process 0 decides for
        all, and all must call this.
        """
        dtype = decide_on_first(lambda: resolve_dtype("auto"))
        if dtype == self.config.model.forward_dtype or self.config.model.forward_dtype == "float32":
            return self
        config = dataclasses.replace(self.config, model=dataclasses.replace(self.config.model, forward_dtype=dtype))
        return self._with_config(config)

    def for_side(self, side: int) -> "TrainedModel":
        """Return the model for square boards of another side: weights of 6x6 Sudokus then answer 9x9 ones.

        Weights of the state "digits" with attention, and without learned positions, have no shape that depends on the
        board. Raises InputError for other models, and for a side that the kind of puzzle does not have.
        """
        model, seq_len = self.config.model, side * side
        if seq_len == self.metadata.seq_len:
            return self
        expected = {"state": ("digits",), "mixer": ("attention",), "positions": ("rope_grid", "rope", "none")}
        for name, values in expected.items():
            if (found := getattr(model, name)) not in values:
                raise InputError(
                    f"{self.name}: model.{name}: found {found!r}, expected {' or '.join(values)} in weights for "
                    f"boards of any side ({side})"
                )
        vocab_size = self.kind.vocab_size(seq_len)
        if vocab_size is None:
            raise InputError(f"side: found {side}, expected one that boards of {self.kind.name} have")
        metadata = dataclasses.replace(self.metadata, seq_len=seq_len, vocab_size=vocab_size)
        weights = Weights(reconfigure(self.weights.model, model, vocab_size), self.weights.puzzle_table)
        return TrainedModel(weights, dataclasses.replace(self.description, metadata=metadata), self.name, self.notes)

    def _with_config(self, config: Config) -> "TrainedModel":
        """Return the model with a configuration whose arrays have the same names and shapes."""
        metadata = self.metadata
        like = abstract_weights(config.model, metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
        leaves = zip(jax.tree.leaves(self.weights), jax.tree.leaves(like), strict=True)
        arrays = [leaf.astype(expected.dtype) for leaf, expected in leaves]
        weights = jax.tree.unflatten(jax.tree.structure(like), arrays)
        return TrainedModel(weights, dataclasses.replace(self.description, config=config), self.name, self.notes)

    def parse(self, text: str, where: str = "puzzle") -> Integer[np.ndarray, " seq_len"]:
        """Return the tokens of one puzzle, written in any form that `read` takes; raise InputError for several."""
        return parse_question(text, where, self.metadata, self.name)

    def read(self, text: str, where: str = "puzzle", columns: Mapping[str, str] | None = None) -> list[Question]:
        """Return the puzzles of a text, at least one: grids, one puzzle per line, a table or JSON.

        `columns` are a user's names of a table's columns. Raises InputError, beginning with `where`, for text that
        is no puzzle of the model's kind and size.
        """
        return read_questions(text, where, self.metadata, self.name, columns)

    def _solve(
        self,
        questions: Integer[np.ndarray, "puzzles seq_len"],
        identifiers: Integer[np.ndarray, " puzzles"],
        options: SolverOptions,
        views: int,
        mesh: Mesh,
    ) -> list[Answer]:
        symmetries = make_views(self.metadata, views, options.seed) if views != 1 else None
        rules = self.kind.solved if self.has_rules else None
        weights, slots = self._place(mesh), SLOTS * mesh.size
        found = solve(weights, self._fast.config, mesh, questions, identifiers, options, slots, symmetries, rules)
        valid = None if rules is None else rules(questions, found.answers)
        attempts = np.full(len(questions), views * options.rollouts)
        return make_answers(
            self.kind, questions, found.answers, valid, found.confidence, found.halted, found.total_steps, attempts
        )

    def _attempt(
        self,
        questions: Integer[np.ndarray, "puzzles seq_len"],
        identifiers: Integer[np.ndarray, " puzzles"],
        options: SolverOptions,
        attempts: int,
        seconds: float | None,
        mesh: Mesh,
        on_progress: Callable[[int, Attempted], None] | None,
    ) -> list[Answer]:
        views = most_views(self.metadata, attempts, options.seed)
        weights, slots = self._place(mesh), SLOTS * mesh.size
        solver = AttemptSolver(weights, self._fast.config, mesh, options, slots, views, self.kind, attempts)
        *_, last = solver.rounds(questions, identifiers, seconds, on_progress)
        end = last.found
        return make_answers(
            self.kind,
            questions,
            end.answers,
            end.obeys,
            end.confidence,
            end.halted,
            end.steps,
            end.attempts,
            end.guesses,
        )

    def _place(self, mesh: Mesh) -> Weights:
        """Return the weights on the devices, copied once, not for every puzzle."""
        if mesh not in self._placed:
            self._placed[mesh] = place(self._fast.weights, mesh, REPLICATED)
        return self._placed[mesh]

    @cached_property
    def _fast(self) -> "TrainedModel":
        return self.in_fast_dtype()

    @cached_property
    def _placed(self) -> dict[Mesh, Weights]:
        """The weights on the devices of each mesh that was used."""
        return {}


@settled()
def load(name_or_path: str | Path, averaged: bool = True, metadata: Metadata | None = None) -> TrainedModel:
    """Load weights or a checkpoint: a file, `hf://OWNER/REPOSITORY/FILE`, or bundled weights by name.

    From a checkpoint it takes the moving average of the weights where there is one, unless `averaged` is false. A
    checkpoint of the original PyTorch program, or of one derived from it, is converted; `metadata` is that of its
    puzzle set, where its tensors do not show it. Raises InputError, naming the file, for anything else, and for a file
    of averaged weights when `averaged` is false.
    """
    opened = open_weights(name_or_path, averaged, metadata)
    return TrainedModel(opened.weights, opened.description, str(name_or_path), opened.notes)


_reason = partial(jax.jit, static_argnames="steps")(reason)
