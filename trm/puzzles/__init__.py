"""Puzzle sets and puzzle kinds."""
