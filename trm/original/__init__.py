"""The original PyTorch program's files."""
