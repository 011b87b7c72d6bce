"""From a specification to a plan: pure functions, which check everything that can be checked without acting.

Floors, lowest first: ``mount_options``, ``sysctls``, ``seccomp``; ``mounts``, ``process``; ``spec``; ``exec``.
"""
