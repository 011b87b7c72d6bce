"""The steps of a plan, which the child carries out between clone and execve; immutable values.

Floors, lowest first: ``step`` (what a step is, and the context that steps share), ``init``, ``path_in_root``,
``procfs``, ``tmpcopyup``, ``trampoline_code``; ``mounts``, ``trampoline``, ``working_directory``; all others.
"""
