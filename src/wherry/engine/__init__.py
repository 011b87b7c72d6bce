"""Containers: their configuration, lifecycle, streams and events, and the composition root that builds every part.

HTTP does not belong here (``wherry.api``), neither do system calls (``wherry.linux``) nor how a process is built
(``wherry.runtime``).
"""
