"""What the program knows of each kind of puzzle."""
