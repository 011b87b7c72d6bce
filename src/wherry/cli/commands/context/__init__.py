"""The verbs of ``wherry context``."""
