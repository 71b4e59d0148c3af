"""The section on mixing: the share of each cell in the others, as pictures of the board. Entry: `mixing_section`."""

import html

import numpy as np
from jaxtyping import Float

from trm.evaluation.inspection import Inspection
from trm.evaluation.mixing import Mixing, by_offset, by_relation, relations
from trm.puzzles.kinds.kind import Picture
from trm.show.inspection.charts import figure, heat_map, percent, table

REACH = 7
"""Maximum number of rows and columns on each side of a cell in the picture by offset."""
LARGEST = 400
"""Maximum number of cells of a board that is drawn whole."""


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
        else "The mixer is an MLP over the cells. The figures show how much each cell of its input changes each cell "
        "of its output, as shares, their mean over puzzles, channels and all calls in step 1."
    )
    told = f"<p>{html.escape(method)} The stronger the colour of a cell, the larger its share in the framed cell.</p>"
    return f"<section><h2>Mixing of the cells</h2>{told}<div class=figures>{figures}</div></section>"


def _block(place: int, mixing: Mixing, picture: Picture, pairs: dict[str, np.ndarray]) -> str:
    among = mixing.cells
    mean = among.mean(axis=0)
    ratios = by_relation(among, pairs)
    average = by_relation(mean[None], pairs)
    related = {name: float(of[0]) for name, of in average.items() if name not in ("itself", "other")}
    first = max(related, key=lambda name: related[name]) if related else "itself"
    told = [f"its own share is {average['itself'][0]:.1f} times the average"]
    if first != "itself":
        told.append(f"that of {'a' if first == 'neighbour' else 'a cell in the'} {first} {average[first][0]:.1f} times")
    if "other" in average:
        told.append(f"that of an unrelated cell {average['other'][0]:.2f} times")
    sees = f"In a cell, {', '.join(told)}."
    if mixing.prefix:
        prefix = mixing.shares[:, mixing.prefix :, : mixing.prefix].sum(axis=-1).mean()
        before = "position" if mixing.prefix == 1 else f"{mixing.prefix} positions"
        sees += f" The share of the {before} before the cells is {percent(float(prefix))}."
    drawings = _boards(mean, picture) + _offsets(mean, picture)
    head = ("share, as a multiple of the average", *(f"head {i + 1}" for i in range(len(among))))
    if len(among) == 1:
        head = ("relation", "share, as a multiple of the average")
    rows = [(name, *(f"{value:.2f}" for value in of.tolist())) for name, of in ratios.items()]
    numbers = table("Mean share of related cells", head, rows)
    return figure(f"Block {place}: {mixing.block}", sees, f"<div class=boards>{drawings}</div>", numbers)


def _boards(shares: Float[np.ndarray, "cell from_cell"], picture: Picture) -> str:
    """Draw the shares in a corner cell, a middle cell and a cell between them."""
    cells, width = len(shares), picture.width
    if cells % width or cells > LARGEST:
        return ""
    height = cells // width
    parts = []
    for row, column in dict.fromkeys([(0, 0), (height // 2, width // 2), (height // 3, 2 * width // 3)]):
        board = shares[row * width + column].reshape(height, width)
        label = f"Shares of the other cells in the cell in row {row + 1}, column {column + 1}"
        drawn = heat_map(label, board, picture.box, (row, column))
        parts.append(f"<div>{drawn}row {row + 1}, column {column + 1}</div>")
    return "".join(parts)


def _offsets(shares: Float[np.ndarray, "cell from_cell"], picture: Picture) -> str:
    means = by_offset(shares, picture.width)
    rows, columns = (min(REACH, size // 2) for size in means.shape)
    middle = means.shape[0] // 2, means.shape[1] // 2
    near = means[middle[0] - rows : middle[0] + rows + 1, middle[1] - columns : middle[1] + columns + 1]
    drawn = heat_map("Shares of the cells around a cell, mean over all cells", near, None, (rows, columns))
    return f"<div>{drawn}around a cell, mean</div>"
