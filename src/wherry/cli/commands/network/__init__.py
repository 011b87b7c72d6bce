"""The verbs of ``wherry network``."""
