"""The engine's SQLite file, ``wherry.db``: connections to it, its schema, and what keeps it writable and trustworthy.

Every part of the engine has a connection of its own, made by `database.Database`, and alone knows what its rows mean.

Floors, lowest first: ``disk_reserve``, ``schema``, ``witness``; ``database``.
"""
