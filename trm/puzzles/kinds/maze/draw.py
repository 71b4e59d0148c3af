"""Drawings of mazes. Entry: `draw_maze`."""

from rich.text import Text

from trm.puzzles.kinds.maze.rules import MAZE_CHARACTERS, Board

STYLES = {"#": "on grey35", " ": "", "S": "bold black on green", "G": "bold black on red", "o": "on cyan"}


def draw_maze(board: Board) -> Text:
    """Draw a maze of tokens, two columns to a cell."""
    text = Text()
    for row in board.tolist():
        for token in row:
            character = MAZE_CHARACTERS[token - 1] if token else "?"
            text.append(character * 2 if character in "#o" else f"{character} ", STYLES.get(character, "bold red"))
        text.append("\n")
    text.right_crop(1)
    return text
