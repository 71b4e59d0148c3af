"""Pictures of how a network reasons, for papers and slides. Entry: `draw_steps`, `draw_frames`; `write_pictures`.

A picture is a list of boxes and labels, which become SVG, or with Pillow (extra `pictures`) PNG and GIF.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from trm.errors import InputError
from trm.puzzles.kinds.kind import Picture
from trm.solving.attempt_traces import PuzzleTrace

ENDINGS = (".svg", ".png", ".gif")
CELL, MARGIN, CAPTION = 22, 16, 24
"""Pixels: side of a cell, space around boards, height of a caption."""
MOST_STEPS = 7
"""Maximum number of supervision steps in a row of `draw_steps`."""
FRAME_MILLISECONDS, LAST_MILLISECONDS = 500, 2500
INK, GIVEN, ANSWER, WRONG, SOLVED, LINE, STRONG, PAPER = (
    "#45454a #1d1d1f #1f5fd0 #c4231c #147a3d #c9c8c4 #45454a #ffffff".split()
)
FILLS = {
    "wall": "#3a3d44",
    "free": "#f3f2ee",
    "path": "#2f86e0",
    "start": "#17924a",
    "goal": "#d23a32",
    **dict(
        zip(
            (f"arc-{color}" for color in range(10)),
            "#000000 #0074d9 #ff4136 #2ecc40 #ffdc00 #aaaaaa #f012be #ff851b #7fdbff #870c25".split(),
            strict=True,
        )
    ),
}
"""Colour of a cell by its class in a `Picture`, as in the page's light theme."""


