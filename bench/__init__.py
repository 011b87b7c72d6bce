"""Measures wherry beside Docker: the same work, on the same machine, in one run.

Each side gets a daemon of its own, with its own directories and socket. Where both sides can be asked in turn,
they are, and medians are compared. What cannot be measured here (no Docker on the machine) is left empty.
"""
