"""The verbs, one file each: ``FLAGS``, ``ARGUMENTS`` and ``run``."""
