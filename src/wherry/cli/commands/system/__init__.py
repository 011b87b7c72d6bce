"""The verbs of ``wherry system``, and ``inspect`` and ``version``."""
