"""Pictures, pages, and text in the terminal."""
