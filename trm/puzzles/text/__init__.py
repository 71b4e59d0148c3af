"""Text of puzzles: files of any encoding and form, taken apart into the texts of single puzzles."""
