"""Pictures and text in the terminal."""
