"""Verbs of ``wherry builder``."""
