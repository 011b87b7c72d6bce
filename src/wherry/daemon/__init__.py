"""The program ``wherryd``: flags, configuration file, listeners, signals.

What is decided about containers does not belong here (``wherry.engine``), nor how a request is read (``wherry.api``).
"""
