"""The section on mixing: what a cell takes of the others, as pictures of the board. Entry: `mixing_section`."""

import html

import numpy as np
from jaxtyping import Float

from trm.evaluation.inspection import Inspection
from trm.evaluation.mixing import Mixing, by_offset, by_relation, relations
from trm.puzzles.kinds.kind import Picture
from trm.show.inspection.charts import figure, heat_map, percent, table

REACH = 7
"""Rows and columns around a cell, at most, in the picture by offset."""
LARGEST = 400
"""Cells, at most, of a board that is drawn as a whole."""


def mixing_section(found: Inspection, picture: Picture) -> str:
    """Draw the mixing of every block, folded to the board."""
    if not found.mixing:
        return ""
    cells = found.inputs.shape[1]
    pairs = relations(picture, cells)
    figures = "".join(_block(i, mixing, picture, pairs) for i, mixing in enumerate(found.mixing, start=1))
    method = (
        "Attention weights, their mean over puzzles, heads and all calls in step 1."
        if found.mixing[0].method == "attention"
        else "The mixer is an MLP over the cells: shown is by how much each cell of its input moves each cell of its "
        "output, as shares, their mean over puzzles, channels and all calls in step 1."
    )
    told = f"<p>{html.escape(method)} The stronger the colour of a cell, the more the framed cell takes of it.</p>"
    return f"<section><h2>Which cells a cell looks at</h2>{told}<div class=figures>{figures}</div></section>"


def _block(place: int, mixing: Mixing, picture: Picture, pairs: dict[str, np.ndarray]) -> str:
    among = mixing.cells
    mean = among.mean(axis=0)
    ratios = by_relation(among, pairs)
    average = by_relation(mean[None], pairs)
    related = {name: float(of[0]) for name, of in average.items() if name not in ("itself", "other")}
    first = max(related, key=lambda name: related[name]) if related else "itself"
    told = [f"{average['itself'][0]:.1f} times as much of itself as of an average cell"]
    if first != "itself":
        told.append(f"{average[first][0]:.1f} times of {'a' if first == 'neighbour' else 'one in the'} {first}")
    if "other" in average:
        told.append(f"{average['other'][0]:.2f} times of an unrelated one")
    sees = f"A cell takes {', '.join(told)}."
    if mixing.prefix:
        prefix = mixing.shares[:, mixing.prefix :, : mixing.prefix].sum(axis=-1).mean()
        before = "position" if mixing.prefix == 1 else f"{mixing.prefix} positions"
        sees += f" {percent(float(prefix))} comes from the {before} before the cells."
    drawings = _boards(mean, picture) + _offsets(mean, picture)
    head = ("share, as a multiple of the average", *(f"head {i + 1}" for i in range(len(among))))
    if len(among) == 1:
        head = ("relation", "share, as a multiple of the average")
    rows = [(name, *(f"{value:.2f}" for value in of.tolist())) for name, of in ratios.items()]
    numbers = table("Mean share of related cells", head, rows)
    return figure(f"Block {place}: {mixing.block}", sees, f"<div class=boards>{drawings}</div>", numbers)


def _boards(shares: Float[np.ndarray, "cell from_cell"], picture: Picture) -> str:
    """Draw what a corner, the middle and a cell between them take."""
    cells, width = len(shares), picture.width
    if cells % width or cells > LARGEST:
        return ""
    height = cells // width
    parts = []
    for row, column in dict.fromkeys([(0, 0), (height // 2, width // 2), (height // 3, 2 * width // 3)]):
        board = shares[row * width + column].reshape(height, width)
        label = f"What the cell in row {row + 1}, column {column + 1} takes of the others"
        drawn = heat_map(label, board, picture.box, (row, column))
        parts.append(f"<div>{drawn}row {row + 1}, column {column + 1}</div>")
    return "".join(parts)


def _offsets(shares: Float[np.ndarray, "cell from_cell"], picture: Picture) -> str:
    means = by_offset(shares, picture.width)
    rows, columns = (min(REACH, size // 2) for size in means.shape)
    middle = means.shape[0] // 2, means.shape[1] // 2
    near = means[middle[0] - rows : middle[0] + rows + 1, middle[1] - columns : middle[1] + columns + 1]
    drawn = heat_map("What a cell takes of those around it, mean over all cells", near, None, (rows, columns))
    return f"<div>{drawn}around a cell, mean</div>"
