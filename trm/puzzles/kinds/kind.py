"""Puzzle kinds: size, text, rules, symmetries and drawing of one kind of puzzle, in one class. Entry: `PuzzleKind`.

A kind of your own is a subclass and one object of it: `package.module:Object` names it wherever a kind is named.
"""

import abc
import csv
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, Num
from rich.text import Text

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays
from trm.puzzles.kinds.symmetries import Symmetries
from trm.puzzles.kinds.text import encode_cells, strip_spaces
from trm.puzzles.text.columns import below_titles, find_layout, without_remarks
from trm.puzzles.text.decode import normalise

Tokens = Integer[np.ndarray, "puzzles seq_len"]
Draws = Any
"""Random numbers of a batch: a NamedTuple of arrays, each with one entry for each example."""


class Question(NamedTuple):
    """A question that was read from a text."""

    where: str
    """Place of the question in the text, for messages."""
    tokens: Integer[np.ndarray, " seq_len"]


class Problem(NamedTuple):
    """A fault of a question, found before it is answered."""

    text: str
    hopeless: bool
    """Whether the question has no answer."""


class Picture(NamedTuple):
    """Drawing of boards of a kind on a page: a table of characters, or of cells that a style sheet colours."""

    width: int
    """Cells in a row."""
    characters: tuple[str, ...]
    """Text of a cell, by token."""
    names: tuple[str, ...]
    """Name of a cell for screen readers, by token."""
    classes: tuple[str, ...] = ()
    """CSS class of a cell, by token; none: cells are not filled."""
    box: tuple[int, int] | None = None
    """Rows and columns of the boxes, which thick lines separate."""
    open: tuple[int, ...] = ()
    """Tokens of a question that its answer may replace; cells with others are given."""


