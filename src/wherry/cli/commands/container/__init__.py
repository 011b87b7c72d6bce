"""The verbs of ``wherry container``."""
