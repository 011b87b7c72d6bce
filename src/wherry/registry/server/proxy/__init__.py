"""The pull-through cache: a registry that fetches missing content from an upstream.

Floors, lowest first: ``fetch``; ``pull_through``.
"""
