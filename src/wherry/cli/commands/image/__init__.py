"""The verbs of ``wherry image``."""
