"""The verbs of ``wherry volume``."""
