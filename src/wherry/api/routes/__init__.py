"""The operations of the API, a file for each object.

Each file declares the narrow Protocol of what it needs of the engine, reads the request, calls, and writes the answer.

Floors, lowest first: ``attach``, ``containers``, ``distribution`` (which share a function or two); all others.
"""
