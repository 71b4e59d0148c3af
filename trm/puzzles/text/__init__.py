"""Text of puzzles: files of any encoding and layout, split into the texts of single puzzles."""
