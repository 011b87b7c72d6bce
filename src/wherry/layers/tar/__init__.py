"""The tar format as layers use it: reading and writing archives with pax headers, GNU extensions and sparse files.

Knows nothing of layers, whiteouts or the file system.

Floors, lowest first: ``entry``; ``numeric``, ``pax``; ``sparse``; ``reader``; ``writer``.
"""