class Box(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str


class Label(NamedTuple):
    """A text centred at a point."""

    x: float
    y: float
    size: float
    text: str
    color: str
    bold: bool = False


class Drawing(NamedTuple):
    """Shapes on a white background, drawn in this order."""

    width: int
    height: int
    shapes: list[Box | Label]


class _Shown(NamedTuple):
    """A board with its caption."""

    tokens: Integer[np.ndarray, " seq_len"]
    wrong: Bool[np.ndarray, " seq_len"] | None
    caption: str
    color: str = INK


def draw_steps(picture: Picture, puzzles: Sequence[PuzzleTrace]) -> Drawing:
    """Draw a row for each puzzle: the puzzle, and the winner's answer after the steps that changed it."""
    rows = []
    for puzzle in puzzles:
        boards = _boards_of(puzzle)
        changed = [1, *(i for i in range(2, len(boards)) if (boards[i].tokens != boards[i - 1].tokens).any())]
        # The first changes, and the last one.
        shown = changed if len(changed) <= MOST_STEPS else [*changed[: MOST_STEPS - 1], changed[-1]]
        rows.append((puzzle, [boards[i] for i in (0, *shown)]))
    return _lay_out(picture, rows)


def draw_frames(picture: Picture, puzzles: Sequence[PuzzleTrace]) -> list[Drawing]:
    """Draw a frame of the puzzles, then one for each supervision step."""
    boards = [_boards_of(puzzle) for puzzle in puzzles]
    steps = range(len(boards[0]))
    return [_lay_out(picture, [(p, [of[step]]) for p, of in zip(puzzles, boards, strict=True)]) for step in steps]


def write_pictures(picture: Picture, puzzles: Sequence[PuzzleTrace], path: Path, ending: str) -> None:
    """Write steps side by side as SVG or PNG, or one after another as GIF; raise InputError if Pillow is missing."""
    if ending == ".svg":
        path.write_text(to_svg(draw_steps(picture, puzzles)), encoding="utf-8")
    elif ending == ".png":
        _paint(draw_steps(picture, puzzles)).save(path, "PNG")
    else:
        first, *others = map(_paint, draw_frames(picture, puzzles))
        times = [FRAME_MILLISECONDS] * len(others) + [LAST_MILLISECONDS]
        first.save(path, "GIF", save_all=True, append_images=others, duration=times, loop=0)


def to_svg(drawing: Drawing) -> str:
    """Return a drawing as the text of an SVG file."""
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">']
    parts.append(f'<rect width="100%" height="100%" fill="{PAPER}"/>')
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            x, y, width, height, fill = shape
            parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"/>')
        else:
            style = f'font-size="{shape.size:g}" fill="{shape.color}"' + ' font-weight="bold"' * shape.bold
            place = f'x="{shape.x:g}" y="{shape.y:g}" text-anchor="middle" dominant-baseline="central"'
            parts.append(f"<text {place} {style}>{html.escape(shape.text)}</text>")
    return "\n".join([*parts, "</svg>", ""])


def _boards_of(puzzle: PuzzleTrace) -> list[_Shown]:
    """Return the puzzle, and the winner's answer after every step."""
    attempt = puzzle.attempts[puzzle.winner]
    boards = [_Shown(puzzle.question, None, "puzzle")]
    for step, (tokens, wrong) in enumerate(zip(attempt.predictions[:, -1], attempt.wrong[:, -1], strict=True), 1):
        solved = attempt.solved is not None and bool(attempt.solved[step - 1, -1])
        verdict = "solved" if solved else f"{int(wrong.sum())} wrong" if wrong.any() else ""
        color = SOLVED if solved else WRONG if verdict else INK
        boards.append(_Shown(tokens, wrong, f"step {step}" + f": {verdict}" * bool(verdict), color))
    return boards


def _lay_out(picture: Picture, rows: Sequence[tuple[PuzzleTrace, Sequence[_Shown]]]) -> Drawing:
    shapes: list[Box | Label] = []
    y, right = MARGIN, 0
    for puzzle, boards in rows:
        top, left, bottom, end = _part(picture, puzzle)
        height, width = (bottom - top) * CELL, max((end - left) * CELL, 110)
        for i, board in enumerate(boards):
            x = MARGIN + i * (width + MARGIN)
            cells = np.arange(len(board.tokens)).reshape(-1, picture.width)[top:bottom, left:end]
            shapes += _draw_board(picture, puzzle.question, board, cells, x, y)
            shapes.append(Label(x + width / 2, y + height + CAPTION * 0.6, 13, board.caption, board.color))
        right = max(right, MARGIN + len(boards) * (width + MARGIN))
        y += height + CAPTION + MARGIN
    return Drawing(right, y, shapes)


def _part(picture: Picture, puzzle: PuzzleTrace) -> tuple[int, int, int, int]:
    """Return the first and last rows and columns that are not padding in the question or the answer of any step."""
    boards = [puzzle.question, *puzzle.attempts[puzzle.winner].predictions[:, -1]]
    used = np.any([tokens.reshape(-1, picture.width) > 0 for tokens in boards], axis=0)
    rows, columns = (np.flatnonzero(used.any(axis=axis)) for axis in (1, 0))
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def _draw_board(
    picture: Picture,
    question: Integer[np.ndarray, " seq_len"],
    board: _Shown,
    cells: Integer[np.ndarray, "rows columns"],
    x: int,
    y: int,
) -> list[Box | Label]:
    rows, columns = cells.shape
    shapes: list[Box | Label] = [Box(x, y, columns * CELL, rows * CELL, LINE)]
    for (row, column), cell in np.ndenumerate(cells):
        token = int(board.tokens[cell])
        name = picture.classes[token] if picture.classes else ""
        wrong = board.wrong is not None and bool(board.wrong[cell])
        left, top = x + column * CELL, y + row * CELL
        shapes.append(Box(left + 0.5, top + 0.5, CELL - 1, CELL - 1, FILLS.get(name, PAPER)))
        if wrong:
            shapes.append(Box(left + 2, top + CELL - 5, CELL - 4, 3, WRONG if not name else "#ffffff"))
            shapes.append(Box(left + 2, top + CELL - 4, CELL - 4, 2, WRONG))
        if text := picture.characters[token] if token < len(picture.characters) else "?":
            given = token == int(question[cell]) and token not in picture.open
            color = PAPER if name else WRONG if wrong else GIVEN if given else ANSWER
            shapes.append(Label(left + CELL / 2, top + CELL / 2, CELL * 0.6, text, color, given))
    if picture.box:
        high, wide = picture.box
        shapes += [Box(x, y + i * CELL - 1, columns * CELL, 2, STRONG) for i in range(0, rows + 1, high)]
        shapes += [Box(x + i * CELL - 1, y - 1, 2, rows * CELL + 2, STRONG) for i in range(0, columns + 1, wide)]
    return shapes


def _paint(drawing: Drawing, scale: int = 2) -> Any:
    """Return a drawing as an image of Pillow, `scale` pixels to a unit."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise InputError(
            "Pillow: not installed, expected it for .png and .gif (pip install 'trm[pictures]')"
        ) from error
    image = Image.new("RGB", (drawing.width * scale, drawing.height * scale), PAPER)
    brush = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            x, y, width, height = (round(value * scale) for value in shape[:4])
            brush.rectangle((x, y, x + width - 1, y + height - 1), fill=shape.fill)
        else:
            font = ImageFont.load_default(shape.size * scale)
            place = (shape.x * scale, shape.y * scale)
            brush.text(place, shape.text, shape.color, font, "mm", stroke_width=int(shape.bold))
    return image