class PuzzleKind(abc.ABC):
    """One kind of puzzle. Token 0 is padding; `characters` names the others."""

    name: ClassVar[str] = "other"
    """Name in messages; of a registered kind also the one in `dataset.json`."""
    characters: ClassVar[str] = ""
    """Character of token 1, 2 and so on, in questions and answers."""
    question_characters: ClassVar[str] = ""
    """Characters that a question may have; empty: all."""
    solved_from: ClassVar[Literal["text", "tasks", "nothing"]] = "text"
    """Input of `trm solve`: puzzles as text, tasks with demonstrations and a trained identifier (ARC), or nothing."""
    stores_augmentations: ClassVar[bool] = False
    """Whether a set that is augmented online stores the augmentation of each puzzle (`StoredAugmentations`)."""
    augments_online: ClassVar[bool] = True
    """Whether the loader may apply random symmetries to question and answer."""
    has_digits: ClassVar[bool] = False
    """Whether token 1 is a blank, which no answer has, and the tokens above it are digits that the rules treat
    alike. Attempts at such puzzles guess (`trm.solving.guesses`)."""
    expected: ClassVar[str] = "a solution of the question"
    """Description of a right answer, for messages about wrong ones."""

    # Size

    def vocab_size(self, seq_len: int) -> int | None:
        """Return the number of tokens, padding included; None for a length that no puzzle of the kind has."""
        return len(self.characters) + 1

    def fits(self, vocab_size: int, seq_len: int) -> bool:
        """Return whether puzzles of this kind may have this vocabulary and length."""
        return vocab_size == self.vocab_size(seq_len)

    # Text

    def parse(self, text: str, where: str) -> Integer[np.ndarray, " seq_len"]:
        """Return the tokens of a question; raise InputError, beginning with `where`, for other text."""
        return self._parse(text, where, self.question_characters or self.characters)

    def parse_answer(self, text: str, where: str) -> Integer[np.ndarray, " seq_len"]:
        """Return the tokens of an answer; raise InputError, beginning with `where`, for other text."""
        return self._parse(text, where, self.characters)

    def format(self, tokens: Integer[np.ndarray, " seq_len"]) -> str:
        """Return the text of tokens, row by row; `?` is padding."""
        return "".join(("?" + self.characters)[token] for token in tokens.tolist())

    @property
    def has_spaces(self) -> bool:
        """Whether a space is a cell of a question."""
        return " " in (self.question_characters or self.characters)

    def read(
        self, text: str, where: str, seq_len: int | None = None, columns: Mapping[str, str] | None = None
    ) -> list["Question"]:
        """Return the questions of a text, at least one: a grid, one question per line, or a table.

        `seq_len` is their number of cells, where it is known, `columns` a user's names of a table's columns. Raises
        InputError, beginning with a place in the text, for text that is not a question.
        """
        lines = without_remarks(normalise(text).split("\n"))
        layout = find_layout(lines, self._looks, columns, where)
        if layout is None and (below := below_titles(lines)) != lines:
            lines, layout = below, find_layout(below, self._looks, columns, where)
        if layout is not None and (layout.header is not None or columns):
            rows = csv.reader(lines, delimiter=layout.delimiter)
            filled = [(f"{where}: row {rows.line_num}", row) for row in rows if any(map(str.strip, row))]
            for place, row in filled:
                if len(row) != layout.width:
                    raise InputError(f"{place}: found {len(row)} columns, expected {layout.width}")
            cells = [(place, row[layout.question]) for place, row in filled]
            return [Question(place, self.parse(cell, place)) for place, cell in cells[layout.header is not None :]]
        # Where a space is a cell, a line of spaces is a row.
        numbered = [(i, line) for i, line in enumerate(lines, start=1) if (line if self.has_spaces else line.strip())]
        side = math.isqrt(seq_len or 0)
        longest = max((len(line if self.has_spaces else "".join(line.split())) for _, line in numbered), default=0)
        if len(numbered) < 2 or (len(numbered) == side and seq_len and longest < seq_len):
            return [Question(where, self.parse(text, where))]
        return [Question(f"{where}: line {i}", self.parse(line, f"{where}: line {i}")) for i, line in numbered]

    def _looks(self, field: str) -> None:
        # Without a header the columns of boards look like any others.
        return None

    def _parse(self, text: str, where: str, characters: str) -> Integer[np.ndarray, " seq_len"]:
        compact = strip_spaces(text, " " in characters)
        if not compact:
            raise InputError(f"{where}: found no cells, expected a puzzle of kind {self.name}")
        side = math.isqrt(len(compact))
        width = side if side * side == len(compact) else len(compact)
        codes = {character: self.characters.index(character) + 1 for character in characters}
        return encode_cells(compact, where, codes, width, "one of " + ", ".join(map(repr, characters)))

    # Rules

    def problem(self, question: Integer[np.ndarray, " seq_len"]) -> Problem | None:
        """Return a fault of a question that the rules show; None where none is known."""
        return None

    @abc.abstractmethod
    def solved(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, " puzzles"]:
        """Return for each answer, whatever its tokens, whether it solves its question by the rules."""

    def metrics(self, questions: Tokens, answers: Tokens) -> Mapping[str, Num[np.ndarray, " puzzles"]]:
        """Return further scores of each answer by name; their means are reported beside the accuracy."""
        return {}

    def wrong_cells(self, questions: Tokens, answers: Tokens) -> Bool[np.ndarray, "puzzles seq_len"]:
        """Mark the cells of each answer that the rules alone show to be wrong; an answer without any may be wrong."""
        return np.zeros(answers.shape, dtype=bool)

    # Symmetries and augmentation

    def symmetries(self, rng: np.random.Generator, count: int, seq_len: int) -> Symmetries | None:
        """Draw symmetries, for online augmentation, stored augmentations and views; None: there are none."""
        return None

    def most_views(self, seq_len: int) -> int | None:
        """Return the number of views of a puzzle; None: unlimited."""
        return 1 if self.symmetries(np.random.default_rng(0), 1, seq_len) is None else None

    def views(self, count: int, seq_len: int, vocab_size: int, seed: int) -> Symmetries:
        """Return the symmetries of `count` views of a puzzle; the first is the identity.

        Raises InputError for more than there are.
        """
        most = self.most_views(seq_len)
        if count < 1 or (most and count > most):
            expected = "1 or more" if most is None else f"1 to {most}" if most > 1 else "1"
            raise InputError(f"views: found {count}, expected {expected} (puzzles of kind {self.name!r})")
        identity = Symmetries(np.arange(seq_len)[None], np.arange(vocab_size)[None])
        drawn = self.symmetries(np.random.default_rng(seed), count, seq_len) if count > 1 else None
        if drawn is None:
            return identity
        return Symmetries(*(np.concatenate([one, of[1:]]) for one, of in zip(identity, drawn, strict=True)))

    def draw_augmentation(self, arrays: PuzzleArrays, rng: np.random.Generator, batch: int) -> Draws | None:
        """Draw the augmentations of a batch of a set with online augmentation; None where nothing is random.

        Every host draws for the whole batch, and calls `augment` with its own part: this should cost little.
        """
        if not arrays.online_augmentation:
            return None
        return self.symmetries(rng, batch, arrays.inputs.shape[1])

    def augment(
        self,
        inputs: Tokens,
        labels: Tokens,
        arrays: PuzzleArrays,
        examples: Integer[np.ndarray, " puzzles"],
        puzzles: Integer[np.ndarray, " puzzles"],
        draws: Draws | None,
    ) -> tuple[Tokens, Tokens]:
        """Return the examples that training uses, augmented from the stored ones."""
        if isinstance(draws, Symmetries):
            return draws.apply(inputs), draws.apply(labels)
        return inputs, labels

    def canonical(self, questions: Tokens) -> Tokens:
        """Return one representative of all questions that are equal up to a symmetry, or up to some symmetries."""
        return questions

    # Checking and drawing

    def well_formed(self, inputs: Tokens, labels: Tokens) -> Bool[np.ndarray, " puzzles"]:
        """Return for each example of a puzzle set whether it obeys the rules."""
        return self.solved(inputs, labels)

    @property
    def verdict(self) -> str:
        """Statement about a puzzle set whose examples are all well-formed."""
        return f"every answer is {self.expected}"

    def draw(
        self,
        question: Integer[np.ndarray, " seq_len"],
        answer: Integer[np.ndarray, " seq_len"],
        truth: Integer[np.ndarray, " seq_len"] | None = None,
    ) -> Text:
        """Draw an answer to a question; with `truth` mark wrong cells. A square board is drawn as a square."""
        side = math.isqrt(len(answer))
        width = side if side * side == len(answer) else len(answer)
        text = Text()
        for cell, (character, given) in enumerate(zip(self.format(answer), self.format(question), strict=True)):
            if cell and cell % width == 0:
                text.append("\n")
            wrong = truth is not None and truth[cell] != answer[cell]
            text.append(f"{character} ", "bold red" if wrong else "bold" if character == given else "cyan")
        return text

    def picture(self, seq_len: int, vocab_size: int) -> Picture:
        """Return how boards are drawn on a page: their characters, or the numbers of their tokens."""
        side = math.isqrt(seq_len)
        width = side if side * side == seq_len else seq_len
        characters = ("?", *self.characters) if self.characters else tuple(map(str, range(vocab_size)))
        return Picture(width, characters, characters)
